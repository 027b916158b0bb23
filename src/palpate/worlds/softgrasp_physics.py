# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without complete stubs)
"""The physics of the SoftGrasp rig: a hand that is told joint angles 30 times a second and lifted, over an object of panels on springs.

A body is a core with panels around it. Each panel slides along its normal on a spring with the body's stiffness under one fingertip, so
how far a fingertip sinks in, what force it feels and what the camera sees are one thing. Panels of rigid bodies do not slide.
"""

import mujoco
import numpy as np

from palpate.core.errors import SimulationError
from palpate.core.transforms import inverse, pose
from palpate.sensors.geometry import Box, Capsule, Ellipsoid, Primitive, Sphere
from palpate.worlds.humanoid_hand import (
    DEFAULTS,
    FINGERS,
    JOINTS,
    OPEN,
    PALM_DEPTH,
    RADIUS,
    chains,
    colour,
    followers,
    hand_xml,
    radians,
)
from palpate.worlds.softgrasp_objects import TILES, SoftgraspObject

RATE_HZ = 30.0
SUBSTEPS = 17
TIMESTEP = 1.0 / (RATE_HZ * SUBSTEPS)
"""1.96 ms."""

PANEL = 0.003
"""Half thickness of a panel [m]."""

CLEARANCE = 0.028
"""Palm frame above the top of an object grasped from above [m]."""

LOWEST = 0.112
"""Least height of the palm frame above the table, so that the thumb clears it [m]."""

BEHIND = -0.010
"""Where the object's axis lies along the hand's x when it is ideally placed [m]."""

THUMB_GAP = 0.061
"""Least distance of a wide object's near side from the palm frame, which leaves room for the thumb's root [m]."""

_SOFTENING = 9.0e4
"""A panel's armature is its stiffness over this [rad^2/s^2]: it swings at 48 Hz, well below what a step of 2 ms resolves."""

_INVALID = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)

_CONTACT = 'condim="4" priority="1" solref=".006 1" solimp=".9 .98 .001"'


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.6g}" for v in np.ravel(values))


def outline(thing: SoftgraspObject) -> np.ndarray:
    """Return the corners (TILES, 2) of the cross section [m], counter-clockwise: across the fingers along y, towards the thumb along x."""
    along, across = thing.size[1] / 2, thing.size[0] / 2
    if thing.boxy:
        corners = [(1, -1), (1, -1 / 3), (1, 1 / 3), (1, 1), (-1, 1), (-1, 1 / 3), (-1, -1 / 3), (-1, -1)]
        return np.array(corners, float) * [along, across]
    angle = 2 * np.pi * (np.arange(TILES) - 0.5) / TILES
    # Faces, not corners, have the printed width.
    return np.stack([along * np.cos(angle), across * np.sin(angle)], 1) / np.cos(np.pi / TILES)


