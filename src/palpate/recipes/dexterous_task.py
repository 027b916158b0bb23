"""Grasping with a many-fingered hand as a task for data collection and closed loop.

Sim2real Multimodal Learning for Dexterous Gripper, Section 2.1: random reachable hand poses and joint targets, rigid then soft contact,
grasp quality. Whether the object is still held after the lift is told by touch and joint angles.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.contacts import GraspContacts
from palpate.core.errors import PalpateError
from palpate.core.protocols import Policy
from palpate.core.records import Episode, Observation
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.perception.cylinder import fit_cylinder
from palpate.perception.hand_held import HandEvidence, hand_evidence
from palpate.planning.estimates import DrawnPolicy, EstimatePolicy
from palpate.quality.friction import grasp_quality
from palpate.recipes.collection import CollectConfig, run_trials
from palpate.worlds.dexterous import DexterousConfig, DexterousWorld
from palpate.worlds.dexterous_prior import GraspPrior
from palpate.worlds.dexterous_touch import contacts_from_array
from palpate.worlds.shadow import JOINTS

BENDING = tuple(i for i, name in enumerate(JOINTS) if name[2:] in ("J2", "J1", "J0") and name != "THJ2")
"""The joints that close the hand."""


@dataclass(frozen=True, kw_only=True)
class DexterousTask:
    """The world, and what its sensors tell of the outcome."""

    world: DexterousConfig = field(default_factory=DexterousConfig)
    name: str = "dexterous"

    def build(self) -> DexterousWorld:
        """Build the world, with perception that encloses the object in a cylinder and the friction optimum as judge."""
        return DexterousWorld(fit_cylinder, grasp_quality, self.world)

    def evidence(self, episode: Episode) -> HandEvidence:
        """Return what touch and joints told before the lift and at the end of the hold."""
        times = episode.event("before_lift"), episode.event("hold_end")
        touch = {name: s for name, s in episode.streams.items() if s.spec.kind == "taxels"}
        joints, bending = episode.streams["hand.joint_position"], list(BENDING)
        felt = [{name: stream.at(time) - stream.values[0] for name, stream in touch.items()} for time in times]
        return hand_evidence(
            episode.arrays["action"][6:][bending],
            (joints.at(times[0])[bending], joints.at(times[1])[bending]),
            (felt[0], felt[1]),
        )

    def restore(self, values: np.ndarray) -> HandEvidence:
        """Return evidence from its numbers."""
        return HandEvidence.restore(values)

    def labels(self, episode: Episode) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
        """Return nothing more: the world gives quality and status with the episode."""
        del episode
        return {}, {}


def draw_grasp(seen: Observation, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a reachable grasp of what perception found: palm pose (6,) and joint targets (22,).

    Raises:
        PalpateError: perception has found nothing, or nothing is within reach.
    """
    if seen.object_position is None or seen.object_size is None:
        raise PalpateError("a random grasp needs object_position and object_size in the observation")
    return GraspPrior().draw(rng, seen.object_position, seen.object_size)


def drawn_policy(world: DexterousWorld) -> Policy:
    """Return the data-collection policy."""
    del world
    return DrawnPolicy(draw=draw_grasp)


def collect_dexterous(config: CollectConfig) -> Path:
    """Collect random grasps; see `palpate.recipes.collection.run_trials`."""
    return run_trials(config, drawn_policy, {"policy": "random"}, max_looks=1, name="collect dexterous")


@dataclass(frozen=True, kw_only=True)
class DexterousGraspConfig:
    """A closed-loop test of one policy."""

    policy: str
    """Folder of a run, or `random`."""
    out: Path
    trials: int = 100
    feel: bool = True
    """Ask for the second estimate before lifting."""
    lift_above: float = 0.7
    max_looks: int = 8
    seed: int = 5000
    objects: int = 60
    object_seed: int = 1
    workers: int = 2
    resume: bool = False


def make_policy(world: DexterousWorld, *, policy: str, feel: bool, lift_above: float, max_looks: int) -> Policy:
    """Build the policy inside a worker process."""
    if policy == "random":
        return drawn_policy(world)
    import torch  # noqa: PLC0415 - workers that only collect do without

    from palpate.recipes.dexterous_model import load_dexterous  # noqa: PLC0415

    torch.set_num_threads(1)
    return EstimatePolicy(
        model=load_dexterous(Path(policy)),
        reachable=GraspPrior().nearest,
        draw=draw_grasp,
        feel=feel,
        lift_above=lift_above,
        max_looks=max_looks,
    )


def grasp_dexterous(config: DexterousGraspConfig) -> dict[str, Any]:
    """Run the trials that are still missing; return the figures of all. Equal seeds give every policy the same starting states."""
    random = config.policy == "random"
    name = "random" if random else f"{'second' if config.feel else 'first'} estimate"
    looks = config.max_looks if config.feel and not random else 1
    task = DexterousTask(world=DexterousConfig(n_objects=config.objects, object_seed=config.object_seed))
    build = partial(make_policy, policy=config.policy, feel=config.feel, lift_above=config.lift_above, max_looks=looks)
    run_trials(
        CollectConfig(
            out=config.out, task=task, trials=config.trials, seed=config.seed, workers=config.workers, resume=config.resume
        ),
        build,
        {"policy": name, "lift_above": config.lift_above, "max_looks": looks},
        max_looks=looks,
        name=f"grasp {name}",
    )
    return grasp_rows(open_dataset(config.out), name)


def recorded_contacts(folder: Path) -> list[GraspContacts]:
    """Return the contacts of the grasps of a data set that recorded any."""
    reader = open_dataset(folder)
    if "array.contacts" not in reader.names:
        return []
    found = (reader.episode(row, streams=()).arrays for row in range(len(reader)))
    return [contacts_from_array(a["contacts"], *a["contact_scale"]) for a in found if "contacts" in a]


def grasp_rows(reader: EpisodeReader, policy: str) -> dict[str, Any]:
    """Return one row a trial of a closed-loop test, as lists by column, and who acted."""
    predicted = reader.column("array.predicted")[:, 0] if "array.predicted" in reader.names else np.full(len(reader), np.nan)
    return {
        "policy": policy,
        "trial": reader.indices.tolist(),
        "object": reader.column("group.object").tolist(),
        "stable": reader.column("label.stable").tolist(),
        "truth": reader.column("truth.stable").tolist(),
        "quality": reader.column("label.quality").tolist(),
        "looks": (reader.column("array.looks")[:, 0] - 1).tolist(),
        "predicted": predicted.tolist(),
    }
