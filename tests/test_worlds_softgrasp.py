"""The SoftGrasp world: hand, objects, limits, and what its sensors say of what happens."""

import mujoco
import numpy as np
import pytest

from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.protocols import Steered
from palpate.core.records import Command
from palpate.worlds import humanoid_hand
from palpate.worlds.humanoid_hand import JOINTS, chains, radians, shares
from palpate.worlds.softgrasp import SoftgraspConfig, SoftgraspWorld, camera_config
from palpate.worlds.softgrasp_objects import OBJECTS, RIGID, softgrasp_object, young_of_shore_a
from palpate.worlds.softgrasp_physics import Rig, panels, seen_touch

SMALL = camera_config(12, 16)


def squeeze(rig, share, periods=90):
    """Swing the thumb under the palm and close all fingers evenly to this share."""
    for i in range(periods):
        part = min(1.0, i / (0.8 * periods))
        bend = 1.0 - (1.0 - share) * part
        rig.step(radians(np.array([bend] * 5 + [max(0.0, 1.0 - 4 * part)])), 0.0)


def test_shares_and_radians_are_each_others_inverse():
    values = np.random.default_rng(0).uniform(0, 1, (7, 6))
    np.testing.assert_allclose(shares(radians(values)), values, atol=1e-12)
    np.testing.assert_array_equal(radians(np.ones(6)), humanoid_hand.OPEN)


def test_table_2_gives_the_printed_classes_and_only_hard_walls_are_rigid():
    assert [thing.id for thing in OBJECTS] == list(range(1, 13))
    assert [thing.id for thing in OBJECTS if thing.hardness == "deformable"] == [3, 4, 5, 9]
    assert [thing.id for thing in OBJECTS if thing.hardness == "rigid"] == [6, 11]
    assert [thing.id for thing in OBJECTS if thing.stiffness is None] == [6, 11, 12]
    assert all(0 < thing.stiffness < RIGID for thing in OBJECTS if thing.stiffness is not None)
    assert [thing.id for thing in OBJECTS if thing.mode == "side"] == [6, 10, 11, 12]
    with pytest.raises(UnknownNameError, match="allowed"):
        softgrasp_object(13)


def test_walls_and_stiffness_follow_from_shell_theory():
    cup = softgrasp_object(1)
    # 15 g of polyethylene of 940 kg/m^3 over a cylinder with a bottom, 81 mm wide and 67 mm high
    wall = 0.015 / 940 / (np.pi * 0.081 * 0.067 + np.pi * 0.0405**2)
    np.testing.assert_allclose(cup.wall, wall, rtol=1e-9)
    np.testing.assert_allclose(cup.stiffness, 2 * 0.648e9 * 0.067 * wall**3 / 12 / (0.149 * 0.0405**3), rtol=1e-9)
    assert young_of_shore_a(60) == pytest.approx(3.6e6, rel=0.1)  # about 3.6 MPa in Gent's table


def test_an_objects_mass_and_width_are_those_of_the_table():
    for number in (1, 4, 8):
        thing = softgrasp_object(number)
        model = Rig(thing).model
        np.testing.assert_allclose(model.body_subtreemass[model.body("object").id], thing.mass, rtol=1e-3)
        faces = np.array([face for face, _, _ in panels(thing)])
        assert np.ptp(faces[:, 0]) == pytest.approx(thing.size[1], rel=0.05)


def test_forward_kinematics_agrees_with_the_physics():
    rig = Rig(softgrasp_object(6))
    rig.reset(np.array([0.0, 0.5]), 0.0, 0.0)  # far away from the hand
    asked = radians(np.array([0.8, 0.6, 0.7, 0.5, 0.6, 0.4]))
    for _ in range(60):
        rig.step(asked, 0.0)
    data, model = rig.data, rig.model
    hand = model.body("hand").id
    turn, origin = data.xmat[hand].reshape(3, 3), data.xpos[hand]
    expected = chains(rig.joints())
    for i, name in enumerate(humanoid_hand.FINGERS):
        geom = model.geom(f"{name}_1").id
        axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom][1]
        ends = (np.stack([data.geom_xpos[geom] - axis, data.geom_xpos[geom] + axis]) - origin) @ turn
        order = np.argsort(np.linalg.norm(ends - expected[i, 1], axis=1))
        np.testing.assert_allclose(ends[order], expected[i, 1:], atol=1e-3)


def test_a_softer_thing_sinks_in_further_and_pushes_back_less():
    pushed = {}
    for number in (4, 2, 6):
        thing = softgrasp_object(number)
        rig = Rig(thing)
        rig.reset(np.zeros(2), 0.0, 0.0)
        touch = seen_touch(thing)
        squeeze(rig, float(touch[:5].mean()) - 0.10)
        pushed[number] = (rig.deformation(), rig.finger_forces()[4])
    assert pushed[4][0] > 1.4 * pushed[2][0] > 0.001
    assert pushed[6][0] == 0.0
    assert pushed[6][1] > pushed[2][1] > pushed[4][1] > 0.05


