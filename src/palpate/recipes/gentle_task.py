"""Gentle grasping as a task for data collection: the squeaking toys, stability from proprioception, gentleness from sound."""

from dataclasses import dataclass, field

import numpy as np

from palpate.core.records import Episode
from palpate.perception.localise import locate_object
from palpate.perception.stability import HoldFeatures
from palpate.recipes.gentle_labels import hold_features, listen
from palpate.worlds.gentle import GentleConfig, GentleWorld


@dataclass(frozen=True, kw_only=True)
class GentleTask:
    """K. Nakahara and R. Calandra, "Learning Gentle Grasping Using Vision, Sound, and Touch", Section V."""

    world: GentleConfig = field(default_factory=GentleConfig)
    name: str = "gentle"

    def build(self) -> GentleWorld:
        """Build the world, with perception that finds the toy in depth images."""
        return GentleWorld(locate_object, self.world)

    def evidence(self, episode: Episode) -> HoldFeatures:
        """Return what the measured joint angles tell about the hold."""
        return hold_features(episode)

    def restore(self, values: np.ndarray) -> HoldFeatures:
        """Return evidence from its numbers."""
        return HoldFeatures.restore(values)

    def labels(self, episode: Episode) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
        """Return what the microphone tells: gentle in the last regrasp, while looking, and in the initial grasp."""
        heard, harsh_look, first_harsh = listen(episode)
        labels: dict[str, float | None] = {
            "gentle": float(heard.gentle),
            "gentle_while_looking": float(not harsh_look),
            "gentle_first": float(not first_harsh),
        }
        return labels, {"sound_level_db": np.array([heard.squeak_db, heard.knock_db])}
