# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without complete stubs)
"""The physics of the gentle-grasping rig: scene, control at 100 Hz, contacts, and how a toy lies over a pad."""

import math

import mujoco
import numpy as np
from numba import njit

from palpate.core.errors import SimulationError
from palpate.core.transforms import pose
from palpate.sensors.geometry import Box, Capsule, Ellipsoid, Primitive
from palpate.worlds.hand import (
    ACTIVE,
    DEFAULTS,
    FINGERS,
    FIXED_POSE,
    PAD_HALF,
    hand_xml,
)
from palpate.worlds.toys import Toy, toy_xml

TIMESTEP = 0.0025
TICK = 4
"""Physics steps per control tick: the position targets change at 100 Hz."""
CONTROL_PERIOD = TIMESTEP * TICK

_TICKS = 1024
"""Room of a new log; a trial with one regrasp has about 950 ticks."""

CLOSING_YAW = np.pi / 2
"""At yaw 0 the hand closes along world y, across the line of sight of the camera."""

HARD_COLLISION = 5.0
"""Force between pad and table or pad and pad that counts as a hard collision [N]."""

_INVALID = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)

FREE = 0.05
"""Gap where the toy is not over the pad [m]."""

GAP_SHAPE = (80, 60)
"""Rows (along the pad's height) and columns (along its width) of the gap maps."""


def scene_xml(toy: Toy, lying: bool) -> tuple[str, float]:
    """Return the MJCF of rig and toy, and the height of the toy's centre when it stands [m]."""
    body, assets, height = toy_xml(toy, lying)
    rig, actuators = hand_xml()
    xml = f"""<mujoco><compiler autolimits="true" angle="degree"/>
<option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10">
<flag multiccd="disable"/></option>{DEFAULTS}
<worldbody><geom name="table" type="plane" size="2 2 .1" friction=".8 .005 .0001" contype="17" conaffinity="17"/>
{body}{rig}</worldbody><actuator>{actuators}</actuator>{assets}</mujoco>"""
    return xml, height


class Log:
    """State of every control tick, kept raw; `Rig.logged` turns it into what sensors need (a tick comes a thousand times a trial)."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Start empty."""
        self.rows = 0
        self.time = np.empty(_TICKS)
        self.qpos = np.empty((_TICKS, model.nq))
        self.qvel = np.empty((_TICKS, model.nv))
        self.torque = np.empty((_TICKS, model.nv))
        self.target = np.empty((_TICKS, 16))
        self.collision = np.empty(_TICKS)
        """Force of pads on the table and on each other [N]; only while the microphone records, else 0."""

    def reserve(self, more: int) -> None:
        """Make room for `more` ticks."""
        while self.rows + more > len(self.time):
            for name in ("time", "qpos", "qvel", "torque", "target", "collision"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.empty_like(array)]))

    def repeat_last(self, times: int) -> None:
        """Append the last tick `times` more, at later times and without collision."""
        self.reserve(times)
        last, rows = self.rows - 1, slice(self.rows, self.rows + times)
        for array in (self.qpos, self.qvel, self.torque, self.target):
            array[rows] = array[last]
        self.time[rows] = self.time[last] + CONTROL_PERIOD * np.arange(1, times + 1)
        self.collision[rows] = 0.0
        self.rows += times


