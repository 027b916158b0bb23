"""The dexterous world: trials, streams, labels, imperfections."""

import numpy as np
import pytest

from palpate.core.errors import PalpateError, RecordError
from palpate.core.protocols import Embodiment, Releasing
from palpate.core.records import GraspAction
from palpate.core.rollout import rollout
from palpate.core.transforms import pose, pose_from_vector, vector_from_pose
from palpate.perception.cylinder import fit_cylinder
from palpate.planning.estimates import DrawnPolicy, towards
from palpate.quality.friction import grasp_quality
from palpate.worlds.dexterous import DexterousConfig, DexterousWorld, home
from palpate.worlds.dexterous_objects import mesh_object
from palpate.worlds.dexterous_prior import MEANS, GraspPrior
from palpate.worlds.dexterous_touch import contacts_from_array, succeeds
from palpate.worlds.shadow import ACTUATED, FINGERS, JOINTS, RANGES, coupled, preshape

PRIOR = GraspPrior()
RANDOM = DrawnPolicy(draw=lambda seen, rng: PRIOR.draw(rng, seen.object_position, seen.object_size))


@pytest.fixture(scope="module")
def world() -> DexterousWorld:
    return DexterousWorld(fit_cylinder, grasp_quality)


@pytest.fixture(scope="module")
def trials(world):
    return [rollout(world, RANDOM, 0, index).episode for index in range(16)]


def same(one, other) -> bool:
    np.testing.assert_equal(dict(one.labels), dict(other.labels))
    np.testing.assert_equal(dict(one.truth), dict(other.truth))
    assert one.streams.keys() == other.streams.keys() and one.arrays.keys() == other.arrays.keys()
    for name, stream in one.streams.items():
        np.testing.assert_array_equal(stream.values, other.streams[name].values, err_msg=name)
        np.testing.assert_array_equal(stream.times, other.streams[name].times, err_msg=name)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
    return True


def test_a_trial_depends_on_seed_and_index_only(world, trials):
    assert isinstance(world, Embodiment)
    fresh = DexterousWorld(fit_cylinder, grasp_quality)
    for index in (5, 2):
        assert same(rollout(fresh, RANDOM, 0, index).episode, trials[index])
    other = rollout(world, RANDOM, 1, 2).episode
    assert not np.array_equal(other.arrays["action"], trials[2].arrays["action"])


def test_an_episode_holds_what_was_sensed_before_and_at_contact(trials):
    for episode in trials:
        before, contact = episode.event("before"), episode.event("contact")
        assert before < episode.event("regrasp") < contact <= episode.event("before_lift") < episode.event("hold_end")
        assert episode.streams["camera.rgb"].values.shape == (2, 480, 640, 3)
        np.testing.assert_array_equal(episode.streams["camera.depth"].times, [before, contact])
        np.testing.assert_array_equal(
            episode.streams["touch.th" if "touch.th" in episode.streams else "touch.ff"].times[:2], [before, contact]
        )
        assert episode.streams["hand.joint_position"].values.shape[1] == len(JOINTS)
        assert episode.streams["hand.joint_torque"].values.shape[1] == len(ACTUATED)
        for finger in FINGERS:
            if f"touch.{finger}" in episode.streams:
                assert episode.streams[f"touch.{finger}"].values.shape == (3, 24, 3)
                assert episode.streams[f"region.{finger}"].values.shape == (3, 1)
        sizes = {
            name: len(episode.arrays[name])
            for name in ("action", "object_position", "object_pixel", "object_size", "hand_pose")
        }
        assert sizes == {"action": 28, "object_position": 3, "object_pixel": 2, "object_size": 2, "hand_pose": 6}
        assert set(episode.labels) == {"quality", "status"} and episode.groups.keys() == {"object"}
        changed = np.abs(np.diff(episode.streams["camera.depth"].values, axis=0)) > 0.02
        assert changed.mean() > 0.02, "the hand is in the second picture"


def test_some_random_grasps_hold_and_some_do_not(trials):
    held = [episode.truth["stable"] for episode in trials]
    assert 3 <= sum(held) <= 13
    agree = np.mean([episode.truth["stable"] == episode.labels["status"] for episode in trials])
    assert agree >= 0.6, "what is judged good mostly holds"


