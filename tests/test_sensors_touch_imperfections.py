from itertools import pairwise

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.records import Stream, StreamSpec
from palpate.sensors.touch.faults import DropOut, Frozen, Latency, Rate, Scrolling
from palpate.sensors.touch.imperfections import (
    CameraNoise,
    CrossTalk,
    DeadTaxels,
    Dust,
    Hysteresis,
    LedDrift,
    Replacement,
    TaxelGain,
    TaxelNoise,
    Wear,
    spoil,
)
from palpate.sensors.touch.noise import NoiseBank, NoiseFigures, coloured, episode_pattern
from palpate.sensors.touch.rest import GelFigures, wear_layer

SHAPE = (40, 30)


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(count=8, rate=20.0, level=None):
    """Pictures that all differ, or grey ones of one level."""
    spec = StreamSpec(name="touch.thumb", kind="touch", shape=(*SHAPE, 3), dtype="uint8", rate_hz=rate)
    values = rng(5).integers(30, 200, (count, *SHAPE, 3)) if level is None else np.full((count, *SHAPE, 3), level)
    return Stream(spec=spec, times=np.arange(count) / rate, values=values.astype(np.uint8))


def taxels(values, rate=100.0):
    values = np.asarray(values, np.float32)
    spec = StreamSpec(name="taxels.thumb", kind="taxels", shape=values.shape[1:], dtype="float32", rate_hz=rate, unit="N")
    return Stream(spec=spec, times=np.arange(len(values)) / rate, values=values)


def numbers(count, rate=100.0):
    """Samples that count 1, 2, 3, ..., one taxel."""
    return taxels(np.arange(1, count + 1).reshape(-1, 1, 1), rate)


IMAGE_STEPS = [
    Hysteresis(),
    Wear(presses=500.0, presses_hz=10.0),
    Dust(),
    LedDrift(),
    CameraNoise(),
    Scrolling(rate_hz=5.0),
    Frozen(rate_hz=5.0),
    Rate(rate_hz=10.0),
    DropOut(share=0.3),
    Latency(jitter=0.01),
]


@pytest.mark.parametrize("step", IMAGE_STEPS, ids=lambda step: type(step).__name__)
def test_equal_seeds_give_equal_streams_and_the_input_stays_as_it_was(step):
    stream = pictures(12)
    before = stream.values.copy()
    one, two = step.apply(stream, rng(3)), step.apply(stream, rng(3))
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.times, two.times)
    np.testing.assert_array_equal(stream.values, before)
    assert one.values.dtype == np.uint8


def test_steps_act_in_their_physical_order_however_they_are_listed():
    stream = pictures(12)
    forward, backward = spoil(stream, IMAGE_STEPS, rng()), spoil(stream, IMAGE_STEPS[::-1], rng())
    np.testing.assert_array_equal(forward.values, backward.values)
    np.testing.assert_array_equal(forward.times, backward.times)
    orders = [step.order for step in IMAGE_STEPS]
    assert orders == sorted(orders)


def test_order_matters_a_dead_taxel_does_not_hear_its_neighbours():
    stream = taxels(rng(1).uniform(1, 2, (5, 6, 3)))
    out = spoil(stream, [DeadTaxels(share=0.5, reads="nan"), CrossTalk(share=0.5)], rng(2))
    dead = np.isnan(out.values).any(axis=(0, 2))
    assert 0 < dead.sum() < 6
    assert np.isfinite(out.values[:, ~dead]).all(), "cross-talk comes before death, so nothing spreads"


def test_adding_a_step_does_not_change_what_the_others_draw():
    stream = numbers(400)
    alone = spoil(stream, [DropOut(share=0.3)], rng())
    both = spoil(stream, [DropOut(share=0.3), Latency(delay=0.1)], rng())
    np.testing.assert_array_equal(alone.values, both.values)
    np.testing.assert_allclose(both.times, alone.times + 0.1)


def test_two_steps_of_a_kind_draw_apart():
    twice = spoil(numbers(2000), [DropOut(share=0.5), DropOut(share=0.5)], rng())
    assert 0.2 < len(twice.times) / 2000 < 0.3
    noisy = spoil(taxels(np.zeros((100, 50, 3))), [TaxelNoise(std=0.3), TaxelNoise(std=0.3)], rng())
    np.testing.assert_allclose(noisy.values.std(), 0.3 * np.sqrt(2), rtol=0.05)


