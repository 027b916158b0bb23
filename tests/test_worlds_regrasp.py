import numpy as np
import pytest

from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.protocols import Embodiment
from palpate.core.records import GraspAction
from palpate.core.units import DEG
from palpate.perception.cylinder import fit_cylinder
from palpate.worlds.gripper import FINGERS
from palpate.worlds.regrasp import RegraspConfig, RegraspWorld


@pytest.fixture(scope="module")
def world() -> RegraspWorld:
    return RegraspWorld(fit_cylinder)


def action(force: float, *motion: float) -> GraspAction:
    return GraspAction(motion=np.array(motion or (0.0, 0.0, 0.0, 0.0)), joints=np.array([force]))


def trial(world: RegraspWorld, seed: int, index: int, force: float = 12.0):
    world.begin(seed, index)
    world.regrasp(action(force, 0.004, -0.003, 0.002, 5 * DEG))
    world.lift()
    return world.finish()


def test_the_world_is_an_embodiment_with_five_numbers_to_choose(world):
    assert isinstance(world, Embodiment)
    actions = world.action_space.sample(np.random.default_rng(0), 2000)
    assert actions.shape == (2000, 5)
    np.testing.assert_allclose(np.abs(actions[:, :3]).max(0), 0.02, rtol=0.02)
    np.testing.assert_allclose([actions[:, 4].min(), actions[:, 4].max()], [4.0, 25.0], rtol=0.02)


def test_a_trial_depends_on_seed_and_index_only(world):
    for index in (4, 75):
        trial(world, 3, index)
    again, fresh = trial(world, 3, 76), trial(RegraspWorld(fit_cylinder), 3, 76)
    assert again.truth == fresh.truth and again.groups == fresh.groups
    for name, stream in again.streams.items():
        np.testing.assert_array_equal(stream.values, fresh.streams[name].values, err_msg=name)
    assert trial(world, 4, 76).truth != again.truth


def test_an_episode_holds_what_the_sensors_gave_at_every_look(world):
    episode = trial(world, 0, 0)
    looks = [event.name for event in episode.events if event.name.startswith("look_")]
    assert looks == ["look_initial", "look_release", "look_regrasp", "look_held"]
    times = [event.time for event in episode.events]
    assert times == sorted(times)
    np.testing.assert_allclose(episode.event("hold_end") - episode.event("hold"), 4.0, atol=1e-6)
    assert episode.streams["camera.rgb"].values.shape == (5, 480, 640, 3)
    assert episode.streams["camera.depth"].values.shape == (2, 480, 640)
    for finger in FINGERS:
        assert episode.streams[f"touch.{finger}"].values.shape == (5, 240, 320, 3)
    for name, size in (("gripper.width", 1), ("gripper.force", 1), ("hand.pose", 4)):
        stream = episode.streams[name]
        assert stream.values.shape[1] == size
        np.testing.assert_allclose(np.diff(stream.times), 0.01, atol=1e-9)
    sizes = {name: len(values) for name, values in episode.arrays.items()}
    assert sizes == {
        **{"action": 5, "force": 1, "hand_pose": 4, "start_pose": 4},
        **{"object_position": 3, "object_pixel": 2, "cylinder": 2},
    }
    assert not episode.labels, "labels are made from the streams, not by the world"


def test_the_action_moves_the_end_effector_in_the_grippers_frame(world):
    world.begin(2, 0)
    world.regrasp(action(8.0, 0.010, -0.005, 0.0, 10 * DEG))
    episode = world.finish()
    start, end = episode.arrays["start_pose"], episode.arrays["hand_pose"]
    along = np.array([-np.sin(start[3]), np.cos(start[3])])  # at yaw 0 the gripper closes along world y
    across = np.array([-along[1], along[0]])
    np.testing.assert_allclose((end - start)[:2], 0.010 * along - 0.005 * across, atol=1e-12)
    np.testing.assert_allclose(end[3] - start[3], 10 * DEG, atol=1e-12)
    measured = episode.streams["hand.pose"].at(episode.event("look_regrasp"))
    np.testing.assert_allclose(measured, end, atol=2e-3)