def panels(thing: SoftgraspObject) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return centre of the outer face (3,) [m], axes (3, 3) with the outward normal as first column, and half sizes (3,) [m] of each panel.

    The frame has its origin in the middle of the foot, z up.
    """
    corners, shape, height = outline(thing), thing.profile, thing.size[2]
    base, out = 0.002, []
    levels = base + (height - base) * np.arange(len(shape)) / (len(shape) - 1)
    for row in range(len(shape) - 1):
        for k in range(TILES):
            p, q = corners[k], corners[(k + 1) % TILES]
            low = np.append((p + q) / 2 * shape[row], levels[row])
            high = np.append((p + q) / 2 * shape[row + 1], levels[row + 1])
            side = np.append((q - p) / np.linalg.norm(q - p), 0.0)
            up = (high - low) / np.linalg.norm(high - low)
            axes = np.stack([np.cross(side, up), side, up], 1)
            width = np.linalg.norm(q - p) * max(shape[row], shape[row + 1]) / 2
            out.append(((low + high) / 2, axes, np.array([PANEL, width, np.linalg.norm(high - low) / 2])))
    return out


def object_xml(thing: SoftgraspObject) -> str:
    """Return the body of an object in MJCF; half of its mass is in the panels."""
    k = thing.stiffness
    tiles = panels(thing)
    xml = ""
    for i, (face, axes, half) in enumerate(tiles):
        joint = ""
        if k is not None:
            armature = max(k / _SOFTENING, 0.002)
            damping = 2 * 0.7 * np.sqrt(k * armature)
            joint = (
                f'<joint name="panel{i}" type="slide" axis="-1 0 0" stiffness="{k:.6g}" damping="{damping:.6g}" '
                f'armature="{armature:.6g}" range="-.001 {0.35 * thing.size[1]:.4f}"/>'
            )
        frame = f'pos="{_numbers(face)}" xyaxes="{_numbers(axes[:, 0])} {_numbers(axes[:, 1])}"'
        xml += (
            f'<body {frame}>{joint}<geom name="panel{i}" type="box" size="{_numbers(half)}" pos="{-PANEL} 0 0" '
            f'mass="{thing.mass / 2 / len(tiles):.6g}" contype="2" conaffinity="1" '
            f'friction="{thing.friction} .008 .0002" {_CONTACT}/></body>'
        )
    a, b, height = thing.size
    low = thing.profile[0]
    core = (
        f'<geom type="box" size="{b / 5:.5f} {a / 5:.5f} {height / 5:.5f}" pos="0 0 {0.45 * height:.5f}" mass="{0.4 * thing.mass:.6g}" '
        'contype="0" conaffinity="0"/>'
        f'<geom name="foot" type="box" size="{0.3 * b * low:.5f} {0.3 * a * low:.5f} .003" pos="0 0 .003" mass="{0.1 * thing.mass:.6g}" '
        f'contype="2" conaffinity="4" friction=".5 .005 .0001"/>'
    )
    return f'<body name="object"><freejoint name="object"/>{core}{xml}</body>'


def scene_xml(thing: SoftgraspObject) -> str:
    """Return the MJCF of table, object and hand. The hand hangs on a vertical slide, palm down, or palm to +y with the thumb up."""
    body, actuators, couplings = hand_xml()
    turn = "0 0 0" if thing.mode == "top-down" else f"{np.pi / 2} 0 0"
    return f"""<mujoco><compiler autolimits="true" angle="radian" boundmass="1e-5" boundinertia="1e-8"/>
<option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10"><flag multiccd="disable"/></option>
<default>{DEFAULTS}</default>
<worldbody><geom name="table" type="plane" size="2 2 .1" contype="4" conaffinity="3" friction=".5 .005 .0001"/>
{object_xml(thing)}
<body name="stage" gravcomp="1"><joint name="lift" type="slide" axis="0 0 1" damping="300" armature="2"/>
<body name="hand" euler="{turn}" gravcomp="1">{body}</body></body></worldbody>
<equality>{couplings}</equality>
<actuator>{actuators}<position name="lift" joint="lift" kp="20000"/></actuator></mujoco>"""


def hand_height(thing: SoftgraspObject) -> float:
    """Return the height of the palm frame above the table before the lift [m]."""
    if thing.mode == "top-down":
        return max(thing.size[2] + CLEARANCE, LOWEST)
    return 0.6 * thing.size[2]


def object_place(thing: SoftgraspObject) -> np.ndarray:
    """Return where the object's axis should stand relative to the palm frame (2,) [m], world x and y."""
    along = max(BEHIND, thing.size[1] / 2 - THUMB_GAP)
    if thing.mode == "top-down":
        return np.array([along, 0.0])
    return np.array([along, max(thing.size[0] / 2 + PALM_DEPTH + 0.008, 0.055)])


