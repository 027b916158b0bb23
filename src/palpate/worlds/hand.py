"""A four-fingered hand of Allegro dimensions on a 4-DoF stage, with a DIGIT pad on each fingertip.

Five joints move (middle: mcp, pip, dip; thumb: mcp, ip) in one plane, as in Gentle Grasping, Section III; the other eleven are
fixed. The hand frame has its origin at the mcp joint plane of the middle finger, x along the closing direction (from thumb to
middle finger), z up; fingers hang along -z. Link lengths after the Allegro Hand v4 description (54.0, 38.4 mm; thumb 51.4 mm).
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.units import DEG, MM

FINGERS = ("thumb", "middle")
"""Fingers that carry the two active pads, in the order of all per-finger arrays."""

JOINT_NAMES = tuple(
    f"{finger}_{joint}" for finger in ("index", "middle", "ring", "thumb") for joint in ("abd", "mcp", "pip", "dip")
)
"""The 16 joints in Allegro order. The thumb's four are rotation, abduction, mcp, ip; they keep the generic names."""

ACTIVE = (5, 6, 7, 14, 15)
"""Indices of the five active joints in `JOINT_NAMES`: middle mcp, pip, dip; thumb mcp, ip."""

FIXED_POSE = (0.0, -0.55, 0.25, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, -0.55, 0.25, 0.2, 1.57, 0.0, 0.0, 0.0)
"""(16,) [rad]: index and ring stretched out of the way, thumb turned opposite to the middle finger."""

TRAVEL = 0.3
"""Range of each active joint [rad] (Gentle Grasping, Section V)."""

PAD_HALF = (0.002, 0.008, 0.0095)
"""Half sizes of a pad [m]: thickness, width, height. The DIGIT senses 16 x 19 mm."""

TABLE_CLEARANCE = 0.002
"""The stage does not go lower than this height of the fingertips [m]."""


@dataclass(frozen=True, kw_only=True)
class Finger:
    """A planar chain that hangs along -z from its first joint and closes along `side` * -x."""

    name: str
    base: tuple[float, float]
    """x and z of the first active joint in the hand frame [m]."""
    links: tuple[float, ...]
    """Length of each link before the distal one [m]."""
    pad: tuple[float, float]
    """Pad face inward of, and pad centre below, the last joint [m]."""
    side: int
    """+1: stands at +x and closes towards -x; -1 the reverse."""

    def pad_centre(self, joints: np.ndarray) -> tuple[float, float, float]:
        """Return x, z of the pad's face centre in the hand frame [m] and the pad's turn [rad] for joint angles."""
        x, z, angle = 0.0, 0.0, 0.0
        for length, joint in zip(self.links, joints[:-1], strict=True):
            angle += joint
            x, z = x + length * np.sin(angle), z - length * np.cos(angle)
        angle += joints[-1]
        inward, below = self.pad
        x, z = x + inward * np.cos(angle) + below * np.sin(angle), z + inward * np.sin(angle) - below * np.cos(angle)
        return self.base[0] - self.side * x, self.base[1] + z, angle


MIDDLE = Finger(name="middle", base=(0.050, 0.0), links=(0.054, 0.0384), pad=(0.009, 0.030), side=1)
THUMB = Finger(name="thumb", base=(-0.050, -0.0147), links=(0.0514,), pad=(0.009, 0.036), side=-1)

TIP_DEPTH = 0.098 + PAD_HALF[2]
"""Fingertips below the hand frame's origin in the middle pose [m]; the end effector is the midpoint between the fingertips."""


def _planar(inward: float, depth: float = 0.098) -> np.ndarray:
    """Return the five active angles [rad] that put both pad faces `inward` [m] of their first joint, pads upright."""
    l1, l2 = MIDDLE.links
    px, pz = inward - MIDDLE.pad[0], depth - MIDDLE.pad[1]
    bend = np.arccos((px * px + pz * pz - l1 * l1 - l2 * l2) / (2 * l1 * l2))
    first = np.arctan2(px, pz) - np.arctan2(l2 * np.sin(bend), l1 + l2 * np.cos(bend))
    thumb = np.arcsin((inward - THUMB.pad[0]) / THUMB.links[0])
    return np.array([first, bend, -(first + bend), thumb, -thumb])


def full_pose(active: np.ndarray) -> np.ndarray:
    """Return (16,) joint angles [rad] with the five active ones set."""
    out = np.array(FIXED_POSE)
    out[list(ACTIVE)] = active
    return out


def pads(joints: np.ndarray) -> np.ndarray:
    """Forward kinematics: x, z [m] and turn [rad] of thumb and middle pad, (2, 3), hand frame, from (16,) joint angles."""
    active = np.asarray(joints)[list(ACTIVE)]
    return np.array([THUMB.pad_centre(active[3:]), MIDDLE.pad_centre(active[:3])])