def test_lost_samples_are_absent_and_never_zeros():
    stream = numbers(5000)
    out = spoil(stream, [DropOut(share=0.2)], rng())
    assert 0.77 < len(out.times) / 5000 < 0.83
    assert (out.values > 0).all(), "nothing is filled in"
    np.testing.assert_allclose(out.times, (out.values[:, 0, 0] - 1) / 100.0, atol=1e-9)


def test_bursts_have_the_stated_share_and_length():
    out = DropOut(share=0.2, burst=8.0).apply(numbers(60_000), rng())
    lost = np.diff(out.values[:, 0, 0]) - 1
    np.testing.assert_allclose(1 - len(out.times) / 60_000, 0.2, atol=0.02)
    np.testing.assert_allclose(lost[lost > 0].mean(), 8.0, rtol=0.1)
    with pytest.raises(RecordError, match="cannot make up a share"):
        DropOut(share=0.9, burst=2.0)
    with pytest.raises(RecordError, match="within 0 and 1"):
        DropOut(share=1.5)


def test_a_dead_sensor_is_no_stream_at_all_and_absent_stays_absent():
    assert spoil(numbers(50), [DropOut(share=1.0)], rng()) is None
    nothing = Stream(spec=pictures().spec, times=np.empty(0), values=np.empty((0, *SHAPE, 3), np.uint8))
    assert spoil(nothing, IMAGE_STEPS, rng()) is None


def test_latency_moves_times_only_and_never_overtakes():
    stream = numbers(500, rate=2.0)
    out = Latency(delay=0.05, jitter=0.05).apply(stream, rng())
    np.testing.assert_array_equal(out.values, stream.values)
    assert np.all(out.times >= stream.times + 0.05) and np.all(np.diff(out.times) >= 0)
    np.testing.assert_allclose((out.times - stream.times).mean(), 0.1, rtol=0.1)
    crowded = Latency(delay=0.0, jitter=0.5).apply(numbers(500), rng())
    assert np.all(np.diff(crowded.times) >= 0)
    with pytest.raises(RecordError, match="0 or more"):
        Latency(delay=-1.0)


def test_a_lower_rate_keeps_real_samples_and_makes_none_up():
    out = Rate(rate_hz=25.0).apply(numbers(100), rng())
    np.testing.assert_array_equal(out.values[:, 0, 0], np.arange(1, 101, 4))
    assert out.spec.rate_hz == 25.0
    faster = Rate(rate_hz=1000.0).apply(numbers(100), rng())
    np.testing.assert_array_equal(faster.values, numbers(100).values)
    assert faster.spec.rate_hz == 100.0
    with pytest.raises(RecordError, match="positive"):
        Rate(rate_hz=0.0)


def test_a_frozen_sensor_repeats_itself_while_time_goes_on():
    stream = numbers(2000)
    out = Frozen(rate_hz=1.0, length=0.3).apply(stream, rng())
    np.testing.assert_array_equal(out.times, stream.times)
    steps = np.diff(out.values[:, 0, 0])
    assert steps.min() == 0 and 0.1 < np.mean(steps == 0) < 0.4
    assert np.all(out.values <= stream.values), "it never shows the future"
    np.testing.assert_array_equal(Frozen(rate_hz=0.0).apply(stream, rng()).values, stream.values)
    with pytest.raises(RecordError, match="positive length"):
        Frozen(length=0.0)


def test_a_scrolling_picture_rolls_and_loses_nothing():
    stream = pictures(200)
    out = Scrolling(rate_hz=0.5, length=3.0, rows=7).apply(stream, rng(1))
    changed = np.flatnonzero((out.values != stream.values).any(axis=(1, 2, 3)))
    assert 10 < len(changed) < 150
    first = changed[0]
    np.testing.assert_array_equal(out.values[first], np.roll(stream.values[first], 7, axis=0))
    np.testing.assert_array_equal(out.values[first + 1], np.roll(stream.values[first + 1], 14, axis=0))
    spec = StreamSpec(name="force", kind="series", shape=(3,), dtype="float32")
    with pytest.raises(RecordError, match="Scrolling acts on pictures"):
        Scrolling().apply(Stream(spec=spec, times=np.zeros(1), values=np.zeros((1, 3), np.float32)), rng())


