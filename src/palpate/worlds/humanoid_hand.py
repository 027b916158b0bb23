"""A right five-finger hand of about the size of an Inspire RH56, made of capsules, with six motors.

Palm frame: origin between the knuckles of middle and ring finger, x towards the fingertips, y towards the thumb's side, z out of the
back of the hand; the palm looks along -z. A finger's first joint is driven, its second follows it. The thumb swings about the forearm's
direction, from beside the palm to under it, and bends in two joints of which the second follows.

The geometry is the project's own. Lengths are estimates to about 5 mm, from photographs and the size of an adult's hand; ranges of
joints are estimates that let it open around 110 mm. A second joint turns about 1.1 times as much as the first, as published models of
the RH56DFX have it. The makers give 10 N at a fingertip; Tan, Xie and Correll 2026 (arXiv 2603.08988) measured 6.5 to 13 N.
"""

import numpy as np

JOINTS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_swing")
"""The six controlled joints in the order of all arrays (6,), SoftGrasp, Section 3.2."""

FINGERS = ("little", "ring", "middle", "index", "thumb")
"""Order of fingertip forces (5,)."""

OPEN = np.array([0.0, 0.0, 0.0, 0.0, -0.55, 1.40])
"""Angles of the open hand [rad]: share 1."""

CLOSED = np.array([1.30, 1.30, 1.30, 1.30, 0.75, 0.0])
"""Angles of the closed hand [rad]: share 0; the thumb has swung under the palm."""

FINGER_LIMIT = 10.0
"""Force at a fingertip at which the motor gives no more [N]; nearer to the knuckle the same torque presses harder."""

LEVER = 0.075
"""From the driven joint to about where a fingertip touches [m]."""

FOLLOW, CURL = 1.1, 0.3
"""Turn of a finger's second joint per turn of its first, and of the open finger [rad]."""
THUMB_FOLLOW = 0.6

_SPREAD = {"little": -0.029, "ring": -0.0095, "middle": 0.010, "index": 0.0295}
"""Place of the knuckles along y [m]."""
_LINKS = {"little": (0.030, 0.040), "ring": (0.034, 0.045), "middle": (0.036, 0.048), "index": (0.034, 0.045)}
"""Length of both links to the centre of the tip's ball [m]."""
RADIUS = 0.008
"""Of fingers and thumb [m]."""
_THUMB_BASE = (-0.058, 0.012, -0.015)
_THUMB_LINKS = (0.042, 0.036)
_STIFFNESS = 4.0
"""Of the position control [N m/rad]; a worm drive gives way little: 0.05 rad at 2.7 N on the fingertip. An estimate."""

PALM_DEPTH = 0.012
"""From the palm frame to the surface of the palm [m]."""

_WHITE, _BLACK = (0.86, 0.86, 0.88), (0.10, 0.10, 0.11)


def radians(share: np.ndarray) -> np.ndarray:
    """Return joint angles (..., 6) [rad] of shares of the range (..., 6), 1 = open, as the rig records them."""
    return CLOSED + np.asarray(share, float) * (OPEN - CLOSED)


def shares(angles: np.ndarray) -> np.ndarray:
    """Return shares of the range (..., 6), 1 = open, of joint angles (..., 6) [rad]. Inverse of `radians`."""
    return (np.asarray(angles, float) - CLOSED) / (OPEN - CLOSED)


def followers(angles: np.ndarray) -> np.ndarray:
    """Return the angles (5,) [rad] of the joints that follow, in the order of `FINGERS`, at joint angles (6,) [rad]."""
    return np.append(CURL + FOLLOW * angles[:4], THUMB_FOLLOW * angles[4])


def _link(name: str, radius: float, to: tuple[float, float, float], mass: float) -> str:
    end = " ".join(f"{v:.5f}" for v in to)
    return f'<geom name="{name}" class="hand" type="capsule" size="{radius}" fromto="0 0 0 {end}" mass="{mass}"/>'


def _joint(name: str, axis: str, low: float, high: float) -> str:
    kind = "follower" if name.endswith("follow") else "hand"
    return f'<joint name="{name}" class="{kind}" axis="{axis}" range="{low:.4f} {high:.4f}"/>'


