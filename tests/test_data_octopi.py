"""The importer of PhysiCLeAR clips, on made-up clips and on some of the real ones."""

from pathlib import Path

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError
from palpate.data.external.octopi import import_octopi, read_ranks
from palpate.data.reader import open_dataset
from press_fakes import press, write_video

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "octopi_physiclear"
HEADER = "object,upstream_split,hardness_rank,roughness_rank,texture_rank,material\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "labels.csv").write_text(HEADER + "soft_ball,train,0,1,1,rubber\nstone,train,2,,1,stone\n")
    write_video(folder / "soft_ball_0.mov", press())
    write_video(folder / "soft_ball_1.mov", press(n=24, on=8, off=20, ramp=4), 10.0)
    write_video(folder / "stone_0.mov", press(n=12))
    write_video(folder / "thing_nobody_ranked_0.mov", press(n=12))
    return folder


def test_clips_become_episodes_and_unknown_stays_unknown(source, tmp_path):
    done = import_octopi(source, tmp_path / "out")
    assert done.episodes == 4
    assert done.left_out == ()
    assert done.unlabelled == ("stone", "thing_nobody_ranked")
    soft, slow, stone, thing = open_dataset(done.out)
    assert soft.labels == {"hardness_rank": 0.0, "roughness_rank": 1.0}
    assert stone.labels == {"hardness_rank": 2.0, "roughness_rank": None}
    assert thing.labels == {"hardness_rank": None, "roughness_rank": None}
    assert soft.groups == {"object": "soft_ball", "setting": "25 Hz", "take": "soft_ball/0"}
    assert slow.groups["setting"] == "10 Hz"
    assert (soft.streams["touch.pad"].spec.kind, soft.streams["touch.pad"].spec.shape) == ("rgb", (120, 160, 3))
    np.testing.assert_allclose(np.diff(soft.streams["touch.pad"].times), 0.04, atol=1e-3)
    np.testing.assert_allclose(np.diff(slow.streams["touch.pad"].times), 0.1, atol=1e-3)


def test_bad_clips_are_left_out_and_named(source, tmp_path):
    write_video(source / "stone_1.mov", press(n=12, rows=60, cols=80))
    (source / "stone_2.mov").write_bytes(b"no video at all")
    done = import_octopi(source, tmp_path / "out")
    assert done.episodes == 4
    assert "pictures of 80 x 60, the others have 160 x 120" in done.left_out[0]
    assert "no picture can be decoded" in done.left_out[1]


def test_a_folder_or_table_that_does_not_fit_is_told(source, tmp_path):
    with pytest.raises(DataError, match=r"no \.mov"):
        import_octopi(tmp_path, tmp_path / "out")
    table = source / "labels.csv"
    table.write_text("object,hardness_rank\na,1\n")
    with pytest.raises(DataError, match="roughness_rank is missing"):
        read_ranks(table)
    table.write_text(HEADER + "a,train,3,1,1,x\n")
    with pytest.raises(DataError, match="row 2, column hardness_rank: '3'; allowed: 0, 1, 2"):
        read_ranks(table)
    table.unlink()
    with pytest.raises(DataError, match=r"labels\.csv does not exist"):
        import_octopi(source, tmp_path / "out")


def test_real_ranks_and_cut_clips_read(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    ranks = read_ranks(REAL / "labels.csv")
    assert len(ranks) == 60
    assert [sum(r["hardness_rank"] == k for r in ranks.values()) for k in (0, 1, 2)] == [9, 24, 27]
    part = tmp_path / "part"
    part.mkdir()
    for name in ("labels.csv", "hairbrush_bristles_side_4.mov", "tv_remote_back_3.mov"):
        (part / name).symlink_to(REAL / name)
    done = import_octopi(part, tmp_path / "out")
    assert done.episodes == 2
    assert [len(e.streams["touch.pad"].times) for e in open_dataset(done.out)] == [3, 7]


def test_the_command_says_what_is_without_label(source, tmp_path, capsys):
    assert main(["import", "octopi", str(source), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "label hardness_rank" in told and "without label, and never scored: stone, thing_nobody_ranked" in told
    assert main(["import", "octopi", str(tmp_path), "--out", str(tmp_path / "no")]) == 1
    assert "palpate import octopi: " in capsys.readouterr().err