class Rig:
    """One compiled scene, commanded by the stage pose (x, y, z of the hand frame [m], yaw [rad]) and 16 joint targets [rad]."""

    def __init__(self, toy: Toy, lying: bool) -> None:
        """Compile the scene."""
        xml, self.toy_height = scene_xml(toy, lying)
        self.toy, self.lying = toy, lying
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        m = self.model
        self._pads = [m.geom(f"{finger}_pad").id for finger in FINGERS]
        self._shells = (m.geom("shell_left").id, m.geom("shell_right").id)
        self._table = m.geom("table").id
        self._toy_body = m.body("toy").id
        self._toy_qpos = int(m.joint("toy").qposadr[0])
        self._halves = [int(m.joint(n).qposadr[0]) for n in ("left", "right")]
        stage = [m.joint(n) for n in ("x", "y", "z", "yaw")]
        self._stage_qpos = [int(j.qposadr[0]) for j in stage]
        self._stage_dof = [int(j.dofadr[0]) for j in stage]
        names = [self.model.actuator(4 + i).name for i in range(5)]
        self._hand_qpos = [int(m.joint(n).qposadr[0]) for n in names]
        self._hand_dof = [int(m.joint(n).dofadr[0]) for n in names]
        self.active = np.array(ACTIVE)
        self._force = np.zeros(6)
        self.log = Log(m)
        self.listening = False
        self._stage_target, self._joint_target = np.zeros(4), np.zeros(16)

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.data.time)

    def reset(self, toy_xy: np.ndarray, toy_yaw: float, stage: np.ndarray, joints: np.ndarray) -> None:
        """Put the toy on the table and the stage and hand where they are commanded."""
        mujoco.mj_resetData(self.model, self.data)
        self.log.rows = 0
        self.listening = False
        q = self.data.qpos
        half = toy_yaw / 2
        yaw = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
        tilt = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]) if self.lying else np.array([1.0, 0.0, 0.0, 0.0])
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, yaw, tilt)
        q[self._toy_qpos : self._toy_qpos + 7] = [*toy_xy, self.toy_height, *quat]
        q[self._stage_qpos] = stage + [0, 0, 0, CLOSING_YAW]
        q[self._hand_qpos] = joints[self.active]
        self._stage_target, self._joint_target = np.array(stage, float), np.array(joints, float)
        mujoco.mj_forward(self.model, self.data)

    def move(self, seconds: float, stage: np.ndarray | None = None, joints: np.ndarray | None = None) -> None:
        """Move the targets linearly to `stage` and `joints` (None: stay) and log every tick."""
        stage_from, joints_from = self._stage_target, self._joint_target
        stage_to = stage_from if stage is None else np.asarray(stage, float)
        joints_to = joints_from if joints is None else np.asarray(joints, float)
        n = max(1, round(seconds / CONTROL_PERIOD))
        share = np.arange(1, n + 1)[:, None] / n
        targets = joints_from + (joints_to - joints_from) * share
        commands = np.concatenate([stage_from + (stage_to - stage_from) * share, targets[:, self.active]], axis=1)
        commands[:, 3] += CLOSING_YAW
        log, step, model, data = self.log, mujoco.mj_step, self.model, self.data
        log.reserve(n)
        ctrl, qpos, qvel, torque = data.ctrl, data.qpos, data.qvel, data.qfrc_actuator
        log.target[log.rows : log.rows + n] = targets
        for row, command in enumerate(commands, log.rows):
            ctrl[:] = command
            step(model, data, TICK)
            log.time[row] = data.time
            log.qpos[row] = qpos
            log.qvel[row] = qvel
            log.torque[row] = torque
            log.collision[row] = self.collision_force() if self.listening else 0.0
        log.rows += n
        self._stage_target, self._joint_target = stage_to, joints_to
        # MuJoCo resets the state when it meets NaN and goes on; only the counters of its warnings tell.
        if any(self.data.warning[kind].number for kind in _INVALID):
            raise SimulationError(
                f"the simulation of {self.toy.name} became invalid (NaN or diverging) at {self.time:.2f} s; "
                "this trial is left out and the next one goes on"
            )

    def hold(self, seconds: float, floor: float) -> None:
        """Hold still for `seconds`. Once the toy rests below `floor` [m] with no pad touching it, the last tick is repeated."""
        n, log = round(seconds / CONTROL_PERIOD), self.log
        start = log.rows
        while (done := log.rows - start) < n:
            self.move(min(0.2, (n - done) * CONTROL_PERIOD))
            lost = self.toy_pose()[2, 3] < floor and not self.pad_forces().any()
            if lost and float(np.abs(self.data.qvel).max()) < 0.02:
                break
        log.repeat_last(n - (log.rows - start))
        self.data.time = log.time[log.rows - 1]

    def logged(self, start: int = 0) -> dict[str, np.ndarray]:
        """Return the log from row `start` on; a negative one counts from the end.

        `joint` and `target` (T, 16) [rad]; `joint_speed` (T, 5) [rad/s] and `torque` (T, 5) [N m] of the active joints; `stage`
        (T, 4) [m, rad] and `stage_speed` (T, 4); `stress` (T,) in the toy's stuffing [Pa]; `collision` (T,) [N]; `time` [s].
        """
        log, rows = self.log, slice(*slice(start, None).indices(self.log.rows))
        qpos, qvel, torque = log.qpos[rows], log.qvel[rows], log.torque[rows]
        joint = np.tile(np.array(FIXED_POSE), (len(qpos), 1))
        joint[:, self.active] = qpos[:, self._hand_qpos]
        squeeze = qpos[:, self._halves].sum(axis=1)
        return {
            "time": log.time[rows].copy(),
            "joint": joint,
            "target": log.target[rows].copy(),
            "joint_speed": qvel[:, self._hand_dof],
            "torque": torque[:, self._hand_dof],
            "stage": qpos[:, self._stage_qpos] - [0, 0, 0, CLOSING_YAW],
            "stage_speed": qvel[:, self._stage_dof],
            "stress": np.maximum(squeeze * self.toy.young / (2 * self.toy.half_axes[0]), 0.0),
            "collision": log.collision[rows].copy(),
        }

    def stage(self) -> np.ndarray:
        """Return the measured stage pose (4,): x, y, z [m] of the hand frame, yaw [rad]."""
        out = self.data.qpos[self._stage_qpos].copy()
        out[3] -= CLOSING_YAW
        return out

    def joints(self) -> np.ndarray:
        """Return the true joint angles (16,) [rad]."""
        joints = np.array(FIXED_POSE)
        joints[self.active] = self.data.qpos[self._hand_qpos]
        return joints

    def collision_force(self) -> float:
        """Return the total normal force of pads on the table and on each other [N]."""
        total = 0.0
        if not self.data.ncon:
            return total
        hard = {*self._pads, self._table}
        for i, (g1, g2) in enumerate(self.data.contact.geom.tolist()):
            if g1 in hard and g2 in hard:
                mujoco.mj_contactForce(self.model, self.data, i, self._force)
                total += self._force[0]
        return float(total)

    def toy_pose(self) -> np.ndarray:
        """Return `world_from_toy` (4, 4)."""
        return pose(self.data.xmat[self._toy_body].reshape(3, 3), self.data.xpos[self._toy_body])

    def pad_forces(self) -> np.ndarray:
        """Return the normal force of the toy on each pad [N], (2,)."""
        out = np.zeros(2)
        if not self.data.ncon:
            return out
        for i, (g1, g2) in enumerate(self.data.contact.geom):
            for k, pad in enumerate(self._pads):
                if (g1 == pad and g2 in self._shells) or (g2 == pad and g1 in self._shells):
                    mujoco.mj_contactForce(self.model, self.data, i, self._force)
                    out[k] += self._force[0]
        return out

    def gap(self, finger: int) -> np.ndarray:
        """Distance of the toy's surface from the undeformed gel along the pad's normal (80, 60) [m]; 0.05 where there is none.

        Rays leave the pad's face along its outward normal and meet the two shifted half ellipsoids in closed form.
        """
        data = self.data
        rotation = data.geom_xmat[self._pads[finger]].reshape(3, 3)
        centre = data.geom_xpos[self._pads[finger]] - rotation[:, 0] * PAD_HALF[0]
        toy = data.xmat[self._toy_body].reshape(3, 3)
        shifts = np.array([data.qpos[half] for half in self._halves])
        axes = np.array(self.toy.half_axes)
        return _gap((centre - data.xpos[self._toy_body]) @ toy, rotation.T @ toy, axes, shifts)

    def primitives(self) -> list[Primitive]:
        """Return what the camera sees: toy and hand."""
        out: list[Primitive] = [self._squeezed_toy()]
        for geom in range(self.model.ngeom):
            out.extend(self._geom_primitive(geom))
        data, palm = self.data, self.model.body("palm").id
        world_from_palm = pose(data.xmat[palm].reshape(3, 3), data.xpos[palm])
        out.extend(_fixed_fingers(world_from_palm))
        return out

    def _squeezed_toy(self) -> Ellipsoid:
        """Return the toy as it looks: narrower by what the halves were pushed in, and bulging so that its volume stays."""
        left, right = (float(self.data.qpos[half]) for half in self._halves)
        a, b, c = self.toy.half_axes
        narrow = a - (left + right) / 2
        bulge = float(np.sqrt(a / narrow))
        shift = np.eye(4)
        shift[0, 3] = (left - right) / 2
        axes = (narrow, b * bulge, c * bulge)
        return Ellipsoid(world_from_body=self.toy_pose() @ shift, half_axes=axes, colour=self.toy.colour)

    def _geom_primitive(self, geom: int) -> list[Primitive]:
        kind, size = self.model.geom_type[geom], self.model.geom_size[geom]
        if self.model.geom_bodyid[geom] in (0, self._toy_body) or geom in self._shells:
            return []
        world = pose(self.data.geom_xmat[geom].reshape(3, 3), self.data.geom_xpos[geom])
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            return [
                Capsule(world_from_body=world, radius=float(size[0]), half_length=float(size[1]), colour=(0.12, 0.12, 0.13))
            ]
        if kind == mujoco.mjtGeom.mjGEOM_BOX:
            colour = (0.75, 0.75, 0.72) if geom in self._pads else (0.16, 0.16, 0.17)
            return [Box(world_from_body=world, half_sizes=tuple(size.tolist()), colour=colour)]
        return []