def _finger(name: str) -> str:
    first, second = _LINKS[name]
    return (
        f'<body name="{name}" pos="0 {_SPREAD[name]} 0" gravcomp="1">{_joint(name, "0 1 0", -0.05, 1.35)}'
        f"{_link(name + '_0', RADIUS, (first, 0, 0), 0.015)}"
        f'<body name="{name}_tip" pos="{first} 0 0" gravcomp="1">{_joint(name + "_follow", "0 1 0", 0.1, 1.85)}'
        f"{_link(name + '_1', RADIUS, (second, 0, 0), 0.012)}</body></body>"
    )


def _thumb() -> str:
    first, second = _THUMB_LINKS
    base = " ".join(map(str, _THUMB_BASE))
    return (
        f'<body name="thumb_swing" pos="{base}" gravcomp="1">{_joint("thumb_swing", "1 0 0", -0.05, 1.45)}'
        '<geom class="ghost" type="sphere" size=".012" mass=".02"/>'
        f'<body name="thumb_bend" gravcomp="1">{_joint("thumb_bend", "0 -1 0", -0.60, 0.80)}'
        f"{_link('thumb_0', RADIUS, (0, 0, -first), 0.020)}"
        f'<body name="thumb_tip" pos="0 0 {-first}" gravcomp="1">{_joint("thumb_follow", "0 -1 0", -0.60, 0.80)}'
        f"{_link('thumb_1', RADIUS, (0, 0, -second), 0.015)}</body></body></body>"
    )


def hand_xml() -> tuple[str, str, str]:
    """Return the hand's MJCF: what hangs on the palm's body, its actuators, and the equalities that couple its joints."""
    palm = (
        f'<geom name="palm" class="hand" type="box" size=".045 .041 {PALM_DEPTH}" pos="-.047 0 0" mass=".25"/>'
        '<geom class="ghost" type="capsule" size=".034" fromto="-.105 0 0 -.30 0 0" mass=".2"/>'
    )
    body = palm + "".join(_finger(name) for name in FINGERS[:4]) + _thumb()
    torque = FINGER_LIMIT * LEVER
    actuators = "".join(
        f'<position name="{name}" joint="{name}" kp="{_STIFFNESS}" forcerange="{-torque} {torque}"/>' for name in JOINTS
    )
    couplings = "".join(
        f'<joint joint1="{name}_follow" joint2="{name}" polycoef="{CURL} {FOLLOW} 0 0 0" solref=".006 1"/>'
        for name in FINGERS[:4]
    )
    couplings += f'<joint joint1="thumb_follow" joint2="thumb_bend" polycoef="0 {THUMB_FOLLOW} 0 0 0" solref=".006 1"/>'
    return body, actuators, couplings


def chains(angles: np.ndarray) -> np.ndarray:
    """Forward kinematics: knuckle, middle joint and tip of each finger (5, 3, 3) [m], palm frame, at joint angles (6,) [rad]."""
    out = np.zeros((5, 3, 3))
    for i, name in enumerate(FINGERS[:4]):
        along = np.array([angles[i], angles[i] * (1.0 + FOLLOW) + CURL])
        steps = np.array(_LINKS[name])[:, None] * np.stack([np.cos(along), np.zeros(2), -np.sin(along)], 1)
        out[i] = np.array([0.0, _SPREAD[name], 0.0]) + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
    along = angles[4] * np.array([1.0, 1.0 + THUMB_FOLLOW])
    down = -np.cos(along)
    swing = np.stack([np.sin(along), -np.sin(angles[5]) * down, np.cos(angles[5]) * down], 1)
    steps = np.array(_THUMB_LINKS)[:, None] * swing
    out[4] = np.array(_THUMB_BASE) + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, 0)])
    return out


DEFAULTS = """<default class="hand"><joint type="hinge" damping=".08" armature=".002" frictionloss=".002"/>
<geom contype="1" conaffinity="6"/></default>
<default class="follower"><joint type="hinge" damping=".002" armature=".0005"/></default>
<default class="ghost"><geom contype="0" conaffinity="0"/></default>"""
"""Parts of the hand touch objects and the table, not each other: a thumb and a finger that meet pass through one another."""


def colour(geom: str) -> tuple[float, float, float]:
    """Return RGB in 0..1 of a part of the hand by its name; black fingertips and thumb, white otherwise."""
    return _BLACK if geom.endswith("_1") or geom.startswith("thumb") else _WHITE
