"""A two-finger parallel gripper of WSG-50 dimensions on a 4-DoF stage, with a touch sensor on each finger.

The end effector is the midpoint between the pads' centres. Gripper frame: x along the closing direction, z up; fingers hang along -z.
Both fingers are driven as one, as by the gripper's single motor. A pad gives way on springs in three ways, which stand for the gel, the
finger's bending and the object's own softness: it sinks along the closing direction, and it tilts about its horizontal and its vertical
axis. A press on one edge so turns the pads into a wedge that opens towards that edge, more with more force.
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.units import DEG, MM

FINGERS = ("left", "right")
"""In the order of all per-finger arrays; `left` stands at -x of the gripper frame, `right` at +x."""
SIDES = (-1, 1)

STROKE = 0.110
"""Between the pads, open (WSG-50) [m]."""
FORCE_RANGE = (4.0, 25.0)
"""[N] (More Than a Feeling, Section VI-B)."""
SPEED = 0.10
"""Of each finger while closing or opening [m/s]; the WSG-50 reaches 0.42 m/s."""
OPENING_FORCE = 40.0
"""[N]"""
FORCE_ERROR = 0.04
"""Relative standard deviation of the applied force about the commanded one, per grasp: friction in the drive; an estimate."""
FORCE_NOISE = (0.02, 0.15)
"""Of the measured force: relative, and [N]."""
WIDTH_NOISE = 0.0001
"""Of the measured width [m]."""

BORDER = 0.003
"""Housing around the gel [m]."""
RECESS = 0.003
"""The housing lies this far behind the gel's face [m]."""
DEPTH = 0.020
"""Thickness of a fingertip with its camera [m]."""
REACH = 0.105
"""From the pads' centre up to the palm [m]."""
TABLE_CLEARANCE = 0.002
"""The fingertips do not go lower than this over the table [m]."""

GEL_STIFFNESS = 12e3
"""Of gel and finger against a flat press [N/m]: a layer of the GelSight of 2017 gives 9 (ball) to 18 kN/m (flat), says `touch.flat`."""
TILT_STIFFNESS = 0.5
"""Of gel and finger against tilting [N m/rad]: 25 N on half of the pad then tilt it by about 14 degrees; an
estimate, since finger and gel both give way and a GelSight's gel is a dome, 1.4 mm lower at its edge."""
MOST_SUNK = 0.018
"""A pad sinks into a soft object no deeper [m]."""


@dataclass(frozen=True, kw_only=True)
class PadSize:
    """The touch sensor's gel."""

    height: float
    """[m]"""
    width: float
    """[m]"""

    @property
    def area(self) -> float:
        """[m^2]."""
        return self.height * self.width

    @property
    def lowest(self) -> float:
        """Lowest height of the end effector over the table [m]."""
        return self.height / 2 + BORDER + TABLE_CLEARANCE


def action_space() -> ActionSpace:
    """Return the regrasps of More Than a Feeling, Section VI-B: +-2 cm, +-17 degrees; the one `joint` is the grip force [N]."""
    return ActionSpace(
        motion_low=(-20 * MM, -20 * MM, -20 * MM, -17 * DEG),
        motion_high=(20 * MM, 20 * MM, 20 * MM, 17 * DEG),
        joints=(10.0,),
        active=(0,),
        joint_low=FORCE_RANGE[:1],
        joint_high=FORCE_RANGE[1:],
    )


def sink_stiffness(yielding: float | None) -> float:
    """Return the spring constant [N/m] of a pad against an object of this stiffness [N/m] (None: hard): gel and object in series."""
    return GEL_STIFFNESS if yielding is None else 1.0 / (1.0 / GEL_STIFFNESS + 1.0 / yielding)