def test_taxels_add_up_to_the_contact_force(world, trials):
    seen = 0
    for episode in trials:
        rows = episode.arrays["contacts"].reshape(-1, 10)
        for number, finger in enumerate(FINGERS):
            mine = rows[rows[:, 0] == number]
            if f"touch.{finger}" not in episode.streams or len(mine) != 1 or mine[0, 9] < 6e-4:
                continue
            rest, pressed, _ = episode.streams[f"touch.{finger}"].values
            total = np.linalg.norm(pressed.sum(axis=0))
            assert total > 0.8 * mine[0, 7] - 0.1 and np.abs(rest).max() < 0.02
            assert total < 1.2 * mine[0, 7] * np.sqrt(1 + mine[0, 8] ** 2) + 0.1
            seen += 1
    assert seen >= 5


def test_the_label_of_quality_can_be_judged_again_from_the_stored_contacts(trials):
    for episode in trials:
        contacts = contacts_from_array(episode.arrays["contacts"], *episode.arrays["contact_scale"])
        again = grasp_quality(contacts)
        np.testing.assert_allclose(again.q, episode.labels["quality"], atol=1e-6)
        assert float(again.q > 0.5 and contacts.finger_count >= 2) == episode.labels["status"]


def test_a_dead_fingertip_has_no_streams():
    world = DexterousWorld(fit_cylinder, config=DexterousConfig(dead_share=1.0, n_objects=3))
    seen = world.begin(0, 0)
    assert seen.touch == {} and seen.touch_rest == {}
    episode = rollout(world, RANDOM, 0, 0).episode
    assert not [name for name in episode.streams if name.startswith(("touch.", "region."))]
    assert not episode.labels, "without a judge there is no quality"


def test_fine_tuning_is_tried_on_poor_grasps_of_two_fingers_and_kept_only_if_better(trials):
    tried = [e for e in trials if e.truth.get("tuning_tried")]
    assert tried
    for episode in trials:
        fingers = set(episode.arrays["contacts"].reshape(-1, 10)[:, 0]) - {5.0}
        if episode.labels["quality"] < 0.5 and not episode.truth["tuning_kept"]:
            assert bool(episode.truth["tuning_tried"]) == (len(fingers) >= 2)
        low, high = RANGES.T
        assert ((episode.arrays["action"][6:] >= low) & (episode.arrays["action"][6:] <= high)).all()


def test_tuned_grasps_are_better_than_untuned_ones(world, monkeypatch):
    kept = rollout(world, RANDOM, 0, 22).episode
    assert kept.truth["tuning_kept"] == 1.0
    monkeypatch.setattr("palpate.worlds.dexterous_touch.GOOD", -1.0)  # nothing is poor: no tuning
    plain = rollout(world, RANDOM, 0, 22).episode
    assert plain.truth["tuning_tried"] == 0.0
    assert plain.labels["quality"] < kept.labels["quality"]


def test_the_hand_opens_and_grasps_anew(world):
    seen = world.begin(0, 3)
    np.testing.assert_allclose(seen.hand_pose, home())
    rng = np.random.default_rng(0)
    for look in range(2):
        palm, joints = PRIOR.draw(rng, seen.object_position, seen.object_size)
        seen = world.regrasp(towards(seen, palm, joints))
        assert seen.time > look and seen.joint_position.shape == (22,)
    episode = world.finish()
    assert episode.streams["camera.rgb"].values.shape[0] == 3
    np.testing.assert_allclose(episode.arrays["hand_pose"], seen.hand_pose)
    assert "stable" not in episode.truth, "it was not lifted"
    gap = pose_from_vector(seen.hand_pose)[:3, 3] - pose_from_vector(palm)[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(gap), episode.truth["backed_off"], atol=1e-9)


def test_letting_go_shows_the_object_without_the_hand(world):
    seen = world.begin(0, 3)
    seen = world.regrasp(towards(seen, *PRIOR.draw(np.random.default_rng(0), seen.object_position, seen.object_size)))
    with_hand = seen.camera.depth
    seen = world.release()
    assert isinstance(world, Releasing)
    np.testing.assert_allclose(seen.hand_pose, home())
    assert (seen.camera.depth - with_hand > 0.05).mean() > 0.02, "the hand has gone"
    assert max(np.abs(frame.taxels).max() for frame in seen.touch.values()) < 0.02, "nothing touches"
    truth = world._rig.object_pose()[:2, 3]
    assert np.linalg.norm(seen.object_position[:2] - truth) < 0.04


