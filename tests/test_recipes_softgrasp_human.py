"""The scripted person in the glove, whole demonstrations, and the stages found in their signals."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.recording import series
from palpate.core.records import Command, Episode, Event, Observation
from palpate.recipes.softgrasp_human import STAGES, Person, PersonConfig, find_stages
from palpate.recipes.softgrasp_task import GloveController, SoftgraspTask, labels
from palpate.robots.glove import GloveError
from palpate.robots.glove_mapping import SOFTGRASP_TABLE_1, map_angles
from palpate.worlds.humanoid_hand import JOINTS
from palpate.worlds.softgrasp import SoftgraspConfig, camera_config

TASK = SoftgraspTask(world=SoftgraspConfig(objects=(2, 5, 6), camera=camera_config(12, 16)))
EXPECTED = np.array([0.45, 0.45, 0.45, 0.45, 0.4, 1.0])


@pytest.fixture(scope="module")
def demonstrations():
    """One demonstration each with soft plastic, a deformable and a rigid thing."""
    world = TASK.build()
    return {episode.groups["hardness"]: episode for episode in (TASK.demonstrate(world, 1, i) for i in range(3))}


def feel_spring(person, stiffness, periods=400):
    """Let the person squeeze springs that begin where expected [N m per bend]; return the bends (T, 6)."""
    person.reset(np.random.default_rng(0), EXPECTED)
    out = []
    for _ in range(periods):
        sample = person.read()
        bend = map_angles(SOFTGRASP_TABLE_1, sample.angles)
        torque = stiffness * np.maximum(bend - EXPECTED, 0.0) * [1, 1, 1, 1, 1, 0]
        person.feel(torque, sample.angles)
        out.append(bend)
        if person.wants_lift:
            break
    return np.array(out)


def test_the_person_squeezes_a_soft_spring_further_than_a_stiff_one():
    soft = feel_spring(Person(), 0.3)[-1] - EXPECTED
    stiff = feel_spring(Person(), 3.0)[-1] - EXPECTED
    assert soft[4] > 2 * stiff[4] > 0.0


def test_a_person_without_torque_squeezes_alike_whatever_it_is():
    numb = PersonConfig(feels_torque=False)
    soft, stiff = feel_spring(Person(numb), 0.3), feel_spring(Person(numb), 3.0)
    np.testing.assert_array_equal(soft, stiff)
    assert soft[-1][4] - EXPECTED[4] > 0.05


def test_a_person_must_expect_six_numbers():
    with pytest.raises(RecordError, match="six finite"):
        Person().reset(np.random.default_rng(0), np.array([0.5, np.nan, 0, 0, 0, 0]))


def test_demonstrations_end_with_the_thing_lifted_and_unharmed(demonstrations):
    for episode in demonstrations.values():
        assert episode.truth["success"] == 1.0 and episode.truth["crushed"] == 0.0
        assert episode.labels == {"held": 1.0, "lifted": 1.0}
        assert 150 < len(episode.streams["camera.rgb"].times) < 480


def test_demonstrations_pass_the_five_stages_in_order(demonstrations):
    for episode in demonstrations.values():
        stages = [event for event in episode.events if event.name in STAGES]
        assert tuple(event.name for event in stages)[:4] == STAGES[:4]
        assert episode.event("re-clutching") == episode.event("lift")
        assert all(a.time < b.time for a, b in pairwise(stages))


def test_rigid_things_are_held_firmly_and_deformable_ones_squeezed_further(demonstrations):
    def thumb(episode):
        return episode.streams["hand.joint_torque"].values[-10:, 4].mean()

    assert thumb(demonstrations["rigid"]) > 1.3 * thumb(demonstrations["soft-plastic"])
    assert thumb(demonstrations["rigid"]) > 1.3 * thumb(demonstrations["deformable"])
    assert demonstrations["deformable"].truth["deformation"] > 1.5 * demonstrations["soft-plastic"].truth["deformation"]


def test_algorithm_1_goes_from_no_contact_over_contact_to_clutched(demonstrations):
    for episode in demonstrations.values():
        thumb = episode.streams["glove.contact"].values[:, 4]
        late = episode.streams["glove.contact"].times > 1.5  # the swing's own inertia is over
        first = [int(np.argmax(thumb[late] == state)) for state in (0, 1, 2)]
        assert set(thumb[late].astype(int)) == {0, 1, 2}
        assert first[0] < first[1] < first[2]


def test_the_glove_maps_to_what_the_hand_is_told(demonstrations):
    episode = demonstrations["rigid"]
    glove, command = episode.streams["glove.angle"].values.astype(float), episode.streams["hand.command"].values
    np.testing.assert_allclose(1.0 - map_angles(SOFTGRASP_TABLE_1, glove), command, atol=1e-4)


def test_the_same_seed_gives_the_same_demonstration_bit_by_bit(demonstrations):
    world = TASK.build()
    again = TASK.demonstrate(world, 1, 2)
    before = demonstrations["rigid"]
    assert again.events == before.events and again.truth == before.truth
    for name, stream in before.streams.items():
        np.testing.assert_array_equal(again.streams[name].values, stream.values)


def test_without_torque_thin_plastic_is_dented_more():
    config = replace(TASK.world, objects=(2,))
    world = replace(TASK, world=config).build()
    dents = {}
    for feels in (True, False):
        task = replace(TASK, person=PersonConfig(feels_torque=feels))
        dents[feels] = np.mean([task.demonstrate(world, 5, i).truth["deformation"] for i in range(2)])
    assert dents[False] > 1.3 * dents[True]


def made(angle, torque, events=()):
    """An episode of 30 Hz with these bends and torques (T,) in all bending joints."""
    times = np.arange(len(angle)) / 30.0
    position = np.stack([1.0 - angle] * 5 + [np.zeros_like(angle)], 1)
    torques = np.stack([torque] * 5 + [np.zeros_like(torque)], 1)
    streams = {
        "hand.joint_position": series("hand.joint_position", position, "", JOINTS, times, 30.0),
        "hand.joint_torque": series("hand.joint_torque", torques, "N m", JOINTS, times, 30.0),
    }
    return Episode(index=0, seed=0, task="softgrasp", streams=streams, events=events)


def test_stages_are_found_where_made_signals_have_them():
    t = np.arange(300) / 30.0
    angle = np.interp(t, [0, 2, 4, 5, 7, 7.5, 10], [0, 0, 0.4, 0.43, 0.43, 0.45, 0.45])
    torque = np.interp(t, [0, 3.8, 5, 7, 7.5, 10], [0, 0, 0.1, 0.1, 0.13, 0.13])
    found = {event.name: event.time for event in find_stages(made(angle, torque, (Event(name="lift", time=7.0),)))}
    for name, time, tolerance in zip(STAGES, (0.0, 2.0, 4.0, 7.0, 7.5), (1e-9, 0.3, 0.3, 1e-9, 0.35), strict=True):
        assert found[name] == pytest.approx(time, abs=tolerance)


def test_a_grasp_that_touches_nothing_has_no_clutching_and_nothing_after_it():
    t = np.arange(300) / 30.0
    episode = made(np.interp(t, [2, 4], [0, 0.9]), np.zeros(300), (Event(name="lift", time=7.0),))
    assert [event.name for event in find_stages(episode)] == ["preparation", "closing"]
    assert labels(episode) == {"held": 0.0, "lifted": 1.0}
    assert labels(replace(episode, events=()))["held"] is None


def test_stages_need_angles_and_torques():
    with pytest.raises(RecordError, match="joint_torque"):
        find_stages(replace(made(np.zeros(30), np.zeros(30)), streams={}))


class DeadGlove:
    def read(self):
        raise GloveError("unplugged")

    def feel(self, torque, angle):
        assert not torque.any()


def test_a_glove_that_cannot_be_read_lets_the_hand_stay_where_it_is():
    controller = GloveController(DeadGlove(), lambda: False)
    controller.reset(np.random.default_rng(0))
    here = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    for i in range(20):
        command = controller.act(Observation(time=i / 30, joint_position=here, joint_torque=np.zeros(6)))
        assert isinstance(command, Command)
        np.testing.assert_allclose(command.joints, here)
    with pytest.raises(RecordError, match="torques"):
        controller.act(Observation(joint_position=here))
