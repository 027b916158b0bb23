"""The mapping from glove to hand: Table 1, its own fit, bad samples, bad recordings, files."""

import json

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.robots.glove_mapping import (
    JOINTS,
    SOFTGRASP_TABLE_1,
    TABLE_1_ORDERS,
    fit_joint,
    fit_mapping,
    map_angles,
    read_mapping,
    read_recording,
    write_mapping,
)


def sampled(n=400, bad=0, seed=0):
    """A recording (n, 6) of both that follows Table 1 with its noise; the first `bad` rows of the hand are nonsense."""
    rng = np.random.default_rng(seed)
    glove = np.stack([rng.uniform(joint.low, joint.high, n) for joint in SOFTGRASP_TABLE_1], axis=1)
    hand = map_angles(SOFTGRASP_TABLE_1, glove) + rng.normal(size=glove.shape) * [j.deviation for j in SOFTGRASP_TABLE_1]
    hand[:bad] = rng.uniform(-1.0, 2.0, (bad, 6))
    return glove, hand


def test_table_1_rises_from_open_to_closed_inside_its_ranges():
    assert tuple(joint.joint for joint in SOFTGRASP_TABLE_1) == JOINTS
    for joint, order in zip(SOFTGRASP_TABLE_1, TABLE_1_ORDERS, strict=True):
        assert len(joint.coefficients) == order + 1
        curve = joint(np.linspace(joint.low, joint.high, 500))
        assert (np.diff(curve) > 0).all(), joint.joint
        assert -0.01 < curve[0] < 0.08 and 0.99 < curve[-1] < 1.005, joint.joint


@pytest.mark.parametrize("bad", [0, 60])
def test_a_fit_finds_table_1_again_from_noisy_samples_of_it(bad):
    glove, hand = sampled(bad=bad)
    fitted = fit_mapping(glove, hand)
    for printed, found in zip(SOFTGRASP_TABLE_1, fitted, strict=True):
        inside = np.linspace(found.low, found.high, 200)
        np.testing.assert_allclose(found(inside), printed(inside), atol=printed.deviation, err_msg=printed.joint)
        np.testing.assert_allclose(found.deviation, printed.deviation, rtol=0.15, err_msg=printed.joint)
        assert found.samples == 400 and 0.8 * bad <= found.rejected <= bad + 8, printed.joint


def test_bad_samples_would_have_spoilt_plain_least_squares():
    glove, hand = sampled(bad=60)
    plain = np.polyval(np.polyfit(glove[:, 0], hand[:, 0], 3), glove[60:, 0])
    assert np.abs(plain - SOFTGRASP_TABLE_1[0](glove[60:, 0])).max() > 5 * SOFTGRASP_TABLE_1[0].deviation


def test_angles_outside_the_calibrated_range_are_clamped():
    thumb = SOFTGRASP_TABLE_1[4]
    assert np.polyval(thumb.coefficients, 0.0) > 9.0
    np.testing.assert_allclose(thumb(np.array([-1.0, 0.0, thumb.low])), thumb(thumb.low), rtol=0)
    np.testing.assert_allclose(thumb(5.0), thumb(thumb.high), rtol=0)
    low, high = (map_angles(SOFTGRASP_TABLE_1, np.full((2, 6), v))[0] for v in (0.0, 1.0))
    assert (np.abs(low) < 0.08).all() and (np.abs(high - 1.0) < 0.01).all()


def test_a_falling_curve_is_a_mapping_too():
    glove = np.linspace(0, 1, 60)
    found = fit_joint("index", glove, 1.0 - glove**2, 3)
    np.testing.assert_allclose(found(np.array([0.0, 0.5, 1.0])), [1.0, 0.75, 0.0], atol=1e-9)
    assert found.rejected == 0


