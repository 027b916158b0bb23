import numpy as np
import pytest

from palpate.core.errors import SimulationError
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.contact import cell_centres
from palpate.worlds.gripper import PadSize, sink_stiffness
from palpate.worlds.household import GraspObject, box, ellipsoid, frustum
from palpate.worlds.household_touch import Load, felt, pictured
from palpate.worlds.regrasp_physics import GAP_SHAPE, Rig

PAD = PadSize(height=0.01416, width=0.01888)
HOME = np.array([0.55, 0.0])


def cube(mass: float = 0.1, friction: float = 0.4, young: float | None = None) -> GraspObject:
    return GraspObject(name="cube", parts=(box(0.020, 0.020, 0.025),), mass=mass, friction=friction, young=young)


def gripped(thing: GraspObject, force: float, beside: float = 0.0, above: float = 0.0, turn: float = 0.0) -> Rig:
    """Close with `force` [N], `beside` [m] across the closing direction and `above` [m] the object's centre."""
    rig = Rig(thing, PAD)
    resting = rig.resting_poses()[0]
    rig.reset(resting, HOME, turn, np.array([HOME[0] + beside, HOME[1], max(PAD.lowest, resting[0] + above), 0.0]))
    rig.close(force)
    rig.move(0.1)
    return rig


def raised(rig: Rig) -> float:
    """Lift by 150 mm, hold, and return by how much the object was raised [m]."""
    before = rig.object_pose()[2, 3]
    rig.move(0.5, rig.stage() + [0, 0, 0.15, 0])
    rig.hold(4.0, floor=before + 0.05)
    return float(rig.object_pose()[2, 3] - before)


def test_both_pads_carry_the_commanded_force_without_trembling():
    rig = gripped(cube(), 12.0)
    forces = []
    for _ in range(10):
        rig.move(0.01)
        forces.append([load.force[2] for load in rig.loads()])
    np.testing.assert_allclose(forces, 12.0, rtol=0.01)


def test_held_in_the_air_the_pads_carry_the_weight_downwards_along_the_gel():
    rig = gripped(cube(mass=0.2), 15.0)
    assert raised(rig) > 0.14
    total = np.sum([load.force for load in rig.loads()], axis=0)
    np.testing.assert_allclose(total[1], 0.2 * 9.81, rtol=0.02)  # the gel's y points down
    np.testing.assert_allclose(total[2], 30.0, rtol=0.02)


def test_a_heavy_slippery_thing_slips_from_a_weak_grasp_and_stays_in_a_strong_one():
    assert raised(gripped(cube(mass=0.38, friction=0.2), 5.0)) < 0.02
    assert raised(gripped(cube(mass=0.38, friction=0.2), 20.0)) > 0.13


def test_half_a_contact_holds_with_moderate_force_and_ejects_with_much():
    outcomes = [raised(gripped(cube(friction=0.2), force, beside=0.026)) > 0.05 for force in (8.0, 25.0)]
    assert outcomes == [True, False]


def test_a_press_on_the_pads_edge_opens_the_pads_towards_that_edge():
    tilts = []
    for force in (8.0, 16.0):
        rig = gripped(cube(friction=0.4), force, beside=0.024)
        tilts.append([float(rig.data.joint(f"{name}_twist").qpos[0]) for name in ("left", "right")])
    assert np.all(np.abs(tilts) > 0.02) and tilts[0][0] * tilts[0][1] < 0
    np.testing.assert_allclose(np.divide(tilts[1], tilts[0]), 2.0, rtol=0.35)


@pytest.mark.parametrize("young", [None, 1e6, 2e5])
def test_a_soft_thing_gives_way_by_force_over_stiffness(young):
    thing = cube(young=young)
    rig = gripped(thing, 12.0)
    sunk = (0.040 - rig.width()) / 2
    np.testing.assert_allclose(sunk, 12.0 / sink_stiffness(thing.yielding(PAD.area)), rtol=0.1)


def test_soft_balls_press_a_larger_and_flatter_patch_into_the_gel():
    areas, depths = [], []
    model = pictured(get_sensor("gelsight-2017"), 320)
    for young in (None, 5e5, 1e5):
        thing = GraspObject(name="ball", parts=(ellipsoid(0.02, 0.02, 0.02),), mass=0.05, friction=0.5, young=young)
        rig = gripped(thing, 8.0)
        contact = felt(model, rig.gap(0), rig.loads()[0], young)
        np.testing.assert_allclose(contact.force[2], 8.0, rtol=0.02)
        areas.append(float(contact.contact_area))
        depths.append(float(contact.sunk.max()))
    assert areas[0] < areas[1] < areas[2] and depths[0] > depths[1] > depths[2]