def test_hysteresis_lags_a_step_by_the_residue_and_lets_it_decay():
    values = np.zeros((400, 1, 1))
    values[100:200] = 10.0
    out = Hysteresis(residue=0.1, time_constant=0.5).apply(taxels(values), rng()).values[:, 0, 0]
    np.testing.assert_array_equal(out[:100], 0.0)
    np.testing.assert_allclose(out[100], 9.0, rtol=1e-6)
    # 1 s under load fills the memory to 1 - e^-2; after release it decays with the same time constant.
    np.testing.assert_allclose(out[200], 0.1 * 10 * (1 - np.exp(-2)), rtol=1e-4)
    np.testing.assert_allclose(out[250], out[200] * np.exp(-1), rtol=1e-4)


def test_a_gel_that_feels_nothing_remembers_nothing():
    stream = pictures(5, level=120)
    np.testing.assert_array_equal(Hysteresis(residue=0.5).apply(stream, rng()).values, stream.values)
    with pytest.raises(RecordError, match="share"):
        Hysteresis(residue=2.0)


def test_a_replaced_gel_stands_on_its_own_rest_image():
    stream = pictures(10, level=100)
    before, after = np.full((*SHAPE, 3), 100, np.uint8), np.full((*SHAPE, 3), 110, np.uint8)
    out = Replacement(time=0.25, before=before, after=after).apply(stream, rng())
    np.testing.assert_array_equal(out.values[:5], 100)
    np.testing.assert_array_equal(out.values[5:], 110)
    with pytest.raises(RecordError, match="do not fit"):
        Replacement(time=0.0, before=before[:4], after=after).apply(stream, rng())


def test_wear_grows_during_a_stream_and_dust_lies_still():
    worn = Wear(presses=0.0, presses_hz=1e5).apply(pictures(5, level=150), rng()).values.astype(int)
    np.testing.assert_array_equal(worn[0], 150)
    assert np.all(np.diff(worn, axis=0) <= 0) and worn[-1].mean() < worn[1].mean() < 150
    dusty = Dust(count=4.0).apply(pictures(3, level=150), rng(1)).values
    assert dusty.min() < 140 and np.median(dusty) >= 148
    np.testing.assert_array_equal(dusty[0], dusty[2])


def test_scratches_come_with_presses_and_stay():
    figures = GelFigures(scratches=20.0, fading=0.0)
    layers = [wear_layer(figures, (240, 320), presses, rng(4)) for presses in (0.0, 1.0, 300.0, 3000.0)]
    scratched = [int((layer < 1).sum()) for layer in layers]
    assert scratched[:2] == [0, 0] and 0 < scratched[2] < scratched[3] / 3
    assert all(np.all(more <= less) for less, more in pairwise(layers))


def test_lights_drift_by_the_stated_spread_from_where_they_were():
    stream = pictures(400, rate=1.0, level=120)
    runs = np.array(
        [LedDrift(spread=0.05, time_constant=20.0).apply(stream, rng(seed)).values[:, 0, 0] for seed in range(8)], float
    )
    np.testing.assert_array_equal(runs[:, 0], 120)
    np.testing.assert_allclose(runs[:, 100:].std() / 120, 0.05, rtol=0.25)
    assert np.abs(np.diff(runs, axis=1)).mean() < 0.5 * runs.std(), "slowly"


def test_cross_talk_shares_with_neighbours_and_keeps_a_uniform_touch():
    one = np.zeros((1, 12, 3))
    one[0, 5] = 1.0
    out = CrossTalk(share=0.2, grid=(3, 4)).apply(taxels(one), rng()).values[0, :, 0]
    np.testing.assert_allclose(out[5], 0.8, rtol=1e-6)
    np.testing.assert_allclose(np.flatnonzero(out), [1, 4, 5, 6, 9])
    for grid in (None, (3, 4)):
        even = CrossTalk(share=0.3, grid=grid).apply(taxels(np.ones((2, 12, 3))), rng()).values
        np.testing.assert_allclose(even, 1.0, rtol=1e-6)
    with pytest.raises(RecordError, match="does not hold 12"):
        CrossTalk(grid=(5, 5)).apply(taxels(one), rng())


def test_taxel_gain_is_fixed_for_a_stream_and_noise_is_not():
    stream = taxels(np.ones((50, 400, 3)))
    gain = TaxelGain(gain=0.1, offset=0.0).apply(stream, rng()).values
    np.testing.assert_array_equal(gain[0], gain[-1])
    np.testing.assert_allclose(gain[0].std(), 0.1, rtol=0.1)
    noise = TaxelNoise(std=0.2).apply(stream, rng()).values
    np.testing.assert_allclose(noise.std(axis=0).mean(), 0.2, rtol=0.05)