def broken(change):
    glove, hand = sampled(60)
    change(glove, hand)
    return glove[:, 0], hand[:, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, h: h.__setitem__((7, 0), np.nan), "1 samples are not finite, the first is number 7"),
        (lambda g, h: g.__setitem__((slice(None), 0), 0.5), "the glove took 1 different angles"),
        (lambda g, h: h.__setitem__((slice(None), 0), np.sin(8 * g[:, 0])), "turns back"),
        (lambda g, h: h.__setitem__((slice(0, 30), 0), np.random.default_rng(0).uniform(0, 9, 30)), "no curve of order 3 fits"),
    ],
)
def test_recordings_that_give_no_mapping_are_refused_with_the_reason(change, message):
    with pytest.raises(DataError, match=f"joint little: .*{message}"):
        fit_joint("little", *broken(change), 3)


def test_too_few_samples_and_wrong_shapes_are_refused():
    glove, hand = sampled(15)
    with pytest.raises(DataError, match="15 samples; order 3 needs 16"):
        fit_joint("little", glove[:, 0], hand[:, 0], 3)
    with pytest.raises(DataError, match="order 4; allowed: 3, 5"):
        fit_joint("little", glove[:, 0], hand[:, 0], 4)
    with pytest.raises(DataError, match=r"both must be \(T,\)"):
        fit_joint("little", glove[:, 0], hand[:10, 0], 3)
    with pytest.raises(DataError, match=r"needed are \(T, 6\)"):
        fit_mapping(glove[:, :5], hand[:, :5])


def test_recordings_come_from_csv_and_npz_alike(tmp_path):
    glove, hand = sampled(40)
    np.savez(tmp_path / "r.npz", glove=glove, hand=hand)
    names = [f"hand_{j}" for j in JOINTS] + ["time"] + [f"glove_{j}" for j in JOINTS]
    rows = np.column_stack([hand, np.arange(40), glove])
    lines = [",".join(names)] + [",".join(repr(float(v)) for v in row) for row in rows]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    for name in ("r.npz", "r.csv"):
        got = read_recording(tmp_path / name)
        np.testing.assert_array_equal(got[0], glove)
        np.testing.assert_array_equal(got[1], hand)
    (tmp_path / "r.csv").write_text("\n".join(lines[:3]).replace("hand_ring", "hand_rng"))
    with pytest.raises(DataError, match="column hand_ring is missing"):
        read_recording(tmp_path / "r.csv")
    (tmp_path / "r.csv").write_text(f"{lines[0]}\n{lines[1].rpartition(',')[0]},x\n")
    with pytest.raises(DataError, match="row 2, column glove_thumb_swing: 'x' is not a number"):
        read_recording(tmp_path / "r.csv")


def test_files_that_are_no_recording_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", glove=np.zeros((3, 6)))
    with pytest.raises(DataError, match=r"a\.npz has no array 'hand'"):
        read_recording(tmp_path / "a.npz")
    np.savez(tmp_path / "o.npz", glove=np.array([{}], object), hand=np.zeros(1))
    with pytest.raises(DataError, match=r"o\.npz is damaged or holds other"):
        read_recording(tmp_path / "o.npz")
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(DataError, match=r"\.csv or \.npz"):
        read_recording(tmp_path / "b.txt")
    with pytest.raises(DataError, match="is no file"):
        read_recording(tmp_path / "c.csv")


def test_a_mapping_comes_back_from_its_file_exactly(tmp_path):
    fitted = fit_mapping(*sampled())
    write_mapping(tmp_path / "m.json", fitted)
    assert read_mapping(tmp_path / "m.json") == fitted
    write_mapping(tmp_path / "t.json", SOFTGRASP_TABLE_1)
    assert read_mapping(tmp_path / "t.json") == SOFTGRASP_TABLE_1


def test_other_files_are_no_mapping(tmp_path):
    path = tmp_path / "m.json"
    write_mapping(path, SOFTGRASP_TABLE_1)
    content = json.loads(path.read_text())
    for change, message in (
        ({"version": 2}, "version 2"),
        ({"joints": content["joints"][::-1]}, "in this order"),
        ({"joints": [{"joint": "little"}]}, "no glove mapping"),
        ({"format": "x"}, "format 'x'"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(DataError, match=message):
            read_mapping(path)
    path.write_text("[1]")
    with pytest.raises(DataError, match="no glove mapping"):
        read_mapping(path)
    with pytest.raises(DataError, match="does not exist"):
        read_mapping(tmp_path / "absent.json")
