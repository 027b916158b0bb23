import numpy as np
import pytest

from palpate.core.errors import SimulationError, UnknownNameError
from palpate.core.protocols import Embodiment
from palpate.core.records import GraspAction
from palpate.core.units import DEG
from palpate.perception.localise import locate_object
from palpate.worlds.gentle import GentleConfig, GentleWorld
from palpate.worlds.gentle_physics import CONTROL_PERIOD, Rig
from palpate.worlds.hand import ACTIVE, INITIAL_POSE, MEAN_POSE, OPEN_POSE, action_space, full_pose, pads
from palpate.worlds.toys import PAD_AREA, ToyFamily


@pytest.fixture(scope="module")
def world() -> GentleWorld:
    return GentleWorld(locate_object)


def closing(gap: float) -> np.ndarray:
    """Joint targets near the middle pose that bring the pads this far apart."""
    low, high = -0.3, 0.3
    for _ in range(40):
        mid = (low + high) / 2
        joints = full_pose(MEAN_POSE + mid * np.array([1, 0, -1, 1, -1]))
        low, high = (mid, high) if np.diff(pads(joints)[:, 0])[0] > gap else (low, mid)
    return joints


def test_the_world_is_an_embodiment(world):
    assert isinstance(world, Embodiment)


def test_forward_kinematics_agree_with_the_simulated_hand():
    rig = Rig(ToyFamily().toy(0, 0), lying=False)
    rng = np.random.default_rng(0)
    for joints in (OPEN_POSE, INITIAL_POSE, action_space().sample(rng, 1)[0, 4:]):
        rig.reset(np.array([0.5, 0.0]), 0.0, np.array([0.2, 0.0, 0.5, -np.pi / 2]), np.asarray(joints, float))
        for finger, (x, z, _) in enumerate(pads(np.asarray(joints, float))):
            centre = rig.data.geom_xpos[rig._pads[finger]]
            inward = -rig.data.geom_xmat[rig._pads[finger]].reshape(3, 3)[:, 0]
            face = centre + 0.002 * inward - [0.2, 0.0, 0.5]
            np.testing.assert_allclose(face[[0, 2]], [x, z], atol=1e-6)


def test_the_action_range_goes_from_never_touching_to_always_squeezing():
    space = action_space()
    low = pads(space.vectors(-np.ones((1, 9)))[0, 4:])
    high = pads(space.vectors(np.ones((1, 9)))[0, 4:])
    assert np.diff(low[:, 0])[0] > 2 * 0.036 and np.diff(high[:, 0])[0] < 2 * 0.022
    assert space.active == ACTIVE and len(space.joints) == 16


def test_half_shells_carry_the_force_that_their_springs_say():
    toy = ToyFamily(spread=0.0, young_pa=(5e4, 5.0001e4)).toy(0, 0)
    rig = Rig(toy, lying=False)
    stage = np.array([0.55, 0.0, 0.022 + 0.1075, 0.0])
    rig.reset(np.array([0.55, 0.0]), np.pi / 2, stage + [0, 0, 0.08, 0], OPEN_POSE)
    rig.move(0.5, stage)
    rig.move(0.6, joints=closing(0.045))
    rig.move(0.4)
    rig.move(0.8, stage + [0, 0, 0.1, 0])
    rig.move(1.0)
    force = rig.pad_forces()
    spring = rig.logged(-1)["stress"][0] * PAD_AREA
    assert rig.toy_pose()[2, 3] > 0.1, "the toy should hang in the hand"
    np.testing.assert_allclose(force, spring, rtol=0.15)  # pads tilt a little and carry the weight


def test_pressing_on_with_the_same_action_gives_the_same_trial(world):
    def run():
        world.begin(5, 2)
        world.regrasp(GraspAction(motion=np.array([0.002, 0.0, 0.001, 5 * DEG]), joints=closing(0.05)))
        world.lift()
        return world.finish()

    first, second = run(), run()
    assert first.truth == second.truth
    for name, stream in first.streams.items():
        np.testing.assert_array_equal(stream.values, second.streams[name].values, err_msg=name)


