"""Demonstrations of SoftGrasp one after another, by the scripted person or by hand at a keyboard (Section 3.1).

The data set is that of `palpate collect softgrasp`: same streams, stages and labels. Each demonstration is safe on disk before the next
begins; one in flight is lost if the program is interrupted.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import cv2
import numpy as np

from palpate.core.errors import PalpateError
from palpate.core.records import Command, Episode, Observation
from palpate.core.rollout import steer
from palpate.data.writer import EpisodeWriter
from palpate.recipes.softgrasp_task import GloveController, SoftgraspTask, finished, immersion_config
from palpate.robots.glove_mapping import JOINTS
from palpate.robots.immersion import feedback_torque
from palpate.robots.keyboard_glove import HELP, KEYBOARD_MAPPING, KeyboardGlove, Keys, TerminalKeys
from palpate.worlds.softgrasp import SoftgraspConfig, SoftgraspWorld

PATIENCE = 120.0
"""A demonstration at the keyboard that was not lifted ends after this time [s]; the scripted person never needs so long."""
SHORTEST = 1.0
"""Less is no demonstration [s]."""
SHOWN_EVERY = 4
"""Periods from one redrawing to the next: 7.5 times a second, about 50 kB/s over ssh."""
PICTURE_SCALE = 3
"""The camera's picture is written so much larger than it was taken."""
_BAR, _FELT_BAR = 24, 12
_LINES = 3 + len(JOINTS) + len(HELP)


