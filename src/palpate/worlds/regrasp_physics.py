# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without complete stubs)
"""The physics of the regrasp rig: scene, control at 100 Hz, loads on the pads, and how an object lies over a pad."""

import mujoco
import numpy as np

from palpate.core.errors import SimulationError
from palpate.core.randomness import generator
from palpate.core.transforms import pose, quaternion_to_matrix
from palpate.sensors.geometry import Box, Primitive
from palpate.worlds.gripper import (
    DEFAULTS,
    FINGERS,
    OPENING_FORCE,
    SIDES,
    SPEED,
    STROKE,
    PadSize,
    gripper_xml,
    sink_stiffness,
)
from palpate.worlds.household import GraspObject, Part
from palpate.worlds.household_rays import gap_map, pack
from palpate.worlds.household_touch import Load
from palpate.worlds.household_view import part_corners, seen

TIMESTEP = 0.0025
TICK = 4
"""Physics steps per control tick: the targets change at 100 Hz."""
CONTROL_PERIOD = TIMESTEP * TICK

CLOSING_YAW = np.pi / 2
"""At yaw 0 the gripper closes along world y, across the line of sight of the camera."""

GAP_SHAPE = (36, 48)
"""Rows and columns of the gap maps; cells of 0.4 mm."""
FREE = 0.05
"""Gap where the object is not over the pad [m]."""
BEHIND = 0.012
"""What lies deeper than this behind a pad's face is beside the finger, not over the pad [m]."""

POSES_KEPT = 4
"""Resting poses of an object: it is dropped this often."""

TABLE_FRICTION = 0.45
"""Between object and table; rolling friction keeps round things where they are put."""

STILL = (1e-4, 2e-3)
"""An object that moved less than this in the gripper in 0.2 s, [m] and [rad], stays: it would creep by 2 mm in the rest of the hold."""

CCD = 'ccd_iterations="100" ccd_tolerance="1e-7"'
"""At its default of 1e-6 MuJoCo 3.17 took a cylinder for deep inside a pad and threw it, in 1 of 188 grasps; so in none."""

_ROUND = 32
"""Sides of the polygon that stands for a cone's circle in physics; touch and camera see it round."""

_INVALID = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def _numbers(values: np.ndarray | tuple[float, ...]) -> str:
    return " ".join(f"{v:.6g}" for v in np.ravel(values))


def _mesh_vertices(part: Part) -> np.ndarray:
    """Return the corners (N, 3) [m] of a part that MuJoCo takes as a mesh."""
    if part.kind == "polytope":
        return np.array(part.vertices)
    angle = 2 * np.pi * np.arange(_ROUND) / _ROUND
    below, above, half = part.size
    rings = [
        np.stack([r * np.cos(angle), r * np.sin(angle), np.full(_ROUND, z)], 1) for r, z in ((below, -half), (above, half))
    ]
    return np.concatenate(rings)


def object_xml(thing: GraspObject) -> tuple[str, str]:
    """Return body and assets of an object in MJCF. Half of the mass is ballast, the rest is spread over the parts by volume."""
    # A soft object wraps round the edge of the pad's contact and resists spinning more; the radius of contact is an estimate.
    spin = 0.003 if thing.young is None else 0.006
    contact = (
        f'condim="4" priority="1" friction="{thing.friction:.4f} {spin} .0001" solref=".005 1" solimp=".95 .99 .001" '
        'contype="2" conaffinity="1"'
    )
    total = sum(part.volume for part in thing.parts)
    geoms, assets = "", ""
    for i, part in enumerate(thing.parts):
        mass = 0.5 * thing.mass * part.volume / total
        place = f'pos="{_numbers(part.at)}" quat="{_numbers(part.turn)}" mass="{mass:.8f}" {contact}'
        if part.kind in ("polytope", "frustum") and not (part.kind == "frustum" and part.size[0] == part.size[1]):
            assets += f'<mesh name="part{i}" vertex="{_numbers(_mesh_vertices(part))}"/>'
            shape = f'type="mesh" mesh="part{i}"'
        elif part.kind == "frustum":
            shape = f'type="cylinder" size="{part.size[0]} {part.size[2]}"'
        else:
            shape = f'type="{part.kind}" size="{_numbers(part.size)}"'
        geoms += f'<geom name="part{i}" {shape} {place}/>'
    body = (
        '<body name="object"><freejoint name="object"/>'
        f'<geom type="sphere" size=".008" pos="{_numbers(thing.ballast)}" mass="{thing.mass / 2}" contype="0" conaffinity="0"/>'
        f"{geoms}</body>"
    )
    return body, f"<asset>{assets}</asset>"


