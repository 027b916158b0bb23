"""A glove for people without one: the keys of a terminal bend the fingers, and what the hand feels is shown instead of felt.

A terminal tells that a key was pressed, again and again while it is held, but never that it was let go. So each press moves the fingers by
a small step, and where they are is where they stay. The glove's angles are bends of the hand, 0 open to 1 closed, and need no calibration.
"""

import os
import re
import select
import sys
from collections import Counter
from types import TracebackType
from typing import Literal, Protocol

import numpy as np

from palpate.core.errors import PalpateError
from palpate.robots.glove import GloveError, GloveSample
from palpate.robots.glove_mapping import JOINTS, GloveMapping, JointMapping

KEYBOARD_MAPPING: GloveMapping = tuple(
    JointMapping(joint=joint, coefficients=(1.0, 0.0), deviation=0.0, low=0.0, high=1.0) for joint in JOINTS
)
"""The keyboard's angles are the hand's."""

STEP = 0.01
"""Bend of one press; a held key repeats about 30 times a second and so closes as fast as a person does."""
SWING_STEP = 0.04
"""The thumb's swing touches nothing and may go faster."""
MOST_STEPS = 2
"""Presses that count within one period: what a slow connection delivers all at once must not slam the hand shut."""

FINGER_KEYS = "asdfgh"
"""Close little, ring, middle, index, thumb bend and thumb swing; with shift they open."""
HELP = (
    "space  close: the thumb swings in, then each finger closes until it feels something",
    "m      squeeze with all fingers that feel something        b  open all",
    "a s d f  little, ring, middle, index    g  thumb bend    h  thumb swing    (with shift: open)",
    "l      lift      Enter  finish and keep      x  throw away, begin again      q  stop",
)

Wish = Literal["go on", "keep", "discard", "stop"]
"""What the person wants to become of the demonstration."""
_WISHES: dict[str, Wish] = {"\n": "keep", "\r": "keep", "x": "discard", "q": "stop"}
_SWING = JOINTS.index("thumb_swing")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;]*[ -/]*[@-~]?|O.?|.)?")
"""Arrow and function keys send such sequences, whose letters are no keys that were pressed."""


class Keys(Protocol):
    """Where presses come from."""

    def pressed(self) -> str:
        """Return the characters since the last call, without waiting.

        Raises:
            GloveError: no more can come.
        """
        ...


class TerminalKeys:
    """The keys of the terminal that the program runs in. Use it as a context manager; it gives the terminal back as it was."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Take the standard input, or the terminal with this file descriptor.

        Raises:
            PalpateError: it is no terminal, or this system has no POSIX terminals.
        """
        try:
            import termios  # noqa: PLC0415 - absent on Windows, where all else of palpate runs
            import tty  # noqa: PLC0415
        except ImportError as error:
            raise PalpateError(
                "the keyboard glove reads single keys from a POSIX terminal, which this system lacks; "
                "run it on Linux or macOS (over ssh will do), or take --glove scripted"
            ) from error
        self._termios, self._tty = termios, tty
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        if not os.isatty(self._descriptor):
            raise PalpateError(
                "the keyboard glove reads keys, and the standard input is no terminal; start the command in a terminal without a pipe "
                "(ssh -t HOST ..., docker run -it ...), or take --glove scripted"
            )

    def __enter__(self) -> "TerminalKeys":
        """Take single keys from now on, unechoed. Ctrl-C still interrupts."""
        self._before = self._termios.tcgetattr(self._descriptor)
        self._tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Give the terminal back as it was, without the keys that nobody has read."""
        self._termios.tcsetattr(self._descriptor, self._termios.TCSAFLUSH, self._before)

    def pressed(self) -> str:
        """Return the characters since the last call; see `Keys`."""
        out = b""
        while select.select([self._descriptor], [], [], 0.0)[0]:
            try:
                got = os.read(self._descriptor, 4096)
            except OSError as error:
                raise GloveError(f"the terminal is gone: {error}") from error
            if not got:
                raise GloveError("the terminal is closed")
            out += got
        return out.decode("utf-8", "ignore")


class KeyboardGlove:
    """Implements `palpate.robots.glove.Glove`."""

    def __init__(self, keys: Keys, *, rate_hz: float = 30.0) -> None:
        """Take where presses come from; `read` is called so often a second."""
        self._keys, self._period = keys, 1.0 / rate_hz
        self.reset()

    def reset(self) -> None:
        """Open the hand for a new demonstration; presses that came before it do not count."""
        self._keys.pressed()
        self.bend, self.felt = np.zeros(6), np.zeros(6)
        self.wants_lift = False
        self.wish: Wish = "go on"
        self._time = 0.0

    def read(self) -> GloveSample:
        """Do what the keys since the last call say and return where the fingers are.

        Raises:
            GloveError: the terminal is gone; `wish` is then `stop`.
        """
        self._time += self._period
        try:
            text = self._keys.pressed()
        except GloveError:
            self.wish = "stop"
            raise
        for key, times in Counter(_ESCAPE.sub("", text)).items():
            self._press(key, min(times, MOST_STEPS))
        return GloveSample(angles=self.bend.copy(), time=self._time)

    def feel(self, torque: np.ndarray, angle: np.ndarray) -> None:
        """Keep the torque (6,), which the person sees and by which `space` stops each finger. A keyboard cannot resist."""
        self.felt = np.asarray(torque, float).copy()

    def _press(self, key: str, times: int) -> None:
        if key in _WISHES:
            self.wish = _WISHES[key]
        elif key == "l":
            self.wants_lift = True
        elif key == " ":
            self._close(times)
        elif key == "m":
            self._bend((self.felt > 0.0) & (np.arange(6) != _SWING), times)
        elif key == "b":
            self._bend(np.arange(6) != _SWING, -times)
        elif key.lower() in FINGER_KEYS:
            self._bend(np.arange(6) == FINGER_KEYS.index(key.lower()), times if key.islower() else -times)

    def _close(self, times: int) -> None:
        """Swing the thumb under the palm first: a thumb that swings later pushes the object away."""
        if self.bend[_SWING] < 1.0:
            self._bend(np.arange(6) == _SWING, times)
        else:
            self._bend(~(self.felt > 0.0) & (np.arange(6) != _SWING), times)

    def _bend(self, joints: np.ndarray, times: int) -> None:
        step = np.where(np.arange(6) == _SWING, SWING_STEP, STEP)
        self.bend = np.where(joints, np.clip(self.bend + times * step, 0.0, 1.0), self.bend)
