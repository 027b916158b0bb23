"""Grasping with the parallel gripper in closed loop. More Than a Feeling, Sections IV-B and VI-B to VI-D."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import PalpateError, RunError
from palpate.core.protocols import Policy
from palpate.core.records import Observation
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.learning.calibration import calibrate
from palpate.planning.grip import CylinderPolicy, GripObjective, GripPolicy
from palpate.planning.regrasp import RandomPolicy
from palpate.recipes.collection import CollectConfig, run_trials
from palpate.recipes.outcome_run import OutcomePredictor
from palpate.recipes.regrasp_data import action_input, place_input
from palpate.recipes.regrasp_task import RegraspTask
from palpate.worlds.regrasp import RegraspConfig, RegraspWorld
from palpate.worlds.regrasp_physics import CLOSING_YAW

MAX_LOOKS = 5
"""Regrasps at most; the last one lifts."""

EXPLORE = 0.25
"""Share of random actions when data are collected with a trained model."""


@dataclass(frozen=True, kw_only=True)
class GripState:
    """What the predictor keeps of an observation while it scores actions."""

    shared: Any
    """The net's share of what is seen and felt."""
    pose: np.ndarray
    """(4,) of the end effector [m, rad]."""
    force: float
    """Present force [N]; 0 if the gripper is open."""


class RegraspPredictor(OutcomePredictor):
    """A run on regrasp trials as an `OutcomeModel` with calibrated probabilities."""

    task = "regrasp"

    def __init__(self, folder: Path, *, precision: str = "fp32") -> None:
        """Load a run.

        Raises:
            RunError: it is no run on regrasp trials, or it does not know actions, so that nothing can be planned with it.
        """
        super().__init__(folder, precision=precision)
        if "action" not in self.extra["modalities"]:
            raise RunError(
                f"{folder} was trained without the action, so it cannot choose one; train with --modalities ...,action"
            )

    def encode(self, observation: Observation) -> GripState:
        """Return the state; the pose of the end effector must be known."""
        if observation.hand_pose is None:
            raise PalpateError("the regrasp model needs hand_pose in the observation")
        shared = super().encode(observation)
        return GripState(shared=shared, pose=observation.hand_pose, force=observation.grip_force or 0.0)

    def numbers(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return where the object was found, if it was."""
        pose, found, size = observation.hand_pose, observation.object_position, observation.object_size
        return {} if pose is None or found is None or size is None else {"place": place_input(pose, found, size)}

    def score(self, state: GripState, actions: np.ndarray) -> np.ndarray:
        """Return (N, 1) calibrated probabilities of stable for actions (N, 5)."""
        probs = super().score(state.shared, action_input(actions, state.pose, state.force))
        return calibrate(probs, self.extra["platt"]) if "platt" in self.extra else probs


@dataclass(frozen=True, kw_only=True)
class RegraspGraspConfig:
    """A closed-loop test of one policy on one set of objects."""

    policy: str
    """Folder of a run, `cylinder` or `random`."""
    out: Path
    objects: str = "easy"
    trials: int = 10
    """Trials an object."""
    objective: GripObjective = field(default_factory=GripObjective)
    max_looks: int = MAX_LOOKS
    seed: int = 2000
    workers: int = 2
    resume: bool = False


def make_policy(world: RegraspWorld, *, policy: str, objective: GripObjective, max_looks: int, explore: float) -> Policy:
    """Build the policy inside a worker process."""
    torch.set_num_threads(1)
    if policy == "cylinder":
        return CylinderPolicy(space=world.action_space, yaw_offset=CLOSING_YAW)
    if policy == "random":
        return RandomPolicy(space=world.action_space)
    model = RegraspPredictor(Path(policy), precision="bf16")
    return GripPolicy(model=model, space=world.action_space, objective=objective, max_looks=max_looks, explore=explore)


def policy_name(policy: str) -> str:
    """Return `cylinder`, `random`, or the modalities of a run."""
    return policy if policy in ("cylinder", "random") else RegraspPredictor(Path(policy)).name


def collect_with(policy: str, config: CollectConfig) -> Path:
    """Collect on-policy: a trained model chooses the regrasp, now and then chance does (More Than a Feeling, Section VI-B)."""
    build = partial(make_policy, policy=policy, objective=GripObjective(), max_looks=1, explore=EXPLORE)
    about = {"policy": policy_name(policy), "explore": EXPLORE}
    return run_trials(config, build, about, max_looks=1, name=f"collect regrasp with {about['policy']}")


def grasp(config: RegraspGraspConfig) -> dict[str, Any]:
    """Run the trials that are still missing; return the figures of all.

    Equal seeds give every policy the same objects and starting states: the gripper open around the object, nothing touched yet.
    """
    task = RegraspTask(world=RegraspConfig(objects=config.objects, close_first=False))
    name = policy_name(config.policy)
    objects = len(RegraspWorld(lambda *_: None, task.world).objects)
    looks = config.max_looks if name not in ("cylinder", "random") else 1
    about = {"policy": name, "objective": vars(config.objective), "max_looks": looks}
    build = partial(make_policy, policy=config.policy, objective=config.objective, max_looks=looks, explore=0.0)
    trials = CollectConfig(
        out=config.out,
        task=task,
        trials=config.trials * objects,
        seed=config.seed,
        workers=config.workers,
        resume=config.resume,
    )
    run_trials(trials, build, about, max_looks=looks, name=f"grasp {name}, {config.objects}")
    return grasp_rows(open_dataset(config.out), name)


def grasp_rows(reader: EpisodeReader, policy: str) -> dict[str, Any]:
    """Return one row a trial of a closed-loop test, as lists by column, and who acted."""
    force = reader.column("array.grip_force")
    predicted = reader.column("array.predicted")[:, 0] if "array.predicted" in reader.names else np.full(len(reader), np.nan)
    return {
        "policy": policy,
        "trial": reader.indices.tolist(),
        "object": reader.column("group.object").tolist(),
        "stable": reader.column("label.stable").tolist(),
        "truth": reader.column("truth.stable").tolist(),
        "average_grip_force": force[:, 0].tolist(),
        "maximum_grip_force": force[:, 1].tolist(),
        "commanded_force": reader.column("array.action")[:, 4].tolist(),
        "looks": (reader.column("array.looks")[:, 0] - 1).tolist(),
        "predicted": predicted.tolist(),
    }