def scene_xml(thing: GraspObject, pad: PadSize) -> str:
    """Return the MJCF of rig and object."""
    body, assets = object_xml(thing)
    rig, actuators, coupling = gripper_xml(pad, sink_stiffness(thing.yielding(pad.area)))
    return f"""<mujoco><compiler autolimits="true" angle="degree" boundmass="1e-5" boundinertia="1e-8"/>
<option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10" {CCD}/>
{DEFAULTS}
<worldbody><geom name="table" type="plane" size="2 2 .1" contype="3" conaffinity="3"
condim="6" priority="2" friction="{TABLE_FRICTION} .005 .0005" solref=".005 1" solimp=".95 .99 .001"/>
{body}{rig}</worldbody><actuator>{actuators}</actuator>{coupling}{assets}
<contact><exclude body1="left" body2="left_tip"/><exclude body1="right" body2="right_tip"/>
<exclude body1="palm" body2="left"/><exclude body1="palm" body2="right"/></contact></mujoco>"""


class Rig:
    """One compiled scene, commanded by the end effector's pose (x, y, z [m], yaw [rad]) and a grip force [N] or None to open."""

    def __init__(self, thing: GraspObject, pad: PadSize) -> None:
        """Compile the scene."""
        self.thing, self.pad = thing, pad
        self.model = mujoco.MjModel.from_xml_string(scene_xml(thing, pad))
        self.data = mujoco.MjData(self.model)
        m = self.model
        self._gels = [m.geom(f"{name}_gel").id for name in FINGERS]
        self._tips = [m.body(f"{name}_tip").id for name in FINGERS]
        self._fingers = [m.body(name).id for name in FINGERS]
        self._object = m.body("object").id
        self._object_qpos = int(m.joint("object").qposadr[0])
        stage = [m.joint(n) for n in ("x", "y", "z", "yaw")]
        self._stage_qpos = [int(j.qposadr[0]) for j in stage]
        self._drive_qpos = [int(m.joint(n).qposadr[0]) for n in FINGERS]
        self._drives = [m.actuator(n).id for n in FINGERS]
        self._force = np.zeros(6)
        self._target = np.zeros(4)
        self._packed = pack(thing)
        self._times: list[float] = []
        self._rows: list[np.ndarray] = []
        self._poses: list[np.ndarray] | None = None

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.data.time)

    def reset(self, resting: np.ndarray, xy: np.ndarray, yaw: float, stage: np.ndarray) -> None:
        """Put the object on the table and the open gripper where it is commanded.

        Args:
            resting: (5,) height [m] and quaternion of a resting pose.
            xy: (2,) place on the table [m].
            yaw: turn of the object about the vertical [rad].
            stage: (4,) pose of the end effector.
        """
        mujoco.mj_resetData(self.model, self.data)
        self._times, self._rows = [], []
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]), resting[1:])
        q = self.data.qpos
        q[self._object_qpos : self._object_qpos + 7] = [*xy, resting[0], *quat]
        q[self._stage_qpos] = stage + [0, 0, 0, CLOSING_YAW]
        q[self._drive_qpos] = STROKE / 2
        self._target = np.array(stage, float)
        self.data.ctrl[:4] = stage + [0, 0, 0, CLOSING_YAW]
        self.drive(None)
        mujoco.mj_forward(self.model, self.data)

    def resting_poses(self) -> list[np.ndarray]:
        """Return poses (5,), height [m] and quaternion, in which the object comes to rest when dropped; a function of the object alone."""
        if self._poses is None:
            rng = generator(7, 11)
            upright = np.array([1.0, 0.0, 0.0, 0.0])
            turns = [upright, *rng.normal(size=(POSES_KEPT - 1, 4))]
            self._poses = [self._drop(turn / np.linalg.norm(turn)) for turn in turns]
        return self._poses

    def _drop(self, turn: np.ndarray) -> np.ndarray:
        """Set the object down turned in this way, let it come to rest, and return (5,) height and quaternion."""
        up = quaternion_to_matrix(turn)[2]
        lowest = min(float((part_corners(part) @ up).min()) for part in self.thing.parts)
        self.reset(np.array([0.001 - lowest, *turn]), np.array([0.6, 0.0]), 0.0, np.array([0.1, 0.5, 0.5, 0.0]))
        for _ in range(15):
            mujoco.mj_step(self.model, self.data, 40)
            if float(np.abs(self.data.qvel[:6]).max()) < 0.01:
                break
        return self.data.qpos[self._object_qpos + 2 : self._object_qpos + 7].copy()

    def drive(self, force: float | None) -> None:
        """Close with a force [N], or open."""
        limit = OPENING_FORCE if force is None else force
        self.model.actuator_forcerange[self._drives] = [-limit, limit]
        self.data.ctrl[self._drives] = SPEED if force is None else -SPEED

    def move(self, seconds: float, stage: np.ndarray | None = None) -> None:
        """Move the end effector's target linearly to `stage` (None: stay) and log every tick."""
        start = self._target
        stop = start if stage is None else np.asarray(stage, float)
        n = max(1, round(seconds / CONTROL_PERIOD))
        commands = start + (stop - start) * (np.arange(1, n + 1)[:, None] / n) + [0, 0, 0, CLOSING_YAW]
        ctrl, step, model, data = self.data.ctrl, mujoco.mj_step, self.model, self.data
        for command in commands:
            ctrl[:4] = command
            step(model, data, TICK)
            self._times.append(data.time)
            self._rows.append(self._row())
        self._target = stop
        # MuJoCo resets the state when it meets NaN and goes on; only the counters of its warnings tell.
        if any(data.warning[kind].number for kind in _INVALID):
            raise SimulationError(
                f"the simulation of {self.thing.name} became invalid (NaN or diverging) at {self.time:.2f} s; "
                "this trial is left out and the next one goes on"
            )

    def _row(self) -> np.ndarray:
        data = self.data
        return np.concatenate([data.qpos[self._stage_qpos], data.qpos[self._drive_qpos], data.actuator_force[self._drives]])

    def close(self, force: float, most: float = 1.2) -> None:
        """Close with a force [N] until the fingers stand still or met each other, at most for `most` seconds."""
        self.drive(force)
        self.move(0.15)
        start = self.time
        while self.time - start < most:
            before = self.width()
            self.move(0.05)
            if abs(self.width() - before) < 2e-4:
                break

    def open(self) -> None:
        """Open to the full stroke."""
        self.drive(None)
        for _ in range(14):
            self.move(0.05)
            if self.width() > STROKE - 0.001:
                break

    def hold(self, seconds: float, floor: float) -> None:
        """Hold still for `seconds`; the last tick is repeated once nothing more will happen.

        That is when the object rests below `floor` [m] and no pad touches it, or when it no longer moves in the gripper.
        """
        n = round(seconds / CONTROL_PERIOD)
        start = len(self._times)
        last = self.object_pose()
        while (done := len(self._times) - start) < n:
            self.move(min(0.2, (n - done) * CONTROL_PERIOD))
            now = self.object_pose()
            if now[2, 3] < floor:
                if not any(load.force[2] for load in self.loads()):
                    break
            elif np.abs(now - last)[:3, 3].max() < STILL[0] and np.abs(now - last)[:3, :3].max() < STILL[1]:
                break
            last = now
        missing = n - (len(self._times) - start)
        self._times.extend((self._times[-1] + CONTROL_PERIOD * np.arange(1, missing + 1)).tolist())
        self._rows.extend(self._rows[-1:] * missing)
        self.data.time = self._times[-1]

    def logged(self) -> dict[str, np.ndarray]:
        """Return `time` (T,) [s], `stage` (T, 4) [m, rad], `width` (T,) between the finger bodies [m], `force` (T,) of the drive [N]."""
        rows = np.array(self._rows)
        return {
            "time": np.array(self._times),
            "stage": rows[:, :4] - [0, 0, 0, CLOSING_YAW],
            "width": rows[:, 4:6].sum(axis=1),
            "force": np.maximum(-rows[:, 6:].mean(axis=1), 0.0),
        }

    def width(self) -> float:
        """Return the width between the pads' undeformed faces [m]; less than the object's where gel and object give way."""
        return float(self.data.qpos[self._drive_qpos].sum())

    def stage(self) -> np.ndarray:
        """Return the measured pose (4,) of the end effector: x, y, z [m], yaw [rad]."""
        out = self.data.qpos[self._stage_qpos].copy()
        out[3] -= CLOSING_YAW
        return out

    def object_pose(self) -> np.ndarray:
        """Return `world_from_object` (4, 4)."""
        return pose(self.data.xmat[self._object].reshape(3, 3), self.data.xpos[self._object])

    def gel_axes(self, finger: int) -> np.ndarray:
        """Return the gel's x, y, z as rows (3, 3), world frame: of the finger, that is before gel and finger give way."""
        turn = self.data.xmat[self._fingers[finger]].reshape(3, 3)
        side = SIDES[finger]
        return np.stack([-side * turn[:, 1], -turn[:, 2], side * turn[:, 0]])

    def loads(self) -> list[Load]:
        """Return what the object does to each gel."""
        wrenches = np.zeros((2, 4))
        data = self.data
        for i, pair in enumerate(data.contact.geom.tolist() if data.ncon else []):
            for k, gel in enumerate(self._gels):
                if gel in pair and self.model.geom_bodyid[pair[0] if pair[1] == gel else pair[1]] == self._object:
                    mujoco.mj_contactForce(self.model, data, i, self._force)
                    contact = data.contact[i]
                    sign = 1.0 if pair[1] == gel else -1.0
                    axes = self.gel_axes(k)
                    force = axes @ (contact.frame.reshape(3, 3).T @ self._force[:3]) * sign
                    twist = axes[2] @ (contact.frame.reshape(3, 3).T @ self._force[3:]) * sign
                    arm = axes @ (contact.pos - data.xpos[self._tips[k]])
                    wrenches[k, :3] += force
                    wrenches[k, 3] += twist + arm[0] * force[1] - arm[1] * force[0]
        return [Load(force=w[:3], torque=float(w[3])) for w in wrenches]

    def gap(self, finger: int) -> np.ndarray:
        """Return the distance of the object's true surface from the undeformed gel along its normal, `GAP_SHAPE` [m]; `FREE` where none."""
        turn = self.data.xmat[self._object].reshape(3, 3)
        face = (self.data.xpos[self._tips[finger]] - self.data.xpos[self._object]) @ turn
        half = np.array([self.pad.height / 2, self.pad.width / 2])
        return gap_map(self._packed, face, self.gel_axes(finger) @ turn, half, GAP_SHAPE, FREE, BEHIND)

    def primitives(self) -> list[Primitive]:
        """Return what the camera sees: object first, then the gripper."""
        out: list[Primitive] = [*seen(self.thing, self.object_pose())]
        for geom in range(self.model.ngeom):
            if self.model.geom_bodyid[geom] in (0, self._object) or self.model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_BOX:
                continue
            world = pose(self.data.geom_xmat[geom].reshape(3, 3), self.data.geom_xpos[geom])
            colour = (0.75, 0.75, 0.72) if geom in self._gels else (0.16, 0.16, 0.17)
            out.append(Box(world_from_body=world, half_sizes=tuple(self.model.geom_size[geom].tolist()), colour=colour))
        return out
