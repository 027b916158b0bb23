"""Labels of a gentle-grasping trial from what was sensed: sound tells gentleness, proprioception tells stability.

Gentle Grasping (Nakahara and Calandra, 2025), Section V.
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.records import Episode
from palpate.perception.loudness import Heard, hear
from palpate.perception.stability import HoldFeatures
from palpate.worlds.hand import pads

_WINDOW = 10
"""Samples of the 100 Hz joint angles that are averaged."""


@dataclass(frozen=True, kw_only=True)
class Forces:
    """The stand-ins for the grasping force of Gentle Grasping, Section VI-B.2, before the lift, summed over both fingers."""

    displacement: float
    """How far the target pose closes the fingertips from the open hand [m]."""
    position_error: float
    """Distance of the measured from the target fingertips [m]."""


def _mean_pads(episode: Episode, stream: str, time: float) -> np.ndarray:
    """Return pad positions (2, 3) from the joint angles averaged over the last 0.1 s before `time`."""
    series = episode.streams[stream]
    end = int(np.searchsorted(series.times, time + 1e-9, side="right"))
    return pads(series.values[max(0, end - _WINDOW) : max(end, 1)].mean(axis=0))


def hold_features(episode: Episode) -> HoldFeatures:
    """Return what forward kinematics of the measured joint angles tells about a finished trial."""
    errors = {}
    for moment in ("before_lift", "hold_end"):
        time = episode.event(moment)
        measured = _mean_pads(episode, "hand.joint_position", time)
        target = _mean_pads(episode, "hand.joint_target", time)
        errors[moment] = tuple(np.linalg.norm(measured[:, :2] - target[:, :2], axis=1).tolist())
        gap = float(measured[1, 0] - measured[0, 0])
    return HoldFeatures(gap_m=max(gap, 0.0), error_lift_m=errors["before_lift"], error_hold_m=errors["hold_end"])


def force_proxies(episode: Episode) -> Forces:
    """Return the kinematic force proxies of the regrasp."""
    time = episode.event("before_lift")
    measured = _mean_pads(episode, "hand.joint_position", time)
    target = _mean_pads(episode, "hand.joint_target", time)
    start = _mean_pads(episode, "hand.joint_target", episode.event("regrasp"))
    return Forces(
        displacement=float(np.linalg.norm(target[:, :2] - start[:, :2], axis=1).sum()),
        position_error=float(np.linalg.norm(measured[:, :2] - target[:, :2], axis=1).sum()),
    )


def listen(episode: Episode) -> tuple[Heard, bool, bool]:
    """Return what the last regrasp sounded like, whether a look before it was harsh, and whether the initial grasp was."""
    clips = episode.streams["sound"]
    rate = clips.spec.rate_hz or 0.0
    heard = [hear(clip, rate) for clip in clips.values]
    first = hear(episode.streams["sound.initial"].values[0], rate)
    harsh_look = not first.gentle or any(not h.gentle for h in heard[:-1])
    return heard[-1], harsh_look, not first.gentle
