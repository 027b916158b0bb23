import io
import re

import cv2
import numpy as np
import pytest

from palpate.core.errors import PalpateError
from palpate.core.records import CameraFrame, Observation
from palpate.data.reader import open_dataset
from palpate.recipes.softgrasp_task import SoftgraspTask
from palpate.recipes.softgrasp_teleop import Pace, TeleopConfig, bar, progress_line, teleoperate, text_picture
from palpate.robots.keyboard_glove import SWING_STEP
from palpate.worlds.softgrasp import SoftgraspConfig

RIGID = 6


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Script:
    """Presses of one try after another, each (periods, last key): space all the time, a short squeeze, then the last key."""

    LIFT = 60
    """Periods of lift and hold."""

    def __init__(self, *tries):
        self.text = []
        for periods, key in tries:
            self.text += ["m" if 150 < k < 160 else " " for k in range(periods)] + [key]
            self.text += [""] * (self.LIFT if key == "l" else 0)

    def pressed(self):
        return self.text.pop(0) if self.text else "q"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    out, lines, screen = tmp_path_factory.mktemp("teleop") / "data", [], io.StringIO()
    config = TeleopConfig(out=out, object=RIGID, seed=5, rate_hz=0.0, picture=out.parent / "seen.png")
    teleoperate(config, stream=screen, tell=lines.append)
    return out, lines, screen.getvalue()


def test_the_scripted_demonstration_is_that_of_collecting(scripted):
    out, lines, _ = scripted
    task = SoftgraspTask(world=SoftgraspConfig(objects=(RIGID,)))
    want, got = task.demonstrate(task.build(), 5, 0), open_dataset(out)[0]
    assert (got.labels, got.events, got.groups) == (want.labels, want.events, want.groups)
    assert set(got.streams) == set(want.streams)
    np.testing.assert_array_equal(got.streams["hand.joint_torque"].values, want.streams["hand.joint_torque"].values)
    assert lines[-1].startswith("demonstration 0 of softgrasp-06: lifted and held; preparation 0.0 s, closing")


def test_without_a_terminal_a_line_a_second_tells_what_is_felt(scripted):
    lines = scripted[2].splitlines()
    assert 5 < len(lines) < 15
    assert lines[0].startswith("object 6, demonstration 1 of 1   0.0 s  bend") and lines[0].endswith("feels nothing")
    assert re.search(r"thumb_bend 0\.\d{3}.* N m$", lines[-1])


def test_the_newest_picture_is_a_file_that_can_be_watched(scripted):
    out = scripted[0]
    assert cv2.imread(str(out.parent / "seen.png")).shape == (360, 480, 3)
    assert [path.name for path in out.parent.iterdir() if path.is_file()] == ["seen.png"]