def _finger_xml(name: str, side: int, pad: PadSize, stiffness: float) -> str:
    """Return the body of a finger. Its drive opens along `side`; the tip's joints yield."""
    half_y, half_z = pad.width / 2, pad.height / 2
    gel = f'pos="{side * 0.004} 0 0" size=".004 {half_y} {half_z}"'
    housing = f'pos="{side * (RECESS + DEPTH / 2)} 0 0" size="{DEPTH / 2} {half_y + BORDER} {half_z + BORDER}"'
    link_half = (REACH - half_z - BORDER) / 2
    link = f'pos="{side * (RECESS + 0.013)} 0 {half_z + BORDER + link_half}" size=".007 {half_y + BORDER} {link_half}"'
    damping = 2 * 0.7 * np.sqrt(stiffness * 0.35)
    return f"""<body name="{name}" gravcomp="1">
<joint name="{name}" type="slide" axis="{side} 0 0" range="-.002 {STROKE / 2}" damping="5" armature=".3" solreflimit=".006 1"/>
<geom class="link" name="{name}_link" type="box" {link} mass=".15" contype="1" conaffinity="1"/>
<body name="{name}_tip" gravcomp="1">
<joint name="{name}_sink" type="slide" axis="{side} 0 0" stiffness="{stiffness}" damping="{damping}"
armature=".3" range="-.0002 {MOST_SUNK}"/>
<joint name="{name}_pitch" type="hinge" axis="0 1 0" stiffness="{TILT_STIFFNESS}" damping=".012" armature=".0001" range="-25 25"/>
<joint name="{name}_twist" type="hinge" axis="0 0 1" stiffness="{TILT_STIFFNESS}" damping=".012" armature=".0001" range="-25 25"/>
<geom name="{name}_gel" class="gel" type="box" {gel} mass=".02"/>
<geom name="{name}_housing" class="tip" type="box" {housing} mass=".03"/></body></body>"""


def gripper_xml(pad: PadSize, stiffness: float) -> tuple[str, str, str]:
    """Return the MJCF of stage and gripper for `worldbody`, of its actuators, and of the coupling of its fingers.

    Args:
        pad: the touch sensor's gel.
        stiffness: with which a pad sinks [N/m]; see `sink_stiffness`.
    """

    def slide(name: str, axis: str, limits: str) -> str:
        joint = f'<joint name="{name}" class="stage" type="slide" axis="{axis}" range="{limits}"/>'
        return f'<body name="stage_{name}" gravcomp="1">{joint}<geom class="link" type="sphere" size=".001" mass=".5"/>'

    fingers = "".join(_finger_xml(name, side, pad, stiffness) for name, side in zip(FINGERS, SIDES, strict=True))
    body = (
        f"{slide('x', '1 0 0', '0 1.2')}{slide('y', '0 1 0', '-.6 .6')}{slide('z', '0 0 1', '-.1 .8')}"
        '<body name="palm" gravcomp="1"><joint name="yaw" class="stage" type="hinge" axis="0 0 1" damping="2" armature=".05" '
        f'range="-360 360"/><geom class="link" name="palm" type="box" size=".073 .025 .03" pos="0 0 {REACH + 0.03}" mass=".5" '
        f'contype="1" conaffinity="1"/>{fingers}</body></body></body></body>'
    )
    actuators = "".join(f'<position name="{n}" joint="{n}" kp="8000" forcerange="-80 80"/>' for n in "xyz")
    actuators += '<position name="yaw" joint="yaw" kp="80" forcerange="-10 10"/>'
    actuators += "".join(f'<velocity name="{n}" joint="{n}" kv="400" forcerange="-40 40"/>' for n in FINGERS)
    coupling = '<equality><joint joint1="left" joint2="right" polycoef="0 1 0 0 0" solref=".005 1"/></equality>'
    return body, actuators, coupling


PAD_CONTACT = 'condim="4" friction="1 .005 .0001" solref=".005 1" solimp=".95 .99 .001"'

DEFAULTS = f"""<default><geom condim="3"/>
<default class="link"><geom contype="0" conaffinity="0"/></default>
<default class="tip"><geom contype="1" conaffinity="1" {PAD_CONTACT}/></default>
<default class="gel"><geom contype="1" conaffinity="1" {PAD_CONTACT}/></default>
<default class="stage"><joint damping="200" armature="1"/></default></default>"""
