"""Immersive demonstration with a hand made of springs: Eq. 1, the states of Algorithm 1, and a glove that fails."""

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.robots.glove import GloveError, GloveSample, HandState
from palpate.robots.glove_mapping import SOFTGRASP_TABLE_1, JointMapping, map_angles
from palpate.robots.immersion import (
    Contact,
    ImmersionConfig,
    ImmersionController,
    exchange,
    feedback_torque,
)

DT = 1 / 30
SAME = tuple(
    JointMapping(joint=joint.joint, coefficients=(1.0, 0.0), deviation=0.0, low=0.0, high=1.0) for joint in SOFTGRASP_TABLE_1
)
CONFIG = ImmersionConfig(
    contact_torque=0.2, clutch_torque=2.0, max_feedback=4.0, contact_speed=0.5, clutch_speed=0.05, release=0.8
)


class SpringHand:
    """Joints follow the command with a lag; an object at 0.5 pushes back like a spring."""

    def __init__(self, stiffness, lag=0.15):
        self.stiffness, self.lag = stiffness, lag
        self.angles = np.zeros(6)
        self.commands = []

    def read(self):
        return HandState(angles=self.angles.copy(), torques=self.stiffness * np.maximum(self.angles - 0.5, 0.0) - 0.01)

    def command(self, angles):
        self.commands.append(angles)
        self.angles = self.angles + (angles - self.angles) * (1 - np.exp(-DT / self.lag))


class ScriptedGlove:
    """Bends to `target` at `speed`, waits, and opens again."""

    def __init__(self, target=0.8, speed=0.4, wait=3.0):
        self.target, self.speed, self.wait = target, speed, wait
        self.time = 0.0
        self.felt = []
        self.broken = False

    def read(self):
        self.time += DT
        if self.broken:
            raise GloveError("no answer")
        up, down = self.time * self.speed, self.target - (self.time - self.target / self.speed - self.wait) * self.speed
        return GloveSample(angles=np.full(6, max(0.0, min(up, self.target, down))), time=self.time)

    def feel(self, torque, angle):
        self.felt.append((torque, angle))


def run(hand, glove, n, mapping=SAME, config=CONFIG):
    controller = ImmersionController(config, mapping)
    return [exchange(controller, hand, glove, DT) for _ in range(n)]


def compressed(states):
    return [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]


def test_equation_1_is_nothing_then_the_torque_then_the_most():
    torque = np.array([-0.1, 0.0, 0.1999, 0.2, 1.0, 3.9999, 4.0, 50.0])
    np.testing.assert_allclose(feedback_torque(torque, 0.2, 4.0), [0, 0, 0, 0.2, 1.0, 3.9999, 4.0, 4.0], rtol=0)


def test_equation_1_jumps_at_the_contact_only():
    torque = np.linspace(0, 8, 8001)
    steps = np.abs(np.diff(feedback_torque(torque, 0.2, 4.0)))
    jumps = np.flatnonzero(steps > 0.0011)
    assert len(jumps) == 1
    np.testing.assert_allclose([torque[jumps[0]], steps[jumps[0]]], [0.2, 0.2], atol=2e-3)


def test_a_grasp_visits_the_states_in_order_and_back():
    glove = ScriptedGlove()
    done = run(SpringHand(20.0), glove, 240)
    assert compressed([step.state for step in done]) == [
        Contact.NONE,
        Contact.CONTACT,
        Contact.CLUTCHED,
        Contact.CONTACT,
        Contact.NONE,
    ]
    for step in done:
        touching = np.array(step.contact) == Contact.CONTACT
        clutched = np.array(step.contact) == Contact.CLUTCHED
        assert not step.feedback_torque[np.array(step.contact) == Contact.NONE].any()
        assert (step.feedback_torque[clutched] == CONFIG.max_feedback).all()
        assert (step.feedback_torque[touching] >= CONFIG.contact_torque * CONFIG.release).all()


def test_in_contact_the_glove_feels_the_torque_of_the_hand_and_is_pushed_open():
    hand, glove = SpringHand(20.0), ScriptedGlove()
    controller = ImmersionController(CONFIG, SAME)
    seen = 0
    for _ in range(120):
        torque = hand.read().torques
        step = exchange(controller, hand, glove, DT)
        if step.state == Contact.CONTACT:
            seen += 1
            np.testing.assert_allclose(step.feedback_torque, np.minimum(torque, CONFIG.max_feedback), rtol=0)
            push = step.command - step.feedback_angle  # the mapping is one to one
            assert (push >= 0).all() and (push <= CONFIG.contact_speed / 30 + 1e-12).all()
    assert seen > 3


def test_a_soft_object_is_never_clutched_and_a_light_touch_neither():
    done = run(SpringHand(4.0), ScriptedGlove(), 200)
    assert {step.state for step in done} == {Contact.NONE, Contact.CONTACT}


def test_states_that_the_printed_algorithm_leaves_out_are_contact():
    controller = ImmersionController(CONFIG, SAME)
    glove = GloveSample(angles=np.full(6, 0.5), time=0.0)
    states = []
    cases = [  # torque, change of the angle per step
        (1.0, 0.0), (1.0, 0.1),  # between the thresholds, and fast
        (9.0, 0.1),  # beyond the second, and moving
        (2.0, 0.0),  # equal to the second, at rest
        (0.17, 0.0), (0.15, 0.0),  # above what is left of the first, and below
        (0.2, 0.0),  # equal to the first
    ]  # fmt: skip
    angle = 0.0
    for torque, change in cases:
        angle += change
        states.append(controller.step(HandState(angles=np.full(6, angle), torques=np.full(6, torque)), glove, DT).state)
    c, n = Contact.CONTACT, Contact.NONE
    assert states == [c, c, c, Contact.CLUTCHED, c, n, c]