def test_a_demonstration_is_added_after_those_that_are_there_only_if_asked(scripted):
    out = scripted[0]
    again = {"out": out, "object": RIGID, "seed": 5, "rate_hz": 0.0}
    with pytest.raises(PalpateError, match="holds finished trials; go on with --resume"):
        teleoperate(TeleopConfig(**again), stream=io.StringIO(), tell=lambda line: None)
    with pytest.raises(PalpateError, match=r"config.glove: was 'scripted', now 'keyboard'"):
        teleoperate(TeleopConfig(**again, glove="keyboard", resume=True), keys=Script((1, "q")), stream=io.StringIO())


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Thrown away, then lifted, then stopped in flight."""
    out, lines, screen = tmp_path_factory.mktemp("keyboard") / "data", [], Terminal()
    config = TeleopConfig(out=out, object=RIGID, glove="keyboard", demos=3, rate_hz=0.0)
    teleoperate(config, keys=Script((20, "x"), (200, "l"), (40, "q")), stream=screen, tell=lines.append)
    return out, lines, screen.getvalue()


def test_a_person_at_the_keyboard_lifts_a_rigid_thing(by_hand):
    (episode,) = open_dataset(by_hand[0])
    assert episode.labels == {"held": 1.0, "lifted": 1.0} and episode.truth["success"] == 1.0
    assert {"closing", "clutching", "lift", "re-clutching"} <= {event.name for event in episode.events}
    assert {"glove.angle", "glove.torque", "glove.contact", "camera.rgb", "hand.command"} <= set(episode.streams)
    assert episode.streams["glove.torque"].values.max() > 0.05
    swing = episode.streams["glove.angle"].values[:, 5]
    np.testing.assert_allclose(np.diff(swing[:20]), SWING_STEP, atol=1e-6)


def test_what_is_thrown_away_or_in_flight_is_not_in_the_data(by_hand):
    out, lines, _ = by_hand
    assert open_dataset(out).indices.tolist() == [0]
    assert lines[1] == "thrown away; the same again"
    assert lines[-1] == "stopped; 1 demonstrations were added, the one in flight was not"


def test_a_terminal_shows_bars_keys_and_the_picture_in_place(by_hand):
    text = by_hand[2]
    panels = re.split(r"\x1b\[\d+A", text)
    assert len(panels) > 30
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", panels[-1])
    assert "object 6, demonstration 2 of 3" in plain and "squeeze with all fingers" in plain
    assert re.search(r"thumb_swing [#.|]{24}  \d\.\d\d   [#.]{12} \d\.\d{3}", plain)
    assert any(word in text for word in ("touches", "FIRM"))


def test_a_demonstration_that_ended_at_once_is_none(tmp_path):
    lines = []
    config = TeleopConfig(out=tmp_path / "data", object=RIGID, glove="keyboard", rate_hz=0.0)
    teleoperate(config, keys=Script((5, "\n"), (1, "q")), stream=io.StringIO(), tell=lines.append)
    assert lines[1] == "shorter than 1 s and thrown away; the same again"
    assert len(open_dataset(tmp_path / "data")) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"object": 13}, "unknown object of SoftGrasp '13'"),
        ({"demos": 0}, "--demos 0: at least 1"),
        ({"rate_hz": -1.0}, "--rate-hz -1: give 30 for real time"),
    ],
)
def test_wrong_settings_leave_no_folder(tmp_path, wrong, message):
    with pytest.raises(PalpateError, match=message):
        teleoperate(TeleopConfig(**{"out": tmp_path / "data", "object": 1, **wrong}))
    assert not (tmp_path / "data").exists()


def test_a_picture_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(PalpateError, match=r"must end in \.png or \.jpg"):
        TeleopConfig(out=tmp_path, object=1, picture=tmp_path / "seen.gif")


def test_the_pace_is_kept_and_a_slow_machine_is_told(monkeypatch):
    clock = [10.0]
    monkeypatch.setattr("palpate.recipes.softgrasp_teleop.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("palpate.recipes.softgrasp_teleop.time.sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    fast, slow = Pace(rate_hz=30.0), Pace(rate_hz=30.0)
    for _ in range(61):
        fast.wait()
        clock[0] += 0.01
    np.testing.assert_allclose(clock[0] - 10.0, 2.01, atol=1e-6)
    assert fast.complaint() == ""
    for _ in range(30):
        slow.wait()
        clock[0] += 0.08
    assert "too slow for 30 periods a second in 29 of 30" in slow.complaint()


def test_a_bar_shows_a_share_and_a_mark():
    assert bar(0.5, 8) == "####...." and bar(2.0, 4) == "####" and bar(0.5, 8, 1.0) == "####...|"


def test_a_progress_line_names_what_is_felt():
    seen = Observation(time=2.0, joint_position=np.array([1.001, 0.9, 1, 1, 0.5, 0]), joint_torque=np.zeros(6))
    line = progress_line(seen, np.array([0, 0, 0, 0, 0.1, 0]))
    assert line == " 2.0 s  bend   0  10   0   0  50 100 %  feels thumb_bend 0.100 N m"


def test_a_picture_becomes_half_blocks_of_its_colours():
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[4:] = (255, 0, 0)
    lines = text_picture(CameraFrame(rgb=rgb).rgb, 4)
    assert len(lines) == 2 and lines[0].count("\u2580") == 4
    assert "\x1b[38;5;16;48;5;16m" in lines[0] and "\x1b[38;5;196;48;5;196m" in lines[1]
