# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without complete stubs)
"""Stage one of a dexterous grasp: the rigid Shadow hand closes on an object on a table, and what it touches.

The hand's mount stands still while it grasps. To lift, the table is drawn away in the hand's own frame, in which the lift's acceleration
adds to gravity: the same physics as a hand that rises, without a heavy moving base.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from palpate.core.errors import SimulationError
from palpate.core.randomness import generator
from palpate.core.transforms import pose, quaternion_to_matrix
from palpate.sensors.geometry import Box, Capsule, Primitive
from palpate.worlds.household import GraspObject, frustum
from palpate.worlds.household_view import part_corners, seen
from palpate.worlds.regrasp_physics import CCD, TABLE_FRICTION, object_xml
from palpate.worlds.shadow import ACTUATED, FINGERS, JOINTS, hand_spec, lowest_point, put_mount

TIMESTEP = 0.002
TICK = 5
"""Physics steps per control tick: the targets change at 100 Hz."""
CONTROL_PERIOD = TIMESTEP * TICK

CLOSE_SECONDS = 0.5
SETTLE_SECONDS = 0.3

LIFT_HEIGHT = 0.100
"""[m]"""
LIFT_SECONDS = 0.5
HOLD_SECONDS = 1.0
DROPPED = 0.050
"""An object that sank by more than this in the hand was not held [m]."""

GRAVITY = 9.81
"""[m/s^2]"""

RETREAT = np.array([0.0, 1.0, -1.0]) / np.sqrt(2.0)
"""(3,) the hand withdraws this way, palm frame: back from palm and fingertips alike."""
RETREAT_STEPS = 0.005 * np.arange(41)
"""Tried distances of the hand along its retreat [m]."""

POSES_KEPT = 3
"""Resting poses of an object: it is dropped this often."""

ARENA = 4 * 2**20
"""Working memory of a scene [bytes]; a few hundred contacts need no more."""

_INVALID = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_AWAY = pose(np.eye(3), np.array([0.0, 0.0, 3.0]))
_SKIN = (0.20, 0.21, 0.23)
_TIP = (0.72, 0.70, 0.66)


@dataclass(frozen=True, kw_only=True)
class LinkContact:
    """Where one link of the hand touches the object; world frame."""

    link: str
    """Name without prefix, for example `ffdistal`."""
    finger: str
    """One of `FINGERS`, or `palm`."""
    position: np.ndarray
    """(3,) mean of the contact points, weighted by normal force [m]."""
    normal: np.ndarray
    """(3,) unit vector into the object."""
    force: np.ndarray
    """(3,) on the object [N]."""

    @property
    def normal_force(self) -> float:
        """[N]."""
        return float(self.force @ self.normal)


def _scene(thing: GraspObject) -> mujoco.MjSpec:
    """Return hand, table and object; the object's names begin with `the_`."""
    spec = hand_spec()
    body, assets = object_xml(thing)
    bounds = '<compiler autolimits="true" boundmass="1e-5" boundinertia="1e-8"/>'
    put = mujoco.MjSpec.from_string(f"<mujoco>{bounds}<option {CCD}/><worldbody>{body}</worldbody>{assets}</mujoco>")
    spec.option = put.option
    spec.option.timestep, spec.option.integrator = TIMESTEP, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.memory = ARENA
    spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
    spec.attach(put, frame=spec.worldbody.add_frame(), prefix="the_")
    spec.worldbody.add_body(name="table").add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[2.0, 2.0, 0.1],
        contype=3,
        conaffinity=3,
        condim=6,
        priority=2,
        friction=[TABLE_FRICTION, 0.005, 0.0005],
        solref=[0.005, 1.0],
        solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
    )
    return spec