def test_touch_at_the_end_of_the_hold_tells_held_from_lost(trials):
    forces = {0.0: [], 1.0: []}
    for episode in trials:
        taxels = [s.at(episode.event("hold_end")) for name, s in episode.streams.items() if name.startswith("touch.")]
        forces[episode.truth["stable"]].append(sum(np.linalg.norm(t.sum(axis=0)) for t in taxels))
    assert max(forces[0.0]) < 0.3 and np.median(forces[1.0]) > 1.0


def test_a_pose_out_of_reach_is_not_taken(world):
    seen = world.begin(0, 1)
    far = towards(seen, seen.hand_pose + [2.0, 0, 0, 0, 0, 0], MEANS)
    assert np.array_equal(world.regrasp(far).hand_pose, home())
    assert world.lift().stable is False
    episode = world.finish()
    assert episode.truth["reachable"] == 0.0 and "contacts" not in episode.arrays
    assert dict(episode.labels) == {"quality": 0.0, "status": 0.0} and episode.truth["stable"] == 0.0


def test_bad_targets_are_refused_and_contradicting_ones_repaired(world):
    seen = world.begin(0, 1)
    with pytest.raises(RecordError, match="FFJ3"):
        world.regrasp(GraspAction(motion=np.zeros(6), joints=np.full(22, 2.0)))
    joints = coupled(MEANS)
    joints[JOINTS.index("MFJ0")] = 0.1
    world.regrasp(towards(seen, seen.hand_pose + [2.0, 0, 0, 0, 0, 0], joints))
    assert len(world.repairs) == 1 and "MFJ0" in world.repairs[0]
    with pytest.raises(RecordError, match="n_objects"):
        DexterousWorld(fit_cylinder, config=DexterousConfig(n_objects=0))


def test_the_action_space_reaches_all_motors(world):
    actions = world.action_space.sample(np.random.default_rng(0), 500)
    assert actions.shape == (500, 28)
    joints = actions[:, 6:][:, list(ACTUATED)]
    np.testing.assert_allclose(joints.min(axis=0), RANGES[list(ACTUATED), 0], atol=0.05)
    np.testing.assert_allclose(joints.max(axis=0), RANGES[list(ACTUATED), 1], atol=0.05)


def test_a_grasp_from_elsewhere_is_closed_in_the_air(world):
    ball = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    cube = mesh_object("cube", [0.022 * np.array(ball, float)], mass=0.05, friction=0.9)
    palm = pose(np.eye(3), np.array([0.5, 0.0, 0.4]))
    object_at = palm @ pose(np.eye(3), np.array([0.035, -0.065, 0.12]))
    touching = coupled(0.4 * preshape(MEANS) + 0.6 * MEANS)
    closed, rig = world.close_at(cube, object_at, vector_from_pose(palm), touching, squeeze=0.4)
    assert closed.felt.contacts.finger_count >= 2 and "th" in closed.felt.touches
    assert closed.judged is not None and closed.judged.q > 0
    assert succeeds(closed.felt, closed.judged) == (closed.judged.q > 0.5)
    assert np.linalg.norm(rig.object_pose()[:3, 3] - object_at[:3, 3]) < 0.05
    with pytest.raises(RecordError, match="THJ4"):
        world.close_at(cube, object_at, vector_from_pose(palm), coupled(MEANS) + 0.8)


def test_nothing_on_the_table_is_told():
    world = DexterousWorld(fit_cylinder, config=DexterousConfig(n_objects=1, x_range=(3.0, 3.0)))
    with pytest.raises(PalpateError, match="no object found"):
        world.begin(0, 0)


def test_the_time_is_counted_by_what_it_went_to(world, trials):
    assert all(world.seconds[part] > 0 for part in ("rigid", "soft", "quality", "camera"))
    assert sum(world.seconds.values()) / len(trials) < 10
