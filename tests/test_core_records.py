import numpy as np
import pytest

from palpate import ActionSpace, Episode, GraspAction, Stream, StreamSpec, TactileFrame
from palpate.core.contacts import GraspContacts
from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.records import Decision, GraspOutcome, Observation
from palpate.core.rollout import rollout
from palpate.core.transforms import (
    apply,
    inverse,
    look_at,
    pose,
    pose_from_vector,
    quaternion_to_matrix,
    rotation_from_vector,
    rotation_z,
    vector_from_pose,
)

SPEC = StreamSpec(name="force", kind="series", shape=(2,), dtype="float32", rate_hz=100.0)


def test_a_tactile_frame_without_data_is_refused_because_absent_is_not_empty():
    with pytest.raises(RecordError, match="leave an absent sensor out"):
        TactileFrame()


def test_a_stream_checks_its_values_against_its_spec():
    with pytest.raises(RecordError, match="expected \\(3, 2\\) float32"):
        Stream(spec=SPEC, times=np.arange(3.0), values=np.zeros((3, 3), np.float32))
    with pytest.raises(RecordError, match="times go backwards"):
        Stream(spec=SPEC, times=np.array([0.0, 2.0, 1.0]), values=np.zeros((3, 2), np.float32))


def test_at_returns_the_last_sample_captured_and_never_a_later_one():
    stream = Stream(spec=SPEC, times=np.array([0.0, 1.0]), values=np.array([[1, 1], [2, 2]], np.float32))
    np.testing.assert_array_equal(stream.at(0.99), [1, 1])
    np.testing.assert_array_equal(stream.at(1.0), [2, 2])
    with pytest.raises(RecordError, match="no sample at or before"):
        stream.at(-0.1)


def test_a_recorder_keeps_every_sample_and_leaves_silent_streams_out():
    recorder = Recorder()
    recorder.declare(SPEC)
    recorder.declare(StreamSpec(name="silent", kind="series", shape=(1,), dtype="float32"))
    for i in range(5):
        recorder.add("force", i / 100, np.array([i, -i]))
    recorder.mark("late", 2.0)
    recorder.mark("early", 1.0)
    streams = recorder.streams()
    assert list(streams) == ["force"]
    np.testing.assert_array_equal(streams["force"].values[:, 0], [0, 1, 2, 3, 4])
    assert [event.name for event in recorder.events()] == ["early", "late"]
    with pytest.raises(RecordError, match="was not declared"):
        recorder.add("sound", 0.0, np.zeros(1))


def test_an_episode_names_the_events_it_has_when_asked_for_another():
    with pytest.raises(RecordError, match="has no event 'lift'"):
        Episode(index=3, seed=0, task="gentle").event("lift")


def test_unknown_names_list_the_allowed_ones():
    assert str(UnknownNameError("pose", "sitting", ["upright", "lying"])) == "unknown pose 'sitting'; allowed: lying, upright"


def space() -> ActionSpace:
    return ActionSpace(
        motion_low=(-0.01, -0.01, -0.01, -0.2),
        motion_high=(0.01, 0.01, 0.01, 0.2),
        joints=(0.0, 0.5, 1.0),
        active=(0, 2),
        joint_low=(-1.0, 0.0),
        joint_high=(1.0, 2.0),
    )