class HandRig:
    """One compiled scene: a hand that can be put anywhere, an object, a table at z = 0."""

    def __init__(self, thing: GraspObject) -> None:
        """Compile the scene."""
        self.thing = thing
        self.model = _scene(thing).compile()
        self.data = mujoco.MjData(self.model)
        m = self.model
        self._object, self._table = m.body("the_object").id, m.body("table").id
        self._joint_qpos = [int(m.joint(f"robot0:{name}").qposadr[0]) for name in JOINTS]
        self._joint_dof = [int(m.joint(f"robot0:{name}").dofadr[0]) for name in JOINTS]
        self._object_qpos = int(m.joint("the_object").qposadr[0])
        self._object_dof = int(m.joint("the_object").dofadr[0])
        self._hand_geoms = [i for i in range(m.ngeom) if m.geom(i).name.startswith("robot0:")]
        self.links = {i: m.body(m.geom_bodyid[i]).name.removeprefix("robot0:") for i in self._hand_geoms}
        self.gains = m.actuator_gainprm[:, 0].copy()
        self._force = np.zeros(6)
        self._target = np.zeros(len(JOINTS))
        self._times: list[float] = []
        self._rows: list[np.ndarray] = []
        self._sunk = 0.0

    # -- placing ---------------------------------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.data.time)

    def reset(self, world_from_object: np.ndarray, *, table: bool = True) -> None:
        """Put the object at a pose (4, 4) at rest, the hand far away; without a table there is no gravity either."""
        m, d = self.model, self.data
        mujoco.mj_resetData(m, d)
        self._times, self._rows, self._sunk = [], [], 0.0
        m.body_pos[self._table] = [0.0, 0.0, 0.0 if table else -9.0]
        m.opt.gravity[:] = [0.0, 0.0, -GRAVITY if table else 0.0]
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, world_from_object[:3, :3].ravel())
        d.qpos[self._object_qpos : self._object_qpos + 7] = [*world_from_object[:3, 3], *quat]
        self.away()

    def resting_poses(self) -> list[np.ndarray]:
        """Return heights and quaternions (5,) in which the object comes to rest when dropped; a function of the object alone."""
        rng = generator(7, 13)
        turns = [np.array([1.0, 0.0, 0.0, 0.0]), *rng.normal(size=(POSES_KEPT - 1, 4))]
        return [self._drop(turn / np.linalg.norm(turn)) for turn in turns]

    def _drop(self, turn: np.ndarray) -> np.ndarray:
        rotation = quaternion_to_matrix(turn)
        lowest = min(float((part_corners(part) @ rotation[2]).min()) for part in self.thing.parts)
        self.reset(pose(rotation, np.array([0.6, 0.0, 0.001 - lowest])))
        for _ in range(20):
            mujoco.mj_step(self.model, self.data, 50)
            if float(np.abs(self.data.qvel[self._object_dof : self._object_dof + 6]).max()) < 0.01:
                break
        return self.data.qpos[self._object_qpos + 2 : self._object_qpos + 7].copy()

    def place(self, world_from_palm: np.ndarray, joints: np.ndarray) -> None:
        """Put the hand at a pose (4, 4) with joints (22,) [rad], at rest; the object stays as it is."""
        m, d = self.model, self.data
        put_mount(m, world_from_palm)
        d.qpos[self._joint_qpos] = joints
        d.qvel[self._joint_dof] = 0.0
        d.ctrl[:] = joints[list(ACTUATED)]
        self._target = np.array(joints, float)
        mujoco.mj_forward(m, d)

    def away(self) -> None:
        """Put the open hand out of the way."""
        self.place(_AWAY, np.zeros(len(JOINTS)))

    def free_retreat(self, world_from_palm: np.ndarray, joints: np.ndarray) -> float:
        """Return how far the open hand must withdraw from a pose until it touches neither object nor table, nor farther out [m].

        The hand is left there. The longest tried distance is returned if the hand is free nowhere.
        """
        back = world_from_palm[:3, :3] @ RETREAT
        free = float(RETREAT_STEPS[-1])
        for distance in RETREAT_STEPS[::-1]:
            at = world_from_palm.copy()
            at[:3, 3] += distance * back
            self.place(at, joints)
            if self._meets():
                break
            free = float(distance)
        at = world_from_palm.copy()
        at[:3, 3] += free * back
        self.place(at, joints)
        return free

    def _meets(self) -> bool:
        """Tell whether the hand touches the object or the table."""
        return self.clearance() < 0.0 or any(self.links.keys() & set(pair) for pair in self._object_pairs())

    def clearance(self) -> float:
        """Return the height of the hand's lowest point over the table's top at z = 0 [m]."""
        return lowest_point(self.model, self.data, self._hand_geoms)

    def _object_pairs(self) -> list[tuple[int, int]]:
        """Return the geoms of the present contacts in which the object takes part."""
        if not self.data.ncon:
            return []
        pairs = self.data.contact.geom
        mine = self.model.geom_bodyid[pairs] == self._object
        return [(int(a), int(b)) for a, b in pairs[mine.any(axis=1)]]

    # -- moving ----------------------------------------------------------------------------------------------------------------

    def move(self, seconds: float, joints: np.ndarray | None = None) -> None:
        """Move the joints' targets linearly to `joints` (22,) [rad] (None: stay) and log every tick."""
        m, d, motors = self.model, self.data, list(ACTUATED)
        start = self._target
        stop = start if joints is None else np.asarray(joints, float)
        n = max(1, round(seconds / CONTROL_PERIOD))
        for i in range(1, n + 1):
            d.ctrl[:] = (start + (stop - start) * (i / n))[motors]
            mujoco.mj_step(m, d, TICK)
            self._times.append(d.time)
            self._rows.append(np.concatenate([d.qpos[self._joint_qpos], d.actuator_force]))
        self._target = stop
        # MuJoCo resets the state when it meets NaN and goes on; only the counters of its warnings tell.
        if any(d.warning[kind].number for kind in _INVALID):
            raise SimulationError(
                f"the simulation of {self.thing.name} became invalid (NaN or diverging) at {self.time:.2f} s; "
                "this trial is left out and the next one goes on"
            )

    def close(self, joints: np.ndarray) -> None:
        """Close the fingers to their targets (22,) [rad] and let everything settle."""
        self.move(CLOSE_SECONDS, joints)
        self.move(SETTLE_SECONDS)

    def lift(self) -> bool:
        """Lift by 100 mm and hold for a second; return whether the object is still in the hand."""
        m, d = self.model, self.data
        before = float(d.xpos[self._object, 2])
        ticks = round(LIFT_SECONDS / CONTROL_PERIOD)
        push = 4 * LIFT_HEIGHT / LIFT_SECONDS**2
        for i in range(1, ticks + 1):
            # Speeds up in the first half and slows down in the second.
            m.opt.gravity[2] = -GRAVITY - (push if i <= ticks / 2 else -push)
            u = i / ticks
            self._sunk = LIFT_HEIGHT * (2 * u * u if u <= 0.5 else 1.0 - 2 * (1.0 - u) ** 2)
            m.body_pos[self._table, 2] = -self._sunk
            self.move(CONTROL_PERIOD)
        m.opt.gravity[2] = -GRAVITY
        m.body_pos[self._table, 2] = -9.0  # only what is held is of interest from here
        for _ in range(10):
            self.move(HOLD_SECONDS / 10)
            if float(d.xpos[self._object, 2]) < before - LIFT_HEIGHT:
                return False
        return bool(self.contacts()) and float(d.xpos[self._object, 2]) > before - DROPPED

    # -- sensing ---------------------------------------------------------------------------------------------------------------

    def targets(self) -> np.ndarray:
        """Return the joints' present targets (22,) [rad]."""
        return self._target.copy()

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the state, for `restore`."""
        state = np.zeros(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return state, self.targets(), len(self._times)

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray, int]) -> None:
        """Go back to a snapshot; what was logged since is forgotten."""
        state, self._target, logged = snapshot
        mujoco.mj_setState(self.model, self.data, state, _STATE)
        mujoco.mj_forward(self.model, self.data)
        del self._times[logged:], self._rows[logged:]

    def wait(self, seconds: float) -> None:
        """Let time pass on the clock alone, while the arm moves [s]."""
        self.data.time += seconds

    def logged(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return times (T,) [s], joint angles (T, 22) [rad] and torques of the motors (T, 18) [N m]."""
        rows = np.array(self._rows).reshape(-1, len(JOINTS) + len(ACTUATED))
        return np.array(self._times), rows[:, : len(JOINTS)], rows[:, len(JOINTS) :]

    def joints(self) -> np.ndarray:
        """Return the joint angles (22,) [rad]."""
        return self.data.qpos[self._joint_qpos].copy()

    def object_pose(self) -> np.ndarray:
        """Return `world_from_object` (4, 4)."""
        return pose(self.data.xmat[self._object].reshape(3, 3), self.data.xpos[self._object])

    def centre_of_mass(self) -> np.ndarray:
        """Return the object's centre of mass (3,) [m], world."""
        return self.data.xipos[self._object].copy()

    def link_pose(self, link: str) -> np.ndarray:
        """Return `world_from_link` (4, 4) of a link of the hand."""
        body = self.data.body(f"robot0:{link}")
        return pose(body.xmat.reshape(3, 3), body.xpos)

    def link_middle(self, link: str) -> np.ndarray:
        """Return the middle (3,) [m] of a link's shape, world."""
        return self.data.geom(f"robot0:C_{link}").xpos.copy()

    def contacts(self) -> list[LinkContact]:
        """Return where the hand touches the object with more than no force, one contact per link."""
        found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        for i in range(self.data.ncon):
            pair = [int(g) for g in self.data.contact.geom[i]]
            link = self.links.get(pair[0]) or self.links.get(pair[1])
            if link is None or self._object not in self.model.geom_bodyid[pair]:
                continue
            mujoco.mj_contactForce(self.model, self.data, i, self._force)
            if self._force[0] <= 0:
                continue
            contact = self.data.contact[i]
            frame = contact.frame.reshape(3, 3)
            sign = 1.0 if self.model.geom_bodyid[pair[1]] == self._object else -1.0
            found.setdefault(link, []).append(
                (contact.pos.copy(), sign * frame[0] * self._force[0], sign * frame.T @ self._force[:3])
            )
        return [_merged(link, parts) for link, parts in sorted(found.items())]

    def jacobian(self, link: str, point: np.ndarray) -> np.ndarray:
        """Return how a point (3,) [m, world] of a link moves with the 22 joints (3, 22) [m/rad]."""
        out = np.zeros((3, self.model.nv))
        mujoco.mj_jac(self.model, self.data, out, None, np.asarray(point, float), self.model.body(f"robot0:{link}").id)
        return out[:, self._joint_dof]

    def primitives(self) -> list[Primitive]:
        """Return what the camera sees, object first; after a lift everything is as high as the lift has put it."""
        up = np.eye(4)
        up[2, 3] = self._sunk
        out: list[Primitive] = [*seen(self.thing, up @ self.object_pose())]
        for geom in self._hand_geoms:
            world = up @ pose(self.data.geom_xmat[geom].reshape(3, 3), self.data.geom_xpos[geom])
            size, kind = self.model.geom_size[geom].tolist(), self.model.geom_type[geom]
            colour = _TIP if self.links[geom].endswith("distal") else _SKIN
            if kind == mujoco.mjtGeom.mjGEOM_BOX:
                out.append(Box(world_from_body=world, half_sizes=(size[0], size[1], size[2]), colour=colour))
            elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
                out.append(Capsule(world_from_body=world, radius=size[0], half_length=size[1], colour=colour))
            else:
                out.extend(seen(_cylinder(size[0], size[1]), world))
        return out


def _cylinder(radius: float, half: float) -> GraspObject:
    """Return the forearm as the camera draws it."""
    return GraspObject(name="forearm", parts=(frustum(radius, radius, half),), mass=1.0, friction=1.0, colour=_SKIN)


def _merged(link: str, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> LinkContact:
    """Join the contacts of one link, weighted by their normal forces."""
    points, presses, forces = (np.array(column) for column in zip(*parts, strict=True))
    weights = np.linalg.norm(presses, axis=1)
    total = presses.sum(axis=0)
    size = float(np.linalg.norm(total))
    return LinkContact(
        link=link,
        finger=link[:2] if link[:2] in FINGERS and link != "lfmetacarpal" else "palm",
        position=weights @ points / weights.sum(),
        normal=total / size if size > 1e-12 else presses[0] / weights[0],
        force=forces.sum(axis=0),
    )
