import numpy as np
import pytest

from palpate import ActionSpace, Episode, GraspAction, Stream, StreamSpec, TactileFrame
from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.transforms import apply, inverse, look_at, pose, quaternion_to_matrix, rotation_z

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