def test_a_panels_spring_carries_what_the_fingertips_press():
    thing = softgrasp_object(1)
    rig = Rig(thing)
    rig.reset(np.zeros(2), 0.0, 0.0)
    squeeze(rig, float(seen_touch(thing)[4]) - 0.12, 150)
    travel = np.array([rig.data.joint(f"panel{i}").qpos[0] for i in range(len(panels(thing)))])
    normals = np.array([axes[:, 0] for _, axes, _ in panels(thing)])
    # Panels on the thumb's side carry the thumb's force, the others the fingers'; each about half of all that presses.
    springs = thing.stiffness * np.maximum(travel, 0.0)
    np.testing.assert_allclose(springs[normals[:, 0] < 0].sum(), rig.finger_forces()[4], rtol=0.25)


def test_torque_tells_the_force_at_the_fingertip():
    rig = Rig(softgrasp_object(6))
    rig.reset(np.zeros(2), 0.0, 0.0)
    squeeze(rig, 0.38, 150)
    torque, force = rig.torques(), rig.finger_forces()
    assert force[4] > 1.0
    lever = torque[4] / force[4]
    assert 0.03 < lever < 0.10  # m, between middle joint and tip of the thumb


@pytest.fixture(scope="module")
def world():
    return SoftgraspWorld(SoftgraspConfig(objects=(1,), camera=SMALL, time_limit=3.0))


def test_the_world_is_steered_and_tells_what_it_sees(world):
    assert isinstance(world.rate_hz, float)
    hand: Steered = world
    first = hand.begin(3, 0)
    assert first.camera is not None and first.camera.rgb.shape == (12, 16, 3)
    np.testing.assert_allclose(first.joint_position, 1.0, atol=0.01)
    while not hand.done:
        hand.step(Command(joints=np.ones(6), predicted={"attention": np.ones(3) / 3}))
    episode = hand.finish()
    assert episode.streams["hand.command"].spec.names == JOINTS
    assert episode.streams["predicted.attention"].values.shape == (90, 3)
    assert len(episode.streams["camera.rgb"].times) == 91
    assert episode.event("done") == pytest.approx(3.0, abs=0.05)
    assert episode.truth["success"] == 0.0 and episode.truth["crushed"] == 0.0
    with pytest.raises(RecordError, match="over"):
        hand.step(Command(joints=np.ones(6)))


def test_commands_that_are_no_numbers_are_refused(world):
    world.begin(0, 0)
    with pytest.raises(RecordError, match="six finite"):
        world.step(Command(joints=np.full(6, np.nan)))
    with pytest.raises(RecordError, match="six finite"):
        world.step(Command(joints=np.ones(5)))
    with pytest.raises(RecordError, match="positive"):
        SoftgraspConfig(force_limit=0.0)


def test_no_command_moves_a_joint_faster_than_the_limit(world):
    world.begin(0, 0)
    places = np.array([world.step(Command(joints=np.zeros(6))).joint_position for _ in range(12)])
    way = places[0] - places[-1]
    assert way.max() <= 1.05 * 11 / world.rate_hz * world.config.speed_limit
    assert way[:4].min() > 0.25  # and it does move


def test_no_command_presses_harder_than_the_limit_allows():
    peaks = {}
    for limit in (2.0, 50.0):
        world = SoftgraspWorld(SoftgraspConfig(objects=(6,), camera=SMALL, force_limit=limit, time_limit=3.0))
        world.begin(0, 0)
        while not world.done:
            world.step(Command(joints=np.zeros(6)))
        peaks[limit] = world.finish().streams["hand.fingertip_force"].values[-20:].max()
    assert peaks[2.0] < 6.0 < peaks[50.0]


def test_an_object_that_nobody_holds_is_not_lifted(world):
    world.begin(0, 0)
    while not world.done:
        world.step(Command(joints=np.ones(6), lift=True))
    episode = world.finish()
    assert episode.truth["success"] == 0.0
    assert episode.event("done") - episode.event("lift") < 1.5
    assert episode.streams["arm.height"].values.max() > 0.05


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(world):
    def begin(seed):
        return world.begin(seed, 0).camera.rgb

    np.testing.assert_array_equal(begin(4), begin(4))
    assert (begin(4) != begin(5)).any()


def test_a_used_scene_repeats_bit_by_bit():
    rig = Rig(softgrasp_object(5))
    ends = []
    for _ in range(2):
        rig.reset(np.array([0.002, -0.001]), 0.1, 0.001)
        squeeze(rig, 0.5, 40)
        ends.append((rig.data.qpos.copy(), rig.torques(), rig.finger_forces()))
    assert ends[0][2].max() > 0.1
    for first, second in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_squeezed_thing_looks_squeezed():
    thing = softgrasp_object(4)
    rig = Rig(thing)
    rig.reset(np.zeros(2), 0.0, 0.0)
    world = SoftgraspWorld(SoftgraspConfig(objects=(4,), camera=camera_config(60, 80)))

    def colour_columns():
        rgb, _ = world._camera.render(rig.primitives())
        reddish = rgb[..., 0].astype(int) - rgb[..., 1] > 40
        return int(reddish.any(0).sum())

    before = colour_columns()
    squeeze(rig, float(seen_touch(thing)[:5].mean()) - 0.25, 60)
    assert rig.deformation() > 0.005
    assert colour_columns() < before


def test_the_scene_compiles_for_all_objects():
    for thing in OBJECTS:
        rig = Rig(thing)
        rig.reset(np.zeros(2), 0.0, 0.0)
        for _ in range(10):
            rig.step(humanoid_hand.OPEN, 0.0)
        assert abs(rig.object_height()) < 0.002, thing.name
        assert isinstance(rig.model, mujoco.MjModel)
