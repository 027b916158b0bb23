"""What a touch video tells before learning, on made-up presses whose truth is known; stiffness from force and width."""

import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError
from palpate.perception.press_features import NAMES, press_features, rise_speed, still_frames, strongest_frames
from palpate.perception.press_video import read_press
from palpate.perception.stiffness import force_onset, squeeze_stiffness
from press_fakes import clock, press


@pytest.mark.parametrize("seed", range(3))
def test_onset_and_peak_are_found(seed):
    on = 15 + 3 * seed
    reading = read_press(press(seed, on=on), clock())
    assert reading.problems == ()
    assert reading.onset is not None
    assert abs(reading.onset - on) <= 1
    assert on + 9 <= reading.peak < 40
    assert not reading.quiet[on + 3 : 40].any()
    assert reading.quiet[:on].all()
    assert reading.area[reading.peak] > 0.05 > reading.area[0]


def test_rest_is_the_gel_without_contact():
    frames = press(gain=60.0)
    reading = read_press(frames, clock())
    np.testing.assert_allclose(reading.rest, press(gain=0.0).mean(axis=0), atol=2.0)
    assert np.abs(frames[30].astype(float) - reading.rest).max() > 20


def test_another_size_and_rate_give_the_same_onset_in_seconds():
    small = read_press(press(on=20), clock())
    large = read_press(press(on=20, rows=240, cols=320), clock())
    slow = read_press(press(n=24, on=8, off=20, ramp=4), clock(24, 10.0))
    assert large.times[large.onset] == pytest.approx(small.times[small.onset], abs=0.05)
    assert slow.times[slow.onset] == pytest.approx(small.times[small.onset], abs=0.11)


def test_a_first_frame_left_over_from_another_take_is_told_and_not_used():
    frames = press()
    frames[0] = press(seed=0, on=0, centre=(0.3, 0.7))[15]
    reading = read_press(frames, clock())
    assert reading.problems == ("first_frame_leftover",)
    assert abs(reading.onset - 20) <= 1
    assert reading.peak > 20


def test_a_clip_that_begins_pressed_takes_rest_from_its_end():
    frames = press(on=-10, off=30)
    reading = read_press(frames, clock())
    assert "starts_in_contact" in reading.problems
    assert reading.onset is None
    np.testing.assert_allclose(reading.rest, press(gain=0.0).mean(axis=0), atol=2.0)


def test_a_clip_that_ends_pressed_is_told_and_keeps_its_onset():
    reading = read_press(press(off=1000), clock())
    assert reading.problems == ("ends_in_contact",)
    assert abs(reading.onset - 20) <= 1


def test_no_contact_is_an_answer():
    reading = read_press(press(gain=0.0), clock())
    assert reading.problems == ("no_contact",)
    assert reading.onset is None


def test_dropped_and_frozen_frames_are_told():
    frames, times = press(), clock()
    keep = np.delete(np.arange(60), [33, 34])
    assert read_press(frames[keep], times[keep]).problems == ("dropped_frames",)
    frames[10] = frames[9]
    assert read_press(frames, times).problems == ("frozen_frames",)


def test_what_is_no_press_video_is_refused_with_the_reason():
    frames = press()
    with pytest.raises(DataError, match=r"3 frames \(0.08 s\) is too short"):
        read_press(frames[:3], clock(3))
    with pytest.raises(RecordError, match="60 frames and times"):
        read_press(frames, clock(59))
    with pytest.raises(RecordError, match="uint8"):
        read_press(frames[..., 0], clock())
    with pytest.raises(RecordError, match="do not ascend"):
        read_press(frames, np.zeros(60))


def test_features_are_named_finite_and_the_control_sees_no_contact():
    weak, strong = (press(seed=1, gain=g) for g in (30.0, 60.0))
    readings = [read_press(f, clock()) for f in (weak, strong)]
    a, b = (dict(zip(NAMES, press_features(f, r), strict=True)) for f, r in zip((weak, strong), readings, strict=True))
    control = dict(zip(NAMES, press_features(strong, readings[1], contact=False), strict=True))
    assert np.isfinite([*a.values(), *b.values(), *control.values()]).all()
    for name in ("broad_red_blue", "change_p98"):
        assert b[name] - a[name] == pytest.approx(np.log(2), abs=0.15)
        assert b[name] - control[name] > 1.0


