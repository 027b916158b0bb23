"""What a study of regrasping found, as its report needs it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from palpate.evaluation.inputs import PredictionTable


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Predictions in S recorded states of objects that no training saw."""

    forces: np.ndarray
    """(F,) [N]"""
    heights: np.ndarray
    """(H,) vertical motion of the gripper [m]."""
    object: tuple[str, ...]
    """(S,)"""
    by_force: np.ndarray
    """(S, F) success predicted when the gripper stays and closes with each force."""
    by_height: np.ndarray
    """(S, H) when it moves up or down and keeps its force."""
    chosen: np.ndarray
    """(S, 5) the action of the most likely success."""
    least: np.ndarray
    """(S, 5) the action of least force that is likely enough."""
    cameras: np.ndarray
    """(S, H, W, 3) uint8, what the camera saw around the object."""
    lowered: np.ndarray
    """(S,) gain in predicted success from moving down by 10 mm."""


@dataclass(frozen=True, kw_only=True)
class RegraspResults:
    """What a study found."""

    predictions: dict[str, list[PredictionTable]]
    """By model, a table a seed: held-out predictions by object."""
    calibrated: dict[str, list[PredictionTable]]
    """The same after Platt scaling, fitted on the other folds."""
    pictures: dict[str, list[PredictionTable]]
    """As `predictions`, of models to which vision is a picture alone; without those that do not see."""
    unseen_gels: dict[str, PredictionTable]
    """`unseen` and `seen`: the full model on gels that it never saw, and on equally large folds of trials with gels it knows."""
    loops: dict[str, dict[str, Any]]
    """Rows of closed-loop tests by `POLICY OBJECTS OBJECTIVE`, those after on-policy training with `+` behind the policy."""
    analysis: Analysis
    labels: dict[str, float]
    """Agreement of the labels with the simulator, share of stable trials, trials left to a person."""
    config: dict[str, Any]
