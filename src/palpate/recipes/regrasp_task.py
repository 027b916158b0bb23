"""Regrasping with a parallel gripper as a task for data collection: household objects, stability from touch after the lift."""

from dataclasses import dataclass, field

import numpy as np

from palpate.core.records import Episode
from palpate.perception.cylinder import fit_cylinder
from palpate.perception.held import ContactEvidence, contact_evidence
from palpate.worlds.regrasp import RegraspConfig, RegraspWorld


@dataclass(frozen=True, kw_only=True)
class RegraspTask:
    """R. Calandra et al., "More Than a Feeling: Learning to Grasp and Regrasp using Vision and Touch", Section V."""

    world: RegraspConfig = field(default_factory=RegraspConfig)
    name: str = "regrasp"

    def build(self) -> RegraspWorld:
        """Build the world, with perception that encloses the object in a cylinder."""
        return RegraspWorld(fit_cylinder, self.world)

    def evidence(self, episode: Episode) -> ContactEvidence:
        """Return what the touch images at the end of the hold tell."""
        touch = {name: stream for name, stream in episode.streams.items() if stream.spec.kind == "touch"}
        held, before = episode.event("look_held"), episode.event("before")
        return contact_evidence({n: s.at(held) for n, s in touch.items()}, {n: s.at(before) for n, s in touch.items()})

    def restore(self, values: np.ndarray) -> ContactEvidence:
        """Return evidence from its numbers."""
        return ContactEvidence.restore(values)

    def labels(self, episode: Episode) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
        """Return the grip force of the final grasp from its lift on: average and maximum [N]."""
        force = episode.streams["gripper.force"]
        holding = force.times >= episode.event("before_lift")
        values = force.values[holding, 0]
        return {}, {"grip_force": np.array([values.mean(), values.max()], float)}