@njit(cache=True)
def _gap(centre: np.ndarray, turn: np.ndarray, axes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the gap map of a pad whose face has this centre and these axes (rows of `turn`: normal, width, height), toy frame."""
    rows, cols = GAP_SHAPE
    gap = np.full((rows, cols), np.float32(FREE))
    d = -turn[0] / axes
    a = (d * d).sum()
    for row in range(rows):
        z = (1 - (row + 0.5) / rows * 2) * PAD_HALF[2]
        for col in range(cols):
            y = ((col + 0.5) / cols * 2 - 1) * PAD_HALF[1]
            point = centre + z * turn[2] + y * turn[1]
            for half in range(2):
                sign = 2 * half - 1
                b = c = 0.0
                for i in range(3):
                    s = (point[i] + (sign * shifts[half] if i == 0 else 0.0)) / axes[i]
                    b += s * d[i]
                    c += s * s
                root = b * b - a * (c - 1)
                if root > 0:
                    t = (-b - math.sqrt(root)) / a
                    if (point[0] + sign * shifts[half] - t * turn[0, 0]) * sign >= 0:
                        gap[row, col] = min(gap[row, col], np.float32(t))
    return gap


def _stretched_fingers() -> tuple[np.ndarray, ...]:
    """Return `palm_from_finger` (4, 4) of index and ring finger, which stay stretched out of the way."""
    out = []
    for y in (-0.045, 0.045):
        p, q = np.array((0.05, y, 0.0)), np.array((0.095, y, -0.075))
        axis = (q - p) / np.linalg.norm(q - p)
        side = np.cross(axis, [0.0, 1.0, 0.0])
        out.append(pose(np.stack([side, np.cross(axis, side), axis], axis=1), (p + q) / 2))
    return tuple(out)


_STRETCHED = _stretched_fingers()
_STRETCHED_HALF = float(np.hypot(0.045, 0.075) / 2)


def _fixed_fingers(world_from_palm: np.ndarray) -> list[Primitive]:
    """Return index and ring finger."""
    return [
        Capsule(world_from_body=world_from_palm @ local, radius=0.0085, half_length=_STRETCHED_HALF, colour=(0.12, 0.12, 0.13))
        for local in _STRETCHED
    ]