def seen_touch(thing: SoftgraspObject) -> np.ndarray:
    """Return the shares (6,), 1 = open, at which each finger would just touch an ideally placed object: what an eye can judge beforehand.

    The thumb is taken as swung under the palm (share 0 of the swing). A finger that closes beside the object has share 0.
    """
    out = np.zeros(6)
    turn = np.eye(3) if thing.mode == "top-down" else np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    origin = np.append(object_place(thing), -hand_height(thing))
    half = np.array([thing.size[1], thing.size[0]]) / 2 + RADIUS
    for share in np.linspace(0.0, 1.0, 101):
        links = chains(radians(np.append(np.full(5, share), 0.0))) @ turn.T - origin
        for finger in range(5):
            points = np.concatenate([np.linspace(links[finger, i], links[finger, i + 1], 12) for i in range(2)])
            inside = (np.hypot(*(points[:, :2] / half).T) < 1.0) & (points[:, 2] > 0) & (points[:, 2] < thing.size[2])
            if inside.any():
                out[finger] = share
    return out


class Rig:
    """One compiled scene."""

    def __init__(self, thing: SoftgraspObject) -> None:
        """Compile the scene."""
        self.thing = thing
        self.model = mujoco.MjModel.from_xml_string(scene_xml(thing))
        self.data = mujoco.MjData(self.model)
        m = self.model
        self._joint_qpos = [int(m.joint(name).qposadr[0]) for name in JOINTS]
        self._joint_dof = [int(m.joint(name).dofadr[0]) for name in JOINTS]
        self._followers = [int(m.joint(f"{name}_follow").qposadr[0]) for name in FINGERS]
        self._lift = int(m.joint("lift").qposadr[0])
        self._object = m.body("object").id
        self._object_qpos = int(m.joint("object").qposadr[0])
        n = len(panels(thing))
        self._panels = [m.geom(f"panel{i}").id for i in range(n)]
        self._slides = [int(m.joint(f"panel{i}").qposadr[0]) for i in range(n)] if thing.stiffness is not None else []
        self._finger_of = {m.geom(f"{f}_{i}").id: k for k, f in enumerate(FINGERS) for i in range(2)}
        self._force = np.zeros(6)

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.data.time)

    def reset(self, offset: np.ndarray, yaw: float, height_error: float) -> None:
        """Stand the object on the table and open the hand at it.

        Args:
            offset: (2,) misplacement of the object [m].
            yaw: its turn about the vertical [rad].
            height_error: misplacement of the hand [m].
        """
        mujoco.mj_resetData(self.model, self.data)
        self._base = hand_height(self.thing) + height_error
        q = self.data.qpos
        xy = object_place(self.thing) + offset
        q[self._object_qpos : self._object_qpos + 7] = [*xy, 0.0002, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        q[self._lift] = self._base
        q[self._joint_qpos] = OPEN
        q[self._followers] = followers(OPEN)
        self._target, self._raised = OPEN.copy(), 0.0
        self.data.ctrl[:] = [*OPEN, self._base]
        mujoco.mj_forward(self.model, self.data)

    def step(self, angles: np.ndarray, raised: float) -> None:
        """Go on by one period; the targets go evenly to these joint angles (6,) [rad] and this height over the start [m]."""
        data, model = self.data, self.model
        angles_from, raised_from = self._target, self._raised
        for i in range(1, SUBSTEPS + 1):
            share = i / SUBSTEPS
            data.ctrl[:6] = angles_from + (angles - angles_from) * share
            data.ctrl[6] = self._base + raised_from + (raised - raised_from) * share
            mujoco.mj_step(model, data)
        self._target, self._raised = np.array(angles, float), raised
        # MuJoCo resets the state when it meets NaN and goes on; only the counters of its warnings tell.
        if any(data.warning[kind].number for kind in _INVALID):
            raise SimulationError(
                f"the simulation of {self.thing.name} became invalid at {self.time:.2f} s; this trial is left out"
            )

    def joints(self) -> np.ndarray:
        """Return the joint angles (6,) [rad]."""
        return self.data.qpos[self._joint_qpos].copy()

    def raised(self) -> float:
        """Return how far the arm has lifted the hand [m]."""
        return float(self.data.qpos[self._lift]) - self._base

    def torques(self) -> np.ndarray:
        """Return what the motors give (6,) [N m] beyond their own viscous friction, positive where they close against something."""
        torque = (self.data.qfrc_actuator + self.data.qfrc_damper)[self._joint_dof]
        torque[5] *= -1.0  # the swing closes towards smaller angles
        return torque

    def finger_forces(self) -> np.ndarray:
        """Return the sum of the normal forces of the object on each finger (5,) [N]."""
        out = np.zeros(5)
        for i, (g1, g2) in enumerate(self.data.contact.geom.tolist()):
            finger = self._finger_of.get(g1, self._finger_of.get(g2))
            if finger is not None:
                mujoco.mj_contactForce(self.model, self.data, i, self._force)
                out[finger] += self._force[0]
        return out

    def last_link(self, finger: str) -> tuple[np.ndarray, float, np.ndarray]:
        """Return `object_from_link` (4, 4) of a finger's last link, its length [m], and the object's force on it (3,) [N], link frame."""
        data, model = self.data, self.model
        geom = model.geom(f"{finger}_1").id
        link = model.geom_bodyid[geom]
        turn, force = data.xmat[link].reshape(3, 3), np.zeros(3)
        for i, pair in enumerate(data.contact.geom.tolist()):
            if geom in pair and (pair[0] in self._panels or pair[1] in self._panels):
                mujoco.mj_contactForce(model, data, i, self._force)
                # It acts on the second of the pair, in axes whose first points to it.
                force += (1 if pair[1] == geom else -1) * self._force[:3] @ data.contact.frame[i].reshape(3, 3)
        world_from_object = pose(data.xmat[self._object].reshape(3, 3), data.xpos[self._object])
        return inverse(world_from_object) @ pose(turn, data.xpos[link]), 2.0 * float(model.geom_size[geom][1]), force @ turn

    def deformation(self) -> float:
        """Return the greatest travel of a panel [m]; 0 of a rigid body."""
        return max(float(self.data.qpos[self._slides].max()), 0.0) if self._slides else 0.0

    def object_height(self) -> float:
        """Return the height of the object's foot above the table [m]."""
        return float(self.data.xpos[self._object][2])

    def primitives(self) -> list[Primitive]:
        """Return what the camera sees: panels, lid and hand."""
        data, model, thing = self.data, self.model, self.thing
        out: list[Primitive] = []
        dark = tuple(0.8 * c for c in thing.colour)
        for i, geom in enumerate(self._panels):
            world = pose(data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom])
            half = (float(model.geom_size[geom][0]), float(model.geom_size[geom][1]), float(model.geom_size[geom][2]))
            out.append(
                Box(world_from_body=world, half_sizes=half, colour=thing.colour if i % 2 else (dark[0], dark[1], dark[2]))
            )
        out.append(self._lid())
        for geom in range(model.ngeom):
            out.extend(self._hand_part(geom))
        return out

    def _lid(self) -> Ellipsoid:
        body, thing = self._object, self.thing
        place = np.eye(4)
        place[2, 3] = thing.size[2]
        world = pose(self.data.xmat[body].reshape(3, 3), self.data.xpos[body]) @ place
        top = thing.profile[-1]
        axes = (0.45 * thing.size[1] * top, 0.45 * thing.size[0] * top, 0.006)
        return Ellipsoid(world_from_body=world, half_axes=axes, colour=thing.colour)

    def _hand_part(self, geom: int) -> list[Primitive]:
        model, data = self.model, self.data
        body = int(model.geom_bodyid[geom])
        if model.body_rootid[body] != model.body("stage").id:
            return []
        world = pose(data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom])
        size = [float(v) for v in model.geom_size[geom]]
        tint = colour(model.geom(geom).name)
        kind = model.geom_type[geom]
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            return [Capsule(world_from_body=world, radius=size[0], half_length=size[1], colour=tint)]
        if kind == mujoco.mjtGeom.mjGEOM_BOX:
            return [Box(world_from_body=world, half_sizes=(size[0], size[1], size[2]), colour=tint)]
        return [Sphere(world_from_body=world, radius=size[0], colour=tint)]