def test_free_coordinates_span_exactly_the_box_and_leave_fixed_joints_alone():
    corners = space().vectors(np.array([[-1.0] * 6, [1.0] * 6, [0.0] * 6]))
    np.testing.assert_allclose(corners[0], [-0.01, -0.01, -0.01, -0.2, -1.0, 0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(corners[1], [0.01, 0.01, 0.01, 0.2, 1.0, 0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(corners[2], [0, 0, 0, 0, 0, 0.5, 1.0], atol=1e-9)


def test_fingers_only_samples_do_not_move_the_end_effector():
    samples = space().sample(np.random.default_rng(0), 50, fingers_only=True)
    assert np.all(samples[:, :4] == 0) and samples[:, 4].std() > 0.1


def test_action_vectors_round_trip():
    vector = np.arange(20.0)
    np.testing.assert_array_equal(GraspAction.from_vector(vector).vector(), vector)


def test_generators_depend_on_seed_and_path_only():
    assert generator(1, 7).random() == generator(1, 7).random()
    assert len({generator(s, *k).random() for s in (0, 1) for k in ((), (0,), (1,), (0, 1))}) == 8


def test_transforms_invert_and_compose():
    rng = np.random.default_rng(3)
    a_from_b = pose(rotation_z(0.7), rng.normal(size=3))
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(apply(inverse(a_from_b), apply(a_from_b, points)), points, atol=1e-12)
    np.testing.assert_allclose(quaternion_to_matrix(np.array([np.cos(0.35), 0, 0, np.sin(0.35)])), rotation_z(0.7), atol=1e-12)


def test_a_camera_looks_at_its_target():
    world_from_camera = look_at(np.array([1.0, 0.0, 0.5]), np.array([0.5, 0.1, 0.0]))
    target = apply(inverse(world_from_camera), np.array([0.5, 0.1, 0.0]))
    np.testing.assert_allclose(target[:2], 0.0, atol=1e-12)
    assert target[2] > 0


def test_a_rotation_vector_comes_back_from_its_rotation_up_to_half_a_turn():
    rng = np.random.default_rng(0)
    for angle in (0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi - 1e-4):
        axis = rng.normal(size=3)
        vector = np.concatenate([rng.normal(size=3), axis / np.linalg.norm(axis) * angle])
        np.testing.assert_allclose(vector_from_pose(pose_from_vector(vector)), vector, atol=1e-7)
    half = np.array([0.6, 0.0, -0.8]) * np.pi  # both signs are the same half turn
    turned = rotation_from_vector(half)
    np.testing.assert_allclose(rotation_from_vector(vector_from_pose(pose(turned, np.zeros(3)))[3:]), turned, atol=1e-9)
    np.testing.assert_allclose(rotation_from_vector(np.array([0.0, 0.0, 0.3])), rotation_z(0.3), atol=1e-12)


def test_contacts_that_do_not_fit_together_are_refused_and_the_palm_is_no_finger():
    two = np.eye(3)[:2]
    given = {"positions": two, "normals": -two, "friction": np.ones(2), "torsion_radius": np.zeros(2), "object_radius": 1.0}
    assert GraspContacts(**given).finger_count == 2
    assert GraspContacts(**given, fingers=("palm", "th")).finger_count == 1
    with pytest.raises(RecordError, match=r"friction \(3,\), expected \(2,\)"):
        GraspContacts(**{**given, "friction": np.ones(3)})


def test_a_policy_may_let_go_or_lift_what_it_holds_without_another_grasp():
    calls = []

    class World:
        action_space = ActionSpace(
            motion_low=(0.0,) * 6, motion_high=(1.0,) * 6, joints=(0.0,), active=(0,), joint_low=(0.0,), joint_high=(1.0,)
        )

        def begin(self, seed, index):
            return Observation()

        def regrasp(self, action):
            calls.append(action)
            return Observation(grip_force=1.0)

        def release(self):
            calls.append("release")
            return Observation()

        def lift(self):
            return GraspOutcome(stable=True)

        def finish(self):
            return Episode(index=0, seed=0, task="t")

    class Once:
        def act(self, observation, look, rng):
            if look == 1:
                return Decision(action=None, release=True, lift=False)
            if look == 0:
                vector = World.action_space.sample(rng, 1)[0]
                return Decision(action=GraspAction.from_vector(vector, World.action_space.n_motion), lift=False)
            return Decision(action=None, lift=True)

    done = rollout(World(), Once(), 0, 0, max_looks=3)
    assert calls[1:] == ["release"] and len(done.decisions) == 3 and done.outcome.stable
    assert calls[0].motion.shape == (6,) and calls[0].joints.shape == (1,)

    with pytest.raises(RecordError, match="cannot"):
        rollout(
            type("Bare", (), {n: getattr(World, n) for n in ("begin", "regrasp", "lift", "finish")})(),
            Once(),
            0,
            0,
            max_looks=3,
        )