MEAN_POSE = _planar(0.0265)
"""Middle of the action range: pads upright, 47 mm apart."""

INITIAL_POSE = full_pose(_planar(0.0285))
"""(16,) pose of the first grasp, 43 mm apart: firm enough that both pads touch most toys."""

OPEN_POSE = full_pose(_planar(0.029) + np.array([-0.38, 0.12, 0.10, -0.46, 0.16]))
"""(16,) pose for approaching and moving, wider than any toy."""


def action_space() -> ActionSpace:
    """Return the regrasp actions of Gentle Grasping, Section V: ±10 mm, ±15°, five joints over 0.3 rad."""
    low, high = MEAN_POSE - TRAVEL / 2, MEAN_POSE + TRAVEL / 2
    return ActionSpace(
        motion_low=(-10 * MM, -10 * MM, -10 * MM, -15 * DEG),
        motion_high=(10 * MM, 10 * MM, 10 * MM, 15 * DEG),
        joints=FIXED_POSE,
        active=ACTIVE,
        joint_low=tuple(low.tolist()),
        joint_high=tuple(high.tolist()),
    )


PAD_CONTACT = 'condim="4" friction="1 .005 .0001" solref=".005 1" solimp=".95 .99 .001"'


def _finger_xml(finger: Finger) -> str:
    """Return the body of a finger; its joints turn about the body's y axis and positive angles close."""
    names = [JOINT_NAMES[i] for i in (ACTIVE[:3] if finger.name == "middle" else ACTIVE[3:])]
    inward, below = finger.pad
    turn = "0 0 0" if finger.side > 0 else "0 0 180"
    xml = f'<body name="{finger.name}_base" pos="{finger.base[0]} 0 {finger.base[1]}" euler="{turn}" gravcomp="1">'
    offset = 0.0
    for name, length in zip(names, (*finger.links, None), strict=True):
        xml += f'<body name="{name}" pos="0 0 {-offset}" gravcomp="1"><joint name="{name}" class="finger"/>'
        if length is not None:
            xml += f'<geom class="link" type="capsule" size=".0085" fromto="0 0 0 0 0 {-length}" mass=".05"/>'
            offset = length
    xml += f'<geom class="link" type="capsule" size=".006" fromto=".003 0 0 .003 0 {-below - 0.004}" mass=".03"/>'
    centre = -(inward - PAD_HALF[0])
    size = " ".join(map(str, PAD_HALF))
    xml += f'<geom name="{finger.name}_pad" class="pad" type="box" size="{size}" pos="{centre} 0 {-below}"/>'
    return xml + "</body>" * (len(names) + 1)


def hand_xml() -> tuple[str, str]:
    """Return the MJCF of stage and hand for `worldbody`, and of its actuators."""

    def slide(name: str, axis: str, limits: str) -> str:
        joint = f'<joint name="{name}" class="stage" type="slide" axis="{axis}" range="{limits}"/>'
        return f'<body name="stage_{name}" gravcomp="1">{joint}<geom class="link" type="sphere" size=".001" mass=".5"/>'

    fingers = _finger_xml(THUMB) + _finger_xml(MIDDLE)
    body = (
        f"{slide('x', '1 0 0', '0 1.2')}{slide('y', '0 1 0', '-.6 .6')}{slide('z', '0 0 1', '-.1 .8')}"
        '<body name="palm" gravcomp="1"><joint name="yaw" class="stage" type="hinge" axis="0 0 1" damping="2" armature=".05" '
        'range="-180 180"/><geom class="link" type="box" size=".065 .04 .012" pos="0 0 .02" mass=".3"/>'
        f"{fingers}</body></body></body></body>"
    )
    stage = "".join(f'<position name="{n}" joint="{n}" kp="8000" forcerange="-400 400"/>' for n in "xyz")
    stage += '<position name="yaw" joint="yaw" kp="80" forcerange="-20 20"/>'
    joints = "".join(f'<position class="finger" name="{JOINT_NAMES[i]}" joint="{JOINT_NAMES[i]}"/>' for i in ACTIVE)
    return body, stage + joints


DEFAULTS = f"""<default><geom condim="3"/>
<default class="finger"><joint type="hinge" axis="0 1 0" range="-120 120" damping=".1" armature=".001" frictionloss=".005"/>
<position kp="3" forcerange="-.7 .7"/></default>
<default class="link"><geom contype="0" conaffinity="0"/></default>
<default class="pad"><geom contype="1" conaffinity="1" mass=".01" {PAD_CONTACT}/></default>
<default class="stage"><joint damping="200" armature="1"/></default></default>"""