def test_control_frames_keep_away_from_the_press():
    reading = read_press(press(on=20), clock())
    still = still_frames(reading)
    assert reading.times[still].max() < reading.times[reading.onset] - 0.4
    assert reading.times[still].min() - reading.times[0] >= 0.2
    later = read_press(press(on=30), clock())
    assert len(still) == len(still_frames(later)) == 4
    frames = press(on=2)
    with pytest.raises(DataError, match="the control needs 4"):
        press_features(frames, read_press(frames, clock()), contact=False)


def test_features_hardly_change_with_size_and_frame_rate():
    reference = press_features(press(), read_press(press(), clock()))
    large = press(rows=240, cols=320)
    slow = press(n=24, on=8, off=20, ramp=4)
    for frames, times in ((large, clock()), (slow, clock(24, 10.0))):
        other = press_features(frames, read_press(frames, times))
        for i, name in enumerate(NAMES):
            if name.startswith(("broad", "change_p9")) or name == "rise_speed":
                assert other[i] == pytest.approx(reference[i], abs=0.25), name


def test_bumps_and_one_long_edge_are_told_apart():
    y, x = np.mgrid[0:120, 0:160]
    results = []
    for pattern in (np.sin(x / 3) * np.sin(y / 3), np.sin(x / 3)):
        frames = press(gain=0.0).astype(float)
        frames[20:45] += 20 * pattern[None, :, :, None]
        frames = np.clip(frames, 0, 255).astype(np.uint8)
        results.append(dict(zip(NAMES, press_features(frames, read_press(frames, clock())), strict=True)))
    bumps, edge = results
    assert bumps["bumps_2_p50"] > edge["bumps_2_p50"] + 0.5
    assert edge["edges_2"] > bumps["edges_2"] + 0.2


def test_rise_speed_is_that_of_a_ramp():
    times = clock()
    assert rise_speed(times, 5.0 * times) == pytest.approx(5.0)
    assert rise_speed(times[:4], times[:4]) == 0.0


def test_strongest_frames_lie_where_the_change_is():
    change = np.zeros(60)
    change[30:45] = 1.0
    chosen = strongest_frames(change)
    assert chosen.min() >= 30
    assert chosen.max() < 45
    assert len(set(chosen.tolist())) == 4


def test_stiffness_of_a_spring_is_found_through_a_width_that_moves_in_steps():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(50):
        closing = rng.uniform(0.9, 1.1) * np.linspace(0, 0.02, 60)
        force = 1000.0 * closing + rng.normal(0, 0.2, 60)
        width = 0.08 - np.round(closing / 1e-3) * 1e-3
        found = squeeze_stiffness(force, width)
        assert found.reason == ""
        assert found.value == pytest.approx(1000.0, rel=0.1)
        hits += found.low <= 1000.0 <= found.high
    assert hits >= 44


def test_stiffness_without_steps_or_force_is_no_number():
    force = np.linspace(0, 20, 40)
    for width in (np.full(40, 0.05), 0.05 - np.floor(np.arange(40) / 13) * 1e-3):
        found = squeeze_stiffness(force, width)
        assert found.reason == "not enough steps"
        assert np.isnan(found.value)
    assert squeeze_stiffness(np.full(40, 0.5), np.linspace(0.08, 0.05, 40)).reason == "too little force"
    falling = squeeze_stiffness(force, np.linspace(0.03, 0.05, 40))
    assert falling.reason == "not enough steps"


def test_force_and_width_of_different_length_are_refused():
    with pytest.raises(DataError, match="same moments"):
        squeeze_stiffness(np.zeros(4), np.zeros(5))
    with pytest.raises(DataError, match="finite"):
        squeeze_stiffness(np.array([np.nan, 1.0]), np.zeros(2))


def test_force_onset_needs_three_samples_and_can_ignore_an_offset():
    force = np.array([0.3, 0.3, 0.3, 0.9, 0.3, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0])
    assert force_onset(force) == 5
    assert force_onset(force, above_rest=True) == 8
    assert force_onset(np.zeros(10)) is None
    assert force_onset(np.ones(2)) is None