def test_an_episode_has_streams_of_every_rate_and_events_in_order(world):
    world.begin(1, 0)
    world.regrasp(GraspAction(motion=np.zeros(4), joints=closing(0.05)))
    world.lift()
    episode = world.finish()
    streams = episode.streams
    assert streams["sound"].values.shape == (1, 132_300) and streams["sound"].spec.rate_hz == 44_100
    assert streams["camera.rgb"].values.shape == (4, 480, 640, 3) and streams["camera.depth"].values.shape[1:] == (480, 640)
    assert streams["touch.thumb"].values.shape == (4, 320, 240, 3)
    np.testing.assert_allclose(np.diff(streams["hand.joint_position"].times), CONTROL_PERIOD, atol=1e-9)
    times = [event.time for event in episode.events]
    assert times == sorted(times)
    np.testing.assert_allclose(episode.event("hold_end") - episode.event("hold"), 4.0, atol=1e-6)
    assert not episode.labels, "labels are made from the streams, not by the world"


def test_a_wide_open_hand_fails_silently_and_a_hard_squeeze_squeaks(world):
    outcomes = {}
    for name, free in (("open", -1.0), ("hard", 1.0)):
        results = []
        for index in range(4):
            world.begin(2, index)
            action = world.action_space.vectors(np.array([[0, 0, 0, 0, *([free] * 5)]]))[0]
            world.regrasp(GraspAction.from_vector(action))
            results.append(world.lift())
        outcomes[name] = results
    assert all(not o.stable and o.gentle for o in outcomes["open"])
    assert not any(o.gentle for o in outcomes["hard"])


def test_touch_images_change_with_contact_and_not_without(world):
    touching = world.begin(3, 0)
    for finger, frame in touching.touch.items():
        rest = touching.touch_rest[finger].image
        assert np.abs(frame.image.astype(int) - rest).max() > 25, finger
    world.regrasp(GraspAction(motion=np.zeros(4), joints=closing(0.05)))
    episode = world.finish()
    for finger in ("thumb", "middle"):
        stream = episode.streams[f"touch.{finger}"]
        change = np.abs(stream.at(episode.event("look_release")).astype(int) - stream.values[0])
        assert change.max() < 15, "after the release only noise differs"


def test_the_object_is_found_from_depth_within_a_centimetre(world):
    errors = []
    for index in range(6):
        observation = world.begin(9, index)
        errors.append(observation.object_position[:2] - world._toy_xy)
    assert np.abs(errors).max() < 0.012 and np.abs(np.mean(errors, axis=0)).max() < 0.005


def test_toys_vary_independently_and_are_the_same_for_ever():
    family = ToyFamily()
    toys = [family.toy(0, i) for i in range(300)]
    values = np.array([[t.half_axes[0], np.log(t.young), t.mass, t.friction, t.squeaker.onset_pa, sum(t.colour)] for t in toys])
    correlation = np.corrcoef(values.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.2
    assert family.toy(0, 5) == family.toy(0, 5) != family.toy(1, 5)


def test_an_unknown_pose_lists_the_allowed_ones():
    with pytest.raises(UnknownNameError, match="allowed: both, lying, upright"):
        GentleWorld(locate_object, GentleConfig(pose="sitting"))


def test_nan_in_the_simulation_ends_in_an_error_that_says_so():
    rig = Rig(ToyFamily().toy(0, 0), lying=False)
    rig.reset(np.array([0.5, 0.0]), 0.0, np.array([0.2, 0.0, 0.5, 0.0]), OPEN_POSE)
    rig.data.qvel[:] = np.nan
    with pytest.raises(SimulationError, match="became invalid"):
        rig.move(0.05)


def test_a_used_scene_is_as_good_as_a_new_one():
    def trial(world, index):
        world.begin(4, index)
        world.regrasp(GraspAction(motion=np.array([0.001, 0.002, 0.0, 0.05]), joints=closing(0.048)))
        world.lift()
        return world.finish()

    config = GentleConfig(n_toys=1)
    used = GentleWorld(locate_object, config)
    for index in (0, 2, 4):
        trial(used, index)
    fresh = trial(GentleWorld(locate_object, config), 6)
    again = trial(used, 6)
    assert fresh.truth == again.truth
    np.testing.assert_array_equal(fresh.streams["hand.joint_position"].values, again.streams["hand.joint_position"].values)