def test_the_commanded_force_is_known_while_the_gripper_is_closed(world):
    seen = world.begin(0, 0)
    assert 4.0 <= seen.grip_force <= 25.0
    assert world.regrasp(action(9.0)).grip_force == 9.0
    world.lift()
    episode = world.finish()
    measured = episode.streams["gripper.force"].at(episode.event("look_regrasp"))[0]
    np.testing.assert_allclose(measured, 9.0, rtol=0.2)
    assert episode.arrays["force"][0] == seen.grip_force


def test_without_a_first_grasp_nothing_is_touched_yet():
    world = RegraspWorld(fit_cylinder, RegraspConfig(close_first=False))
    seen = world.begin(0, 0)
    assert seen.grip_force is None and seen.hand_pose is not None
    for finger in FINGERS:
        change = np.abs(seen.touch[finger].image.astype(int) - seen.touch_rest[finger].image)
        assert change.mean() < 2.0, "only noise differs from rest"
    world.regrasp(action(10.0))
    world.lift()
    episode = world.finish()
    assert "force" not in episode.arrays
    assert "look_release" not in [event.name for event in episode.events]


def test_touch_after_the_hold_tells_held_from_lost(world):
    changes = {True: [], False: []}
    for index in range(9):
        world.begin(1, index)
        world.regrasp(action(12.0, 0.0, 0.02 * (index % 3), 0.0, 0.0))
        stable = world.lift().stable
        episode = world.finish()
        held = [
            np.abs(stream.at(episode.event("look_held")).astype(int) - stream.values[0]).mean()
            for stream in (episode.streams[f"touch.{finger}"] for finger in FINGERS)
        ]
        changes[bool(stable)].append(max(held))
    assert len(changes[True]) >= 2 and len(changes[False]) >= 2
    assert min(changes[True]) > 1.5 * max(changes[False])


def test_gels_are_replaced_one_after_the_other_and_wear_in_between():
    world = RegraspWorld(fit_cylinder, RegraspConfig(gel_life=20))
    names = [[world._gel(5, index, finger) for finger in range(2)] for index in range(45)]
    left = [pads[0].gel for pads in names]
    right = [pads[1].gel for pads in names]
    assert [i for i in range(1, 45) if left[i] != left[i - 1]] == [20, 40]
    assert [i for i in range(1, 45) if right[i] != right[i - 1]] == [10, 30]
    assert [pads[0].presses for pads in names[:20:10]] == [0, 30]
    fresh, other = (world._gel(5, index, 0).rest().image.astype(int) for index in (0, 20))
    assert np.abs(fresh - other).max() > 20, "another gel has other markers and another tint"
    assert world._gel(6, 0, 0).gel not in left, "another collection has gels of its own"


def test_the_object_is_enclosed_by_the_cylinder(world):
    errors = []
    for index in range(8):
        world.begin(9, index)
        errors.append(world._cylinder.position[:2] - world._object_xy)
        top = world._rig.object_pose()[2, 3]
        assert world._cylinder.height > 0.6 * top
    assert np.abs(errors).max() < 0.025 and np.abs(np.median(errors, axis=0)).max() < 0.008


def test_unknown_sets_and_impossible_figures_are_refused(world):
    with pytest.raises(UnknownNameError, match="allowed: easy, hard, training"):
        RegraspWorld(fit_cylinder, RegraspConfig(objects="medium"))
    with pytest.raises(RecordError, match="gel_life"):
        RegraspWorld(fit_cylinder, RegraspConfig(gel_life=0))
    with pytest.raises(RecordError, match="no picture"):
        RegraspWorld(fit_cylinder, RegraspConfig(touch="tac3d"))
    world.begin(0, 0)
    with pytest.raises(RecordError, match="in newtons"):
        world.regrasp(action(2000.0))
