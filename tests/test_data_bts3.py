"""The importer of BTS3, on made-up files and on the real ones."""

from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.data.external.bts3 import COLUMNS, read_bts3
from palpate.data.reader import open_dataset
from palpate.data.splits import grouped_folds
from palpate.data.writer import EpisodeWriter

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "bts3_biotac_shadow"


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return [[f"object_{i % 3}", str(i % 2), *rng.integers(5, 3975, 72).astype(str)] for i in range(n)]


def write(path, lines, header=COLUMNS):
    path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")
    return path


def test_rows_become_episodes(tmp_path):
    lines = rows(4)
    first = write(tmp_path / "bts3v2_palm_45.csv", lines)
    second = write(tmp_path / "my_grasps.csv", rows(2, seed=1), header=COLUMNS)
    episodes = list(read_bts3([first, second]))
    assert [e.index for e in episodes] == [0, 1, 2, 3, 4, 5]
    assert episodes[1].groups == {"object": "object_1", "pose": "palm_45", "file": "bts3v2_palm_45.csv"}
    assert episodes[5].groups["pose"] == "my_grasps"
    assert [e.labels["stable"] for e in episodes[:4]] == [1.0, 0.0, 1.0, 0.0]
    for k, finger in enumerate(("ff", "mf", "th")):
        stream = episodes[2].streams[f"touch.{finger}"]
        assert (stream.spec.kind, stream.spec.shape, stream.times.tolist()) == ("taxels", (24, 1), [0.0])
        np.testing.assert_array_equal(stream.values[0, :, 0], np.array(lines[2][2 + 24 * k : 26 + 24 * k], np.float32))


def test_columns_are_found_by_name_whatever_their_order(tmp_path):
    order = np.random.default_rng(0).permutation(len(COLUMNS))
    lines = rows(2)
    path = write(
        tmp_path / "a.csv",
        [[*(line[i] for i in order), "note"] for line in lines],
        header=[*(COLUMNS[i] for i in order), "extra"],
    )
    plain = list(read_bts3(write(tmp_path / "b.csv", lines)))
    for got, want in zip(read_bts3(path), plain, strict=True):
        np.testing.assert_array_equal(got.streams["touch.th"].values, want.streams["touch.th"].values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, r: h.remove("mf_biotac_7"), r"a\.csv row 1: column mf_biotac_7 is missing \(1 of 74"),
        (lambda h, r: r[1].__setitem__(10, ""), r"a\.csv row 3, column ff_biotac_9: '' is not a number"),
        (lambda h, r: r[0].__setitem__(73, "n/a"), r"a\.csv row 2, column th_biotac_24: 'n/a' is not a number"),
        (lambda h, r: r[0].__setitem__(5, "nan"), r"row 2, column ff_biotac_4"),
        (lambda h, r: r[2].__setitem__(1, "2"), r"row 4, column slipped: '2'; it must be 0"),
        (lambda h, r: r[2].__setitem__(0, ""), r"row 4, column object: empty"),
        (lambda h, r: r[2].pop(), r"row 4, column th_biotac_24: 73 cells"),
        (lambda h, r: r[2].append("1"), r"row 4, column number 75: 75 cells"),
        (lambda h, r: r.clear(), r"a\.csv holds a header and no grasps"),
        (lambda h, r: (h.clear(), r.clear()), r"a\.csv row 1: column object is missing"),
    ],
)
def test_a_bad_file_is_told_by_row_and_column(tmp_path, change, message):
    header, lines = list(COLUMNS), rows(3)
    change(header, lines)
    path = write(tmp_path / "a.csv", lines, header)
    with pytest.raises(DataError, match=message):
        list(read_bts3(path))


def test_an_absent_file_and_a_folder_without_files_are_told(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(read_bts3(tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"no \.csv file"):
        list(read_bts3(tmp_path))
    (tmp_path / "x.csv").write_bytes(b"object,\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        list(read_bts3(tmp_path))


def test_the_real_set_reads_whole(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    episodes = list(read_bts3(REAL))
    assert len(episodes) == 4682
    assert sum(e.labels["stable"] == 0.0 for e in episodes) == 2354
    poses = [e.groups["pose"] for e in episodes]
    assert {p: poses.count(p) for p in set(poses)} == {"palm_down": 1276, "palm_side": 1273, "palm_45": 2133}
    objects = np.array([e.groups["object"] for e in episodes])
    assert len(set(objects)) == 41
    folds = grouped_folds(objects, 5, 0)
    assert np.ptp(np.bincount(folds)) <= 127
    values = np.stack([s.values for e in episodes for s in e.streams.values()])
    assert (values.min(), values.max()) == (5, 3975)
    with EpisodeWriter.create(tmp_path / "d", task="bts3") as writer:
        for episode in episodes[:120]:
            writer.write(episode)
    reader = open_dataset(tmp_path / "d")
    assert reader.summary()["episodes"] == 120
    np.testing.assert_array_equal(reader[101].streams["touch.mf"].values, episodes[101].streams["touch.mf"].values)
