"""Grasping in closed loop: a trained model chooses regrasps, or chance does. Gentle Grasping, Section VI-C and Fig. 9."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from palpate.core.protocols import Policy
from palpate.core.units import DEG, MM
from palpate.data.reader import open_dataset
from palpate.evaluation.inputs import GraspTable
from palpate.planning.regrasp import RandomPolicy, RegraspPolicy
from palpate.planning.search import ExhaustiveSearch, SamplingSearch
from palpate.recipes.collection import CollectConfig, run_trials
from palpate.recipes.gentle_task import GentleTask
from palpate.recipes.outcome_run import OutcomePredictor
from palpate.worlds.gentle import GentleConfig, GentleWorld
from palpate.worlds.hand import INITIAL_POSE


@dataclass(frozen=True, kw_only=True)
class GraspConfig:
    """A closed-loop test of one policy."""

    policy: str
    """Folder of a run, or `random`."""
    out: Path
    trials: int = 100
    seed: int = 1000
    workers: int = 2
    candidates: int = 100_000
    search: str = "exhaustive"
    max_looks: int = 3
    resume: bool = False
    world: GentleConfig = field(default_factory=GentleConfig)


def make_policy(world: GentleWorld, *, policy: str, candidates: int, search: str, max_looks: int) -> Policy:
    """Build the policy inside a worker process."""
    torch.set_num_threads(1)
    space = world.action_space
    if policy == "random":
        return RandomPolicy(space=space)
    few = candidates // 20
    find = ExhaustiveSearch(n_random=candidates - few, n_fingers_only=few) if search == "exhaustive" else SamplingSearch()
    model = OutcomePredictor(Path(policy), precision="bf16")
    return RegraspPolicy(model=model, space=space, initial_joints=np.array(INITIAL_POSE), search=find, max_looks=max_looks)


def policy_name(policy: str) -> str:
    """Return `random`, or the modalities of a run."""
    return policy if policy == "random" else OutcomePredictor(Path(policy)).name


def grasp(config: GraspConfig) -> GraspTable:
    """Run the trials that are still missing; return and save the table `OUT/grasps.json`.

    Equal seeds give every policy the same toys and starting states, so that policies can be compared pair by pair.
    """
    name = policy_name(config.policy)
    about = {"policy": name, "search": config.search, "candidates": config.candidates, "max_looks": config.max_looks}
    build = partial(
        make_policy, policy=config.policy, candidates=config.candidates, search=config.search, max_looks=config.max_looks
    )
    trials = CollectConfig(
        out=config.out,
        trials=config.trials,
        seed=config.seed,
        workers=config.workers,
        resume=config.resume,
        task=GentleTask(world=config.world),
    )
    run_trials(trials, build, about, max_looks=1 if name == "random" else config.max_looks, name=f"grasp {name}")
    table = grasp_table(config.out, name)
    table.save(config.out / "grasps.json")
    return table


def grasp_table(root: Path, policy: str) -> GraspTable:
    """Return the table of a folder of closed-loop trials."""
    reader = open_dataset(root)
    n = len(reader)
    looks = reader.column("array.looks")[:, 0] if n else np.zeros(0)
    return GraspTable(
        policy=policy,
        trial=reader.indices,
        pose=reader.column("group.pose").astype(str),
        object=reader.column("group.object").astype(str),
        labels=np.stack([reader.column("label.stable"), reader.column("label.gentle")], axis=1),
        truth=np.stack([reader.column("truth.stable"), reader.column("truth.gentle")], axis=1),
        looks=np.nan_to_num(looks, nan=0.0).astype(int),
        damage_while_looking=reader.column("label.gentle_while_looking") == 0.0,
        first_look_harsh=reader.column("label.gentle_first") == 0.0,
    )


def describe_action(action: np.ndarray) -> str:
    """Return an action (20,) in words."""
    dx, dy, dz, dyaw = action[:4]
    joints = ", ".join(f"{v:.2f}" for v in action[4:][[5, 6, 7, 14, 15]])
    return f"move {dx / MM:+.1f}, {dy / MM:+.1f}, {dz / MM:+.1f} mm, turn {dyaw / DEG:+.0f}°, joints {joints} rad"
