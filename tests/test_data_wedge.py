"""The importer of Wedge squeezes and the reader of strangers' pickles, on made-up trials and on the real ones."""

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError
from palpate.data.external.restricted_pickle import load_pickle, load_series
from palpate.data.external.wedge import import_wedge, read_corners, upright
from palpate.data.reader import open_dataset
from press_fakes import press, write_video

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "gelsight_wedge_compliance"
CORNERS = "Name,x,y\ntopleft,8,8\ntopright,150,12\nbottomleft,10,110\nbottomright,148,105\n"


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))


def trial(folder, name, n=30, forces=None, frames=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / f"{name}.avi", press(n=n, on=8, off=20, ramp=4) if frames is None else frames, 30.0)
    dump(folder / f"{name}_forces.pkl", np.linspace(0, 9, n) if forces is None else forces)
    dump(folder / f"{name}_widths.pkl", np.linspace(0.08, 0.05, n))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "wedge_config").mkdir(parents=True)
    (folder / "wedge_config" / "config_100.csv").write_text(CORNERS)
    trial(folder / "day1", "red_ball_2")
    trial(folder / "day2", "bolt__t=0")
    return folder


def test_trials_become_episodes(source, tmp_path):
    done = import_wedge(source, tmp_path / "out")
    assert (done.episodes, done.left_out, done.unlabelled) == (2, (), ())
    first, second = open_dataset(done.out)
    assert first.task == "press"
    assert first.groups == {"object": "red_ball", "date": "day1", "take": "day1/red_ball/2"}
    assert second.groups["object"] == "bolt"
    assert first.labels == {}
    pad, force, width = (first.streams[n] for n in ("touch.pad", "gripper.force", "gripper.width"))
    assert (pad.spec.kind, pad.spec.shape, len(pad.times)) == ("rgb", (300, 400, 3), 30)
    np.testing.assert_allclose(np.diff(pad.times), 1 / 30, atol=1e-6)
    np.testing.assert_allclose(force.values[:, 0], np.linspace(0, 9, 30))
    np.testing.assert_allclose(width.values[[0, -1], 0], [0.08, 0.05])
    assert (force.spec.unit, width.spec.unit) == ("N", "m")


def test_bad_trials_are_left_out_and_named(source, tmp_path):
    trial(source / "day2", "short_0", forces=np.zeros(29))
    trial(source / "day2", "other_1", frames=press(n=30, rows=60, cols=80))
    trial(source / "day2", "nameless")
    trial(source / "day2", "holes_1", forces=np.array([np.nan] * 30))
    (source / "day2" / "novideo_1.avi").write_bytes(b"RIFF nothing")
    trial(source / "day2", "lonely_1")
    (source / "day2" / "lonely_1_widths.pkl").unlink()
    done = import_wedge(source, tmp_path / "out")
    assert done.episodes == 2
    lines = "\n".join(done.left_out)
    assert len(done.left_out) == 6
    for message in (
        "30 frames (0 more promised), 29 forces and 30 widths",
        "pictures of 80 x 60, the others have 160 x 120",
        "no take number",
        "one row of finite numbers",
        "no picture can be decoded",
        "lonely_1_widths.pkl does not exist",
    ):
        assert message in lines


def test_nothing_to_import_is_an_error(source, tmp_path):
    with pytest.raises(DataError, match=r"no \.avi"):
        import_wedge(source / "wedge_config", tmp_path / "out")
    for path in source.rglob("*_forces.pkl"):
        dump(path, np.zeros(3))
    with pytest.raises(DataError, match="nothing could be imported"):
        import_wedge(source, tmp_path / "out")
    (source / "wedge_config" / "config_100.csv").unlink()
    with pytest.raises(DataError, match="corners of the gel"):
        import_wedge(source, tmp_path / "other")
    (tmp_path / "c.csv").write_text("Name,x,y\ntopleft,1,2\n")
    with pytest.raises(DataError, match="topright"):
        import_wedge(source, tmp_path / "other", corners=tmp_path / "c.csv")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_named_and_does_nothing(tmp_path):
    trap = tmp_path / "trap"
    for content in (Malicious(trap), np.array([Malicious(trap), 1], object), {"forces": [Malicious(trap)]}):
        dump(tmp_path / "evil.pkl", content)
        with pytest.raises(DataError, match=r"evil\.pkl is refused: it asks for (posix|nt)\.mkdir"):
            load_pickle(tmp_path / "evil.pkl")
    assert not trap.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_are_read(tmp_path, protocol):
    value = np.linspace(0, 1, 5)
    dump(tmp_path / "a.pkl", value, protocol)
    if protocol < 3:  # these name _codecs.encode, which is not needed for the files in use
        with pytest.raises(DataError, match=r"_codecs\.encode"):
            load_series(tmp_path / "a.pkl")
    else:
        np.testing.assert_array_equal(load_series(tmp_path / "a.pkl"), value)


def test_what_is_no_series_is_refused(tmp_path):
    dump(tmp_path / "list.pkl", [1, 2.5])
    np.testing.assert_array_equal(load_series(tmp_path / "list.pkl"), [1, 2.5])
    for name, content in {"text": "abc", "square": np.zeros((2, 2)), "hole": [1.0, np.nan], "words": ["a"]}.items():
        dump(tmp_path / f"{name}.pkl", content)
        with pytest.raises(DataError, match=f"{name}.pkl"):
            load_series(tmp_path / f"{name}.pkl")
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps(np.zeros(100))[:50])
    with pytest.raises(DataError, match=r"cut\.pkl is refused"):
        load_series(tmp_path / "cut.pkl")


def test_the_real_corners_give_the_authors_picture():
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    raw = cv2.imread(str(REAL / "wedge_config" / "init_frame_unwarped.png"))
    want = cv2.imread(str(REAL / "wedge_config" / "init_frame.png"))
    got = upright(raw, read_corners(REAL / "wedge_config" / "config_100.csv"))
    assert np.abs(got.astype(float) - want).mean() < 0.05


def test_real_trials_read(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    done = import_wedge(REAL / "2024-01-10", tmp_path / "out", corners=REAL / "wedge_config" / "config_100.csv")
    assert (done.episodes, done.left_out) == (6, ())
    assert {e.groups["object"] for e in open_dataset(done.out)} == {"bolt", "rose_eraser"}


def test_the_command_lists_bad_trials_and_goes_on(source, tmp_path, capsys):
    bad = next(source.glob("*/*.avi"))
    bad.write_bytes(b"no video")
    assert main(["import", "wedge", str(source), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "left out: " in told and bad.stem in told and "gripper.force" in told