def test_the_gap_over_a_pad_is_that_of_a_ball():
    thing = GraspObject(name="ball", parts=(ellipsoid(0.03, 0.03, 0.03),), mass=0.05, friction=0.5)
    rig = Rig(thing, PAD)
    resting = rig.resting_poses()[0]
    rig.reset(resting, HOME, 0.0, np.array([*(HOME + [0.004, 0.0]), resting[0] + 0.003, 0.0]))
    rows, cols = GAP_SHAPE
    y = ((np.arange(rows) + 0.5) / rows * 2 - 1) * PAD.height / 2
    x = ((np.arange(cols) + 0.5) / cols * 2 - 1) * PAD.width / 2
    for finger, side in ((0, 1), (1, -1)):  # the gels are mirrored: the ball lies to the other side
        lateral = x[None, :] - side * rig.gel_axes(0)[0][0] * -0.004
        squared = lateral**2 + (y[:, None] - 0.003) ** 2
        expected = rig.width() / 2 - np.sqrt(0.03**2 - squared)
        np.testing.assert_allclose(rig.gap(finger), expected, atol=2e-5)


def test_the_gels_frames_are_right_handed_and_face_each_other():
    rig = Rig(cube(), PAD)
    rig.reset(rig.resting_poses()[0], HOME, 0.0, np.array([0.55, 0.0, 0.1, 0.3]))
    left, right = rig.gel_axes(0), rig.gel_axes(1)
    for axes in (left, right):
        np.testing.assert_allclose(np.cross(axes[0], axes[1]), axes[2], atol=1e-9)
        np.testing.assert_allclose(axes[1], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(left[2], -right[2], atol=1e-9)


@pytest.mark.parametrize("half", [0.02, 0.004, 0.002])
def test_the_gel_is_dragged_along_with_the_force_that_the_object_pulls_with(half):
    model = pictured(get_sensor("gelsight-2017"), 320)
    y, x = cell_centres(GAP_SHAPE, (PAD.height / GAP_SHAPE[0], PAD.width / GAP_SHAPE[1]))
    punch = np.where(np.maximum(np.abs(x), np.abs(y)) < half, 0.0, 0.02).astype(np.float32)
    force = 400.0 * min(2 * half, PAD.height)  # less on a smaller punch, which else sinks too deep
    contact = felt(model, punch, Load(force=np.array([0.05 * force, 0.1 * force, force]), torque=0.0), None)
    np.testing.assert_allclose(contact.force, [0.05 * force, 0.1 * force, force], rtol=0.2)
    assert contact.drift[..., 1][contact.pressure > 0].mean() > 1e-5, "down is along the gel's y"


@pytest.mark.parametrize("half", [0.02, 0.004])
def test_the_gel_is_turned_with_the_torque_of_the_object(half):
    model = pictured(get_sensor("gelsight-2017"), 320)
    y, x = cell_centres(GAP_SHAPE, (PAD.height / GAP_SHAPE[0], PAD.width / GAP_SHAPE[1]))
    punch = np.where(np.maximum(np.abs(x), np.abs(y)) < half, 0.0, 0.02).astype(np.float32)
    torque = 0.15 * 5.0 * min(half, PAD.height / 2)
    contact = felt(model, punch, Load(force=np.array([0.0, 0.0, 5.0]), torque=torque), None)
    np.testing.assert_allclose(contact.torque[2], torque, rtol=0.4)


def test_a_thing_beside_the_gel_is_not_felt():
    model = pictured(get_sensor("gelsight-2017"), 320)
    assert felt(model, np.full(GAP_SHAPE, 0.05, np.float32), Load(force=np.array([0.0, 0.0, 2.0]), torque=0.0), None) is None


def test_a_thing_at_the_very_edge_rests_on_the_base_of_the_gel():
    model = pictured(get_sensor("gelsight-2017"), 320)
    gap = np.full(GAP_SHAPE, 0.02, np.float32)
    gap[-1] = 0.0
    contact = felt(model, gap, Load(force=np.array([0.0, 0.0, 25.0]), torque=0.0), None)
    assert 0 < contact.force[2] < 25.0 and contact.sunk.max() < model.pad.thickness


def test_nothing_is_felt_of_an_open_gripper_and_fingers_meet_without_a_thing():
    rig = Rig(cube(), PAD)
    rig.reset(rig.resting_poses()[0], HOME, 0.0, np.array([0.55, 0.2, 0.05, 0.0]))
    np.testing.assert_allclose(rig.width(), 0.110, atol=1e-6)
    rig.close(10.0)
    assert abs(rig.width()) < 0.004
    assert all(load.force[2] == 0 for load in rig.loads()), "a finger is no object"
    rig.open()
    np.testing.assert_allclose(rig.width(), 0.110, atol=0.001)


def test_resting_poses_rest():
    can = GraspObject(name="can", parts=(frustum(0.02, 0.02, 0.03),), mass=0.05, friction=0.3)
    for thing in (cube(), can):
        rig = Rig(thing, PAD)
        for resting in rig.resting_poses():
            rig.reset(resting, HOME, 0.4, np.array([0.2, 0.0, 0.45, 0.0]))
            before = rig.object_pose()
            rig.move(0.5)
            assert np.abs(rig.object_pose() - before)[:3, 3].max() < 2e-3, thing.name


def test_an_invalid_state_ends_in_an_error_that_says_so():
    rig = Rig(cube(), PAD)
    rig.reset(rig.resting_poses()[0], HOME, 0.0, np.array([0.2, 0.0, 0.45, 0.0]))
    rig.data.qvel[:] = np.nan
    with pytest.raises(SimulationError, match="became invalid"):
        rig.move(0.05)