def test_noise_about_a_threshold_does_not_flicker():
    rng = np.random.default_rng(0)
    torques = 0.2 + 0.01 * rng.normal(size=300)

    def changes(release):
        config = ImmersionConfig(
            contact_torque=0.2, clutch_torque=2.0, max_feedback=4.0, contact_speed=0.5, clutch_speed=0.05, release=release
        )
        controller = ImmersionController(config, SAME)
        glove = GloveSample(angles=np.zeros(6), time=0.0)
        states = [controller.step(HandState(angles=np.zeros(6), torques=np.full(6, t)), glove, DT).state for t in torques]
        return len(compressed(states)) - 1

    assert changes(1.0) > 50  # as printed
    assert changes(0.8) <= 1


def test_each_joint_has_a_state_of_its_own():
    controller = ImmersionController(CONFIG, SAME)
    glove = GloveSample(angles=np.full(6, 0.4), time=0.0)
    hand = HandState(angles=np.zeros(6), torques=np.array([0.0, 0.5, 3.0, 0.0, 0.0, 0.0]))
    controller.step(hand, glove, DT)
    step = controller.step(hand, glove, DT)
    assert step.contact[:4] == (Contact.NONE, Contact.CONTACT, Contact.CLUTCHED, Contact.NONE)
    assert step.state == Contact.CLUTCHED
    np.testing.assert_allclose(step.feedback_torque, [0, 0.5, 4.0, 0, 0, 0], rtol=0)


def test_how_the_grasp_feels_does_not_depend_on_the_rate():
    def after(rate):
        controller = ImmersionController(CONFIG, SAME)
        for i in range(int(rate)):
            hand = HandState(angles=np.full(6, 0.4 * i / rate), torques=np.full(6, 1.0))
            step = controller.step(hand, GloveSample(angles=np.full(6, 0.5), time=i / rate), 1 / rate)
        return step.feedback_angle

    np.testing.assert_allclose(after(30.0), 0.5 - 0.4 / 30, rtol=1e-9)
    np.testing.assert_allclose(after(200.0), after(30.0), rtol=1e-9)


def test_the_hand_follows_table_1():
    hand, glove = SpringHand(0.0), ScriptedGlove(target=0.6)
    done = run(hand, glove, 60, mapping=SOFTGRASP_TABLE_1)
    np.testing.assert_allclose(done[-1].command, map_angles(SOFTGRASP_TABLE_1, np.full(6, 0.6)), rtol=0)


def test_a_glove_that_breaks_off_leaves_the_hand_where_it_is_and_lets_the_person_go():
    hand, glove = SpringHand(20.0), ScriptedGlove(wait=30.0)
    controller = ImmersionController(CONFIG, SAME)
    for _ in range(120):
        step = exchange(controller, hand, glove, DT)
    before = step.command
    assert step.state == Contact.CLUTCHED and step.feedback_torque.any()
    glove.broken = True
    broken = [exchange(controller, hand, glove, DT) for _ in range(60)]
    for step in broken:
        np.testing.assert_allclose(step.command, before, rtol=0)
    assert [step.message for step in broken if step.message] == ["holding: stale after 200 ms: the glove has stopped sending"]
    assert not broken[-1].feedback_torque.any()
    assert broken[-1].state == Contact.CLUTCHED  # the hand still holds the object
    glove.broken = False
    back = [exchange(controller, hand, glove, DT) for _ in range(10)]
    assert back[-1].guard == "following" and back[-1].feedback_torque.any()


def test_without_any_sample_the_hand_stays_where_it_was():
    controller = ImmersionController(CONFIG, SAME)
    first = np.linspace(0, 0.5, 6)
    for angle in (0.0, 0.1, 0.2):  # it sinks, but it is not told to
        step = controller.step(HandState(angles=first + angle, torques=np.zeros(6)), None, DT)
        np.testing.assert_allclose(step.command, first, rtol=0)
        assert step.guard == "waiting" and not step.feedback_torque.any()


def test_two_runs_are_the_same():
    one, two = (run(SpringHand(20.0), ScriptedGlove(), 200) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert (a.state, a.guard, a.message) == (b.state, b.guard, b.message)
        np.testing.assert_array_equal(a.command, b.command)
        np.testing.assert_array_equal(a.feedback_angle, b.feedback_angle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contact_torque": 3.0}, "clutch_torque"),
        ({"max_feedback": 0.1}, "max_feedback"),
        ({"clutch_speed": 0.6}, "clutch_speed"),
        ({"release": 0.0}, "release"),
        ({"amplification": -1.0}, "amplification"),
    ],
)
def test_thresholds_that_contradict_each_other_are_refused(change, message):
    good = {"contact_torque": 0.2, "clutch_torque": 2.0, "max_feedback": 4.0, "contact_speed": 0.5, "clutch_speed": 0.05}
    with pytest.raises(RecordError, match=message):
        ImmersionConfig(**{**good, **change})


def test_time_must_go_on():
    with pytest.raises(RecordError, match="dt is 0"):
        ImmersionController(CONFIG, SAME).step(HandState(angles=np.zeros(6), torques=np.zeros(6)), None, 0.0)