def test_dead_taxels_are_not_numbers_or_stuck_but_never_zero():
    stream = taxels(rng(2).uniform(1, 2, (20, 300, 3)))
    known = DeadTaxels(share=0.1).apply(stream, rng()).values
    dead = np.isnan(known).all(axis=(0, 2))
    assert 0.05 < dead.mean() < 0.16
    np.testing.assert_array_equal(known[:, ~dead], stream.values[:, ~dead])
    stuck = DeadTaxels(share=0.1, reads="stuck").apply(stream, rng()).values
    np.testing.assert_array_equal(stuck[:, dead], np.broadcast_to(stream.values[0, dead], (20, dead.sum(), 3)))


def test_steps_refuse_streams_they_are_not_for():
    with pytest.raises(RecordError, match="Dust acts on pictures"):
        Dust().apply(numbers(3), rng())
    with pytest.raises(RecordError, match="convert raw counts"):
        counts = StreamSpec(name="biotac", kind="taxels", shape=(24, 1), dtype="int16")
        DeadTaxels().apply(Stream(spec=counts, times=np.zeros(1), values=np.ones((1, 24, 1), np.int16)), rng())


def test_frame_noise_has_the_spectrum_that_was_published():
    """Power of 1/f^1.4 on 64 x 64: autocorrelation 0.47, 0.25, 0.19 at 1, 2, 3 px as tactile-mnist's model has it."""
    field = np.concatenate([coloured((64, 64), 1.4, rng(seed)) for seed in range(60)], axis=2)
    lags = [(field * np.roll(field, lag, axis=1)).mean() for lag in (1, 2, 3)]
    np.testing.assert_allclose(lags, (0.47, 0.25, 0.19), atol=0.02)
    np.testing.assert_allclose(field.std(axis=(0, 1)), 1.0, rtol=1e-5)


def test_colours_are_correlated_as_stated():
    fields = [coloured((96, 96), 1.4, rng(seed), correlation=0.3).reshape(-1, 3) for seed in range(20)]
    matrix = np.mean([np.corrcoef(field.T) for field in fields], axis=0)
    np.testing.assert_allclose(matrix[np.triu_indices(3, 1)], 0.3, atol=0.05)


def test_the_pattern_of_an_episode_is_smooth_and_of_the_stated_size():
    field = episode_pattern(NoiseFigures(), (240, 320), rng())
    assert field.shape == (240, 320, 3) and field.dtype == np.float32
    np.testing.assert_allclose(field.std(axis=(0, 1)), 2.4, rtol=0.02)
    near = np.mean([np.corrcoef(field[:, :-1, c].ravel(), field[:, 1:, c].ravel())[0, 1] for c in range(3)])
    assert near > 0.98
    other = episode_pattern(NoiseFigures(), (240, 320), rng(1))
    assert abs(np.corrcoef(field.ravel(), other.ravel())[0, 1]) < 0.9


def test_cuts_of_a_noise_bank_differ_and_have_the_stated_size():
    bank = NoiseBank(NoiseFigures(frame=1.5), (60, 80), rng())
    draws = rng(1)
    cuts = [sign * noise for noise, sign in (bank.cut(draws) for _ in range(50))]
    assert cuts[0].shape == (60, 80, 3) and cuts[0].flags.owndata
    np.testing.assert_allclose(np.std(cuts), 1.5, rtol=0.05)
    assert np.abs(np.mean(cuts)) < 0.1
    assert not np.array_equal(cuts[0], cuts[1])


def test_camera_noise_on_a_stream_is_that_of_the_figures():
    quiet = NoiseFigures(gain=0.0, offset=0.0, pattern=0.0, frame=3.0)
    out = CameraNoise(figures=quiet).apply(pictures(40, level=120), rng()).values.astype(float)
    np.testing.assert_allclose(out.std(), np.hypot(3.0, 12**-0.5), rtol=0.05)
    loud = (
        CameraNoise(figures=NoiseFigures(frame=0.0, gain=0.0, offset=0.0, pattern=4.0))
        .apply(pictures(3, level=120), rng())
        .values
    )
    np.testing.assert_array_equal(loud[0], loud[2])
    assert 3.0 < loud[0].astype(float).std() < 5.0