@dataclass(frozen=True, kw_only=True)
class TeleopConfig:
    """Where demonstrations go, of what, and with which glove."""

    out: Path
    object: int
    """ID of Table 2."""
    glove: Literal["scripted", "keyboard"] = "scripted"
    demos: int = 1
    """Demonstrations to add."""
    seed: int = 0
    rate_hz: float = 30.0
    """Periods in a second of the clock on the wall; 30 is real time, less is slow motion, 0 as fast as it goes."""
    picture: Path | None = None
    """File that always holds the newest camera picture; None: with the keyboard `OUT-camera.png`, else no file."""
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no demonstration."""
        if self.demos < 1:
            raise PalpateError(f"--demos {self.demos}: at least 1 is needed")
        if not 0.0 <= self.rate_hz <= 1000.0:
            raise PalpateError(f"--rate-hz {self.rate_hz:g}: give 30 for real time, less for slow motion, 0 for no waiting")
        if self.picture is not None and self.picture.suffix not in (".png", ".jpg"):
            raise PalpateError(f"--picture {self.picture}: the name must end in .png or .jpg")


class WatchedWorld(SoftgraspWorld):
    """The world with somebody in front of it, who sees each period and may end the episode."""

    def __init__(
        self, config: SoftgraspConfig, watch: Callable[[Observation], None], ends: Callable[[], bool] = lambda: False
    ) -> None:
        """Call `watch` with what is sensed in each period; the episode is over when `ends` says so, or the world."""
        super().__init__(config)
        self._watcher, self._ends, self._ended = watch, ends, False

    def begin(self, seed: int, index: int) -> Observation:
        """Begin as the world does."""
        self._ended = False
        observation = super().begin(seed, index)
        self._watcher(observation)
        return observation

    def step(self, command: Command) -> Observation:
        """Step as the world does, then look."""
        observation = super().step(command)
        self._watcher(observation)
        self._ended = self._ends()
        return observation

    @property
    def done(self) -> bool:
        """Whether the person or the world has ended the episode."""
        return self._ended or super().done


@dataclass(kw_only=True)
class Pace:
    """Keeps to a rate on the clock on the wall."""

    rate_hz: float
    """0: never waits."""
    periods: int = 0
    late: int = 0
    """Periods that took longer than they should."""
    _next: float = 0.0

    def wait(self) -> None:
        """Wait until the next period begins."""
        self.periods += 1
        if self.rate_hz == 0.0:
            return
        now, period = time.perf_counter(), 1.0 / self.rate_hz
        if now > self._next + period:  # the first period, or one that was late: what is lost is not made up for
            self.late += self._next > 0.0
            self._next = now
        else:
            time.sleep(max(self._next - now, 0.0))
        self._next += period

    def rest(self) -> None:
        """Forget the clock: between demonstrations nothing is late."""
        self._next = 0.0

    def complaint(self) -> str:
        """Return what to say if this machine was too slow, else nothing."""
        if self.late <= 0.05 * self.periods:
            return ""
        return (
            f"this machine was too slow for {self.rate_hz:g} periods a second in {self.late} of {self.periods} periods: what was seen was "
            "slower than it is in the data; close other programs, or choose a lower --rate-hz"
        )


@dataclass(kw_only=True)
class Screen:
    """Shows a demonstration while it goes on: in place on a terminal, elsewhere one line a second."""

    stream: TextIO
    title: str = ""
    picture: Path | None = None
    help: tuple[str, ...] = ()
    _periods: int = 0
    _drawn: int = 0
    _most: float = field(default_factory=lambda: immersion_config().max_feedback)

    def show(self, observation: Observation, felt: np.ndarray, glove: np.ndarray | None) -> None:
        """Draw now if it is time to.

        Args:
            observation: of this period.
            felt: (6,) torque that the glove gives [N m].
            glove: (6,) bends that the person asks for; None if not known.
        """
        self._periods += 1
        if self._periods % SHOWN_EVERY != 1:
            return
        if self.picture is not None and observation.camera is not None:
            _write_picture(self.picture, observation.camera.rgb)
        if self.stream.isatty():
            self._draw([*self._panel(observation, felt, glove), *self._view(observation), *self.help])
        elif self._periods % (8 * SHOWN_EVERY) == 1:
            self.stream.write(f"{self.title}  {progress_line(observation, felt)}\n")
            self.stream.flush()

    def leave(self) -> None:
        """Let what is written next stand below."""
        self._periods, self._drawn = 0, 0

    def _draw(self, lines: list[str]) -> None:
        back = f"\x1b[{self._drawn}A" if self._drawn else ""
        self.stream.write(back + "".join(f"\r{line}\x1b[0m\x1b[K\n" for line in lines))
        self.stream.flush()
        self._drawn = len(lines)

    def _panel(self, observation: Observation, felt: np.ndarray, glove: np.ndarray | None) -> list[str]:
        bend = 1.0 - np.asarray(observation.joint_position)
        lines = [f"{self.title}   {observation.time:5.1f} s"]
        lines.append(f"{'':12}{'bend, 0 open to 1 closed':<{_BAR + 9}}felt, up to {self._most:g} N m")
        for i, joint in enumerate(JOINTS):
            mark = None if glove is None else glove[i]
            lines.append(
                f"{joint:12}{bar(bend[i], _BAR, mark)} {bend[i]:5.2f}   {bar(felt[i] / self._most, _FELT_BAR)} {felt[i]:5.3f}  "
                f"{_felt_as(felt[i], self._most)}"
            )
        return lines

    def _view(self, observation: Observation) -> list[str]:
        """Return the camera's picture as coloured text, as large as the terminal has room for."""
        columns, rows = shutil.get_terminal_size()
        if observation.camera is None:
            return []
        h, w = observation.camera.rgb.shape[:2]
        room = min(columns - 1, 64, 2 * (rows - _LINES - 1) * w // h)
        return text_picture(observation.camera.rgb, room) if room >= 24 else []


def bar(share: float, width: int, mark: float | None = None) -> str:
    """Return a share from 0 to 1 as a bar of so many characters, with `|` where `mark` is."""
    filled = round(float(np.clip(share, 0.0, 1.0)) * width)
    cells = ["#"] * filled + ["."] * (width - filled)
    if mark is not None:
        cells[min(int(np.clip(mark, 0.0, 1.0) * width), width - 1)] = "|"
    return "".join(cells)


def _felt_as(felt: float, most: float) -> str:
    return "" if felt <= 0.0 else "FIRM" if felt >= most else "touches"


def progress_line(observation: Observation, felt: np.ndarray) -> str:
    """Return one line on what hand and person do: time, bends in per cent, torque felt."""
    bend = np.abs(np.rint(100.0 * (1.0 - np.asarray(observation.joint_position))))  # no "-0" from noise
    bends = " ".join(f"{b:3.0f}" for b in bend)
    feels = ", ".join(f"{joint} {t:.3f}" for joint, t in zip(JOINTS, felt, strict=True) if t > 0.0)
    return f"{observation.time:4.1f} s  bend {bends} %  feels {feels + ' N m' if feels else 'nothing'}"


def text_picture(rgb: np.ndarray, columns: int) -> list[str]:
    """Return a picture (H, W, 3) uint8 as lines of half blocks in 256 colours, two rows of pixels a line."""
    rows = 2 * max(1, round(columns * rgb.shape[0] / rgb.shape[1] / 2))
    small = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA).astype(int)
    colour = 16 + ((small * 5 + 127) // 255) @ np.array([36, 6, 1])  # the cube of 6 x 6 x 6
    lines = []
    for upper, lower in zip(colour[::2], colour[1::2], strict=True):
        line, last = "", (-1, -1)
        for pair in zip(upper.tolist(), lower.tolist(), strict=True):
            line += ("" if pair == last else f"\x1b[38;5;{pair[0]};48;5;{pair[1]}m") + "\u2580"
            last = pair
        lines.append(line)
    return lines


def _write_picture(path: Path, rgb: np.ndarray) -> None:
    """Replace the file by the newest picture; who watches it never sees half of one."""
    large = cv2.resize(rgb, None, fx=PICTURE_SCALE, fy=PICTURE_SCALE, interpolation=cv2.INTER_CUBIC)
    new = path.with_name(f".{path.name}{path.suffix}")
    if cv2.imwrite(str(new), cv2.cvtColor(large, cv2.COLOR_RGB2BGR)):
        new.replace(path)


def teleoperate(
    config: TeleopConfig, *, keys: Keys | None = None, stream: TextIO | None = None, tell: Callable[[str], None] = print
) -> Path:
    """Add demonstrations to a data set; return its folder.

    Args:
        config: where, of what, with which glove.
        keys: presses for the keyboard glove; None: the terminal's.
        stream: where the demonstration is shown; None: the standard error.
        tell: gets a line for each demonstration.

    Raises:
        PalpateError: an unknown object, no terminal for the keyboard, a folder with other data or a full disk.
    """
    SoftgraspWorld(SoftgraspConfig(objects=(config.object,)))  # a wrong object is found before the folder is made
    pace = Pace(rate_hz=config.rate_hz)
    picture = config.picture
    if picture is None and config.glove == "keyboard":
        picture = config.out.with_name(f"{config.out.name}-camera.png")
    screen = Screen(stream=stream or sys.stderr, picture=picture)
    about = {"recipe": "softgrasp teleop", "glove": config.glove}
    with (
        _demonstrator(config, keys, screen, pace) as demonstrate,
        EpisodeWriter.create(config.out, task="softgrasp", config=about, resume=config.resume) as writer,
    ):
        if picture is not None:
            tell(f"the camera's newest picture: {picture}")
        made = 0
        while made < config.demos:
            index = writer.next_index
            screen.title = f"object {config.object}, demonstration {made + 1} of {config.demos}"
            episode, becomes = demonstrate(index)
            screen.leave()
            pace.rest()
            if becomes == "stop":
                tell(f"stopped; {made} demonstrations were added, the one in flight was not")
                break
            if becomes != "keep":
                tell(becomes)
                continue
            writer.write(episode)
            made += 1
            tell(f"demonstration {index} of {episode.groups['object']}: {_came_of(episode)}")
    if pace.complaint():
        tell(pace.complaint())
    return config.out


Demonstrate = Callable[[int], tuple[Episode, str]]
"""From the number of a demonstration to its episode and what becomes of it: `keep`, `stop`, or why it is begun again."""


def _came_of(episode: Episode) -> str:
    held = {1.0: "lifted and held", 0.0: "lifted and lost", None: "not lifted"}[episode.labels["held"]]
    return f"{held}; {', '.join(f'{e.name} {e.time:.1f} s' for e in episode.events if ':' not in e.name)}"


@contextmanager
def _demonstrator(config: TeleopConfig, keys: Keys | None, screen: Screen, pace: Pace) -> Iterator[Demonstrate]:
    if config.glove == "scripted":
        yield _scripted(config, screen, pace)
    elif keys is not None:
        yield _by_hand(config, keys, screen, pace)
    else:
        with TerminalKeys() as terminal:
            yield _by_hand(config, terminal, screen, pace)


def _scripted(config: TeleopConfig, screen: Screen, pace: Pace) -> Demonstrate:
    """Return what lets the scripted person demonstrate, watched; the data are those of `palpate collect softgrasp`."""
    task = SoftgraspTask(world=SoftgraspConfig(objects=(config.object,)))

    def watch(observation: Observation) -> None:
        torque = np.asarray(observation.joint_torque)
        felt = feedback_torque(torque, task.immersion.contact_torque, task.immersion.max_feedback)
        screen.show(observation, felt, None)
        pace.wait()

    world = WatchedWorld(task.world, watch)
    return lambda index: (task.demonstrate(world, config.seed, index), "keep")


def _by_hand(config: TeleopConfig, keys: Keys, screen: Screen, pace: Pace) -> Demonstrate:
    """Return what lets a person at the keyboard demonstrate."""
    glove = KeyboardGlove(keys)
    screen.help = HELP

    def watch(observation: Observation) -> None:
        screen.show(observation, glove.felt, glove.bend)
        pace.wait()

    settings = SoftgraspConfig(objects=(config.object,), time_limit=PATIENCE)
    world = WatchedWorld(settings, watch, lambda: glove.wish != "go on")
    controller = GloveController(
        glove,
        lambda: glove.wants_lift,
        mapping=KEYBOARD_MAPPING,
        rate_hz=world.rate_hz,
        start=lambda rng: glove.reset(),
    )

    def demonstrate(index: int) -> tuple[Episode, str]:
        episode = controller.record(steer(world, controller, config.seed, index))
        if glove.wish == "stop":
            return episode, "stop"
        if glove.wish == "discard":
            return episode, "thrown away; the same again"
        if glove.wish == "go on" and not glove.wants_lift:
            return episode, f"not lifted within {PATIENCE:g} s and thrown away; the same again"
        if episode.streams["hand.joint_position"].times[-1] < SHORTEST:
            return episode, f"shorter than {SHORTEST:g} s and thrown away; the same again"
        return finished(episode), "keep"

    return demonstrate
