import os
import pty
import termios
import time

import numpy as np
import pytest

from palpate.core.errors import PalpateError
from palpate.robots.glove import GloveError, HandState
from palpate.robots.glove_mapping import map_angles
from palpate.robots.immersion import ImmersionConfig, ImmersionController
from palpate.robots.keyboard_glove import KEYBOARD_MAPPING, MOST_STEPS, STEP, SWING_STEP, KeyboardGlove, TerminalKeys

RATE = 30.0


class Typed:
    """Presses that come from a list, one entry a period; then silence."""

    def __init__(self, *periods):
        self.periods = ["", *periods]  # the first answers the reset

    def pressed(self):
        text = self.periods.pop(0) if self.periods else ""
        if isinstance(text, Exception):
            raise text
        return text


def read(glove, periods):
    return np.array([glove.read().angles for _ in range(periods)])


def test_the_thumb_swings_in_before_any_finger_closes():
    periods = round(1.0 / SWING_STEP)
    bends = read(KeyboardGlove(Typed(*" " * (periods + 10))), periods + 10)
    np.testing.assert_allclose(bends[periods - 1], [0, 0, 0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(bends[-1], [10 * STEP] * 5 + [1], atol=1e-9)


def test_space_leaves_a_finger_where_it_feels_something_and_m_squeezes_it():
    glove = KeyboardGlove(Typed(*"hh" * 13, *"     ", *"mmm", "m"))
    read(glove, 26)
    glove.feel(np.array([0.0, 0.03, 0, 0, 0, 0.02]), np.zeros(6))
    closed = read(glove, 5)[-1]
    np.testing.assert_allclose(closed, [5 * STEP, 0, 5 * STEP, 5 * STEP, 5 * STEP, 1], atol=1e-9)
    squeezed = read(glove, 4)[-1]
    np.testing.assert_allclose(squeezed - closed, [0, 4 * STEP, 0, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(("key", "joint", "step"), zip("asdfgh", range(6), [STEP] * 5 + [SWING_STEP], strict=True))
def test_each_joint_has_a_key_that_closes_it_and_with_shift_opens_it(key, joint, step):
    bends = read(KeyboardGlove(Typed(key, key, key.upper())), 3)
    np.testing.assert_allclose(bends[:, joint], np.array([1, 2, 1]) * step, atol=1e-9)
    assert np.delete(bends, joint, axis=1).max() == 0.0


def test_b_opens_all_fingers_and_a_bend_stays_between_open_and_closed():
    glove = KeyboardGlove(Typed("a", *"b" * 5, *"h" * 40))
    np.testing.assert_allclose(read(glove, 6)[-1], 0.0)
    np.testing.assert_allclose(read(glove, 40)[-1], [0, 0, 0, 0, 0, 1])


def test_what_a_slow_connection_delivers_at_once_does_not_slam_the_hand_shut():
    np.testing.assert_allclose(KeyboardGlove(Typed("a" * 50)).read().angles[0], MOST_STEPS * STEP)


def test_arrow_and_function_keys_press_nothing():
    assert KeyboardGlove(Typed("\x1b[A\x1b[1;5D\x1bOS\x1b[15~é")).read().angles.max() == 0.0


@pytest.mark.parametrize(("key", "wish"), [("\n", "keep"), ("\r", "keep"), ("x", "discard"), ("q", "stop"), ("?", "go on")])
def test_keys_say_what_becomes_of_the_demonstration(key, wish):
    glove = KeyboardGlove(Typed(key))
    glove.read()
    assert glove.wish == wish
    glove.reset()
    assert glove.wish == "go on"


def test_l_asks_for_the_lift_until_the_next_demonstration():
    glove = KeyboardGlove(Typed("l", "", "", "l"))
    read(glove, 2)
    assert glove.wants_lift
    glove.reset()
    assert not glove.wants_lift


def test_the_guard_believes_a_keyboard_and_the_hand_goes_where_the_keys_say():
    config = ImmersionConfig(
        contact_torque=0.015, clutch_torque=0.05, max_feedback=0.225, contact_speed=0.5, clutch_speed=0.025
    )
    controller, glove = ImmersionController(config, KEYBOARD_MAPPING), KeyboardGlove(Typed(*"aa" * 20), rate_hz=RATE)
    hand = HandState(angles=np.zeros(6), torques=np.zeros(6))
    steps = [controller.step(hand, glove.read(), 1.0 / RATE) for _ in range(40)]
    assert {step.guard for step in steps} == {"following"}
    np.testing.assert_allclose([step.command[0] for step in steps], STEP * np.arange(1, 41), atol=1e-9)
    np.testing.assert_allclose(map_angles(KEYBOARD_MAPPING, np.linspace(0, 1, 6)), np.linspace(0, 1, 6))


def test_a_terminal_that_is_gone_ends_the_demonstration_and_the_hand_holds():
    glove = KeyboardGlove(Typed("a", GloveError("the terminal is closed")))
    glove.read()
    with pytest.raises(GloveError, match="closed"):
        glove.read()
    assert glove.wish == "stop"


def test_keys_of_a_terminal_come_at_once_and_the_terminal_is_given_back():
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with TerminalKeys(theirs) as keys:
            assert keys.pressed() == ""
            assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO)
            os.write(ours, b"a l\xc3\xa9")
            deadline = time.monotonic() + 2.0
            text = ""
            while len(text) < 4 and time.monotonic() < deadline:
                text += keys.pressed()
            assert text == "a lé"
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_without_a_terminal_the_keyboard_glove_says_what_to_do():
    reading, writing = os.pipe()
    try:
        with pytest.raises(PalpateError, match=r"no terminal; start the command in a terminal .*--glove scripted"):
            TerminalKeys(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_closed_terminal_is_a_glove_that_cannot_be_read():
    ours, theirs = pty.openpty()
    with TerminalKeys(theirs) as keys:
        os.close(ours)
        with pytest.raises(GloveError, match="terminal is"):
            keys.pressed()
        os.close(theirs)
        keys._descriptor, other = os.openpty()  # something to give back
        os.close(other)
