import time
from dataclasses import dataclass

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.sensors.microphone import Microphone, MicrophoneConfig, Motion, impacts, mix, pink_noise
from palpate.sensors.squeaker import STOP_RATIO, Squeaker, bulb_pressure, sounding, squeaks

RATE, STEPS = 500.0, 1500
TOY = Squeaker(onset_pa=4400.0, f0_hz=2500.0)


@dataclass
class Trial:
    motion: Motion
    squeaker: Squeaker
    squeaked: bool
    hard: bool


def squeeze_trial(seed, *, hits=0.25, taps=0.3):
    """A plausible regrasp: move, close in about 0.5 s to a stress of 2 to 14 kPa, hold; sometimes a hard hit or a light tap."""
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS) / RATE
    start, duration = rng.uniform(0.5, 1.2), rng.uniform(0.35, 0.7)
    ramp = np.clip((t - start) / duration, 0, 1)
    contact = rng.uniform(0.0, 0.6)
    squeeze = np.clip((ramp - contact) / (1 - contact), 0, 1)
    squeeze = 3 * squeeze**2 - 2 * squeeze**3 if rng.random() < 0.5 else squeeze
    relax = 1 - 0.1 * (1 - np.exp(-np.maximum(t - start - duration, 0) / 0.3))
    stress = np.maximum(rng.uniform(2e3, 14e3) * squeeze + rng.normal(0, 15, STEPS), 0) * relax
    moving = ((t > start) & (t < start + duration))[:, None]
    stage = np.zeros((STEPS, 4))
    stage[t < 0.5] = rng.uniform(-0.04, 0.04, 4)
    collisions = []
    if rng.random() < hits:
        collisions.append((float(start + duration * rng.uniform(0.3, 1)), float(np.exp(rng.uniform(np.log(5), np.log(60))))))
    if rng.random() < taps:
        collisions.append((float(rng.uniform(0.1, 2.5)), float(rng.uniform(0.2, 4.8))))
    motion = Motion(
        squeeze_pa=stress,
        joint_speed=rng.uniform(0.2, 1.5, 5) * moving + rng.normal(0, 0.01, (STEPS, 5)),
        joint_torque=0.02 + stress[:, None] / 14e3 * 0.4 * rng.uniform(0.5, 1, 5),
        stage_speed=stage,
        collisions=tuple(collisions),
    )
    squeaker = Squeaker(onset_pa=4400 * (1 + rng.uniform(-0.15, 0.15)), f0_hz=rng.uniform(1900, 3400))
    hard = max([force for _, force in collisions], default=0.0) > 5.0
    return Trial(motion, squeaker, squeaks(stress, squeaker, 1 / RATE).sounded, hard)


def still(**changes):
    zero = np.zeros
    parts = {
        "squeeze_pa": zero(STEPS), "joint_speed": zero((STEPS, 5)), "joint_torque": zero((STEPS, 5)),
        "stage_speed": zero((STEPS, 4)),
    }  # fmt: skip
    return Motion(**{**parts, **changes})


def ramp(peak_pa, seconds):
    return peak_pa * np.clip((np.arange(STEPS) / RATE - 0.5) / seconds, 0, 1)


@pytest.fixture(scope="module")
def microphone():
    return Microphone()


def level(wave):
    return 20 * np.log10(np.sqrt(np.mean(wave.astype(float) ** 2)) * np.sqrt(2)) + 110.0


def test_bulb_pressure_follows_the_solution_of_its_equation():
    rate, leak, dt = 2.0e4, 0.4, 1 / RATE
    t = np.arange(400) * dt
    expected = rate * leak * (1 - np.exp(-t / leak))
    np.testing.assert_allclose(bulb_pressure(rate * t, dt, leak), expected, rtol=1e-12, atol=1e-9)
    coarse = bulb_pressure(rate * t[::4], 4 * dt, leak)
    np.testing.assert_allclose(coarse, expected[::4], rtol=1e-12, atol=1e-9)


def test_bulb_pressure_works_on_batches_and_is_never_negative():
    stress = np.stack([ramp(8e3, 0.3), ramp(8e3, 0.3)[::-1], np.full(STEPS, 5e3)])
    pressure = bulb_pressure(stress, 1 / RATE, 0.4)
    np.testing.assert_allclose(pressure[0], bulb_pressure(stress[0], 1 / RATE, 0.4))
    assert pressure.min() == 0.0
    assert pressure[1].max() == 0.0
    assert pressure[2].max() == 0.0


def test_the_same_squeeze_squeaks_when_fast_and_not_when_slow():
    fast, slow = squeaks(ramp(7e3, 0.2), TOY, 1 / RATE), squeaks(ramp(7e3, 1.5), TOY, 1 / RATE)
    assert fast.sounded
    assert fast.peak_over_pa > 0
    assert not slow.sounded
    assert slow.peak_over_pa < 0
    assert slow.seconds == 0.0


def test_the_reed_stops_below_the_pressure_at_which_it_starts():
    pressure = np.array([0.0, 0.9, 1.1, 0.9, STOP_RATIO + 0.01, STOP_RATIO - 0.01, 0.9, 1.01])
    np.testing.assert_array_equal(sounding(pressure, 1.0), [False, False, True, True, True, False, False, True])


def test_a_squeaker_without_physical_meaning_is_refused():
    with pytest.raises(RecordError, match="1900 to 3400"):
        Squeaker(onset_pa=4400.0, f0_hz=500.0)


def test_a_clip_is_float32_in_range_on_the_16_bit_grid_and_repeats_with_its_seed(microphone):
    trial = squeeze_trial(3)
    wave = microphone.record(trial.motion, trial.squeaker, np.random.default_rng(1))
    assert wave.shape == (132_300,)
    assert wave.dtype == np.float32
    assert np.abs(wave).max() <= 1.0
    np.testing.assert_array_equal((wave * 32768).astype(np.int16).astype(np.float32) / 32768, wave)
    again = Microphone().record(trial.motion, trial.squeaker, np.random.default_rng(1))
    np.testing.assert_array_equal(wave, again)
    assert not np.array_equal(wave, microphone.record(trial.motion, trial.squeaker, np.random.default_rng(2)))


def test_a_quiet_room_has_the_level_of_room_and_fan(microphone):
    expected = 10 * np.log10(10**4.5 + 10**4.7)
    np.testing.assert_allclose(level(microphone.record(still(), None, np.random.default_rng(0))), expected, atol=0.7)


def test_squeaks_have_their_pitch_and_lie_between_80_and_98_db(microphone):
    heard = []
    for seed in range(12):
        squeeze = ramp(7e3 + 500 * seed, 0.3)
        wave = microphone.record(still(squeeze_pa=squeeze), TOY, np.random.default_rng(seed))
        on = sounding(bulb_pressure(squeeze, 1 / RATE, TOY.leak_s), TOY.onset_pa)
        middle = int(np.flatnonzero(on).mean() / RATE * 44_100)
        part = wave[middle - 1024 : middle + 1024]
        heard.append(level(part))
        spectrum = np.abs(np.fft.rfft(part * np.hanning(2048)))
        assert 0.97 < np.argmax(spectrum) * 44_100 / 2048 / TOY.f0_hz < 1.15
    assert min(heard) > 80.0
    assert max(heard) < 98.0
    assert np.mean(heard[6:]) > np.mean(heard[:6]) + 1.0


def test_without_a_squeaker_the_same_squeeze_is_silent(microphone):
    motion = still(squeeze_pa=ramp(14e3, 0.2))
    assert level(microphone.record(motion, None, np.random.default_rng(0))) < 51.0
    assert level(microphone.record(motion, TOY, np.random.default_rng(0))) > 70.0


def test_gears_whine_at_a_frequency_and_level_that_grow_with_speed_and_load(microphone):
    def whine(speed, torque):
        speeds = np.zeros((STEPS, 5))
        speeds[:, 0] = speed
        return microphone.record(
            still(joint_speed=speeds, joint_torque=np.full((STEPS, 5), torque)), None, np.random.default_rng(0)
        )

    for speed in (1.0, 1.7):
        spectrum = np.abs(np.fft.rfft(whine(speed, 0.0)))
        peak = 500 + np.argmax(spectrum[1500:]) * 44_100 / 132_300
        np.testing.assert_allclose(peak, 700.0 * speed, rtol=0.01)
    assert level(whine(1.7, 0.0)) > level(whine(0.8, 0.0)) + 1.0
    assert level(whine(1.7, 0.35)) > level(whine(1.7, 0.0)) + 3.0


def test_a_knock_grows_with_force_and_rings_at_the_modes_of_the_structure(microphone):
    waves = {
        force: microphone.record(still(collisions=((1.0, force),)), None, np.random.default_rng(0)) for force in (2.0, 20.0)
    }
    ratio = np.abs(waves[20.0]).max() / np.abs(waves[2.0]).max()
    np.testing.assert_allclose(ratio, 10.0, rtol=0.1)
    spectrum = np.abs(np.fft.rfft(waves[20.0][44_150:45_500], 1 << 15))
    frequency = np.fft.rfftfreq(1 << 15, 1 / 44_100)
    for mode in microphone.config.structure.modes_hz:
        near, beside = np.abs(frequency - mode) < 60, (np.abs(frequency - mode) > 600) & (np.abs(frequency - mode) < 1200)
        assert spectrum[near].max() > 5 * spectrum[beside].mean()


def test_a_knock_outside_the_clip_is_not_recorded(microphone):
    wave = microphone.record(still(collisions=((-0.5, 50.0), (3.5, 50.0))), None, np.random.default_rng(0))
    assert np.abs(wave).max() < 0.01


def test_a_motion_of_another_length_or_form_is_refused(microphone):
    with pytest.raises(RecordError, match="clip of"):
        microphone.record(
            Motion(
                squeeze_pa=np.zeros(100), joint_speed=np.zeros((100, 5)), joint_torque=np.zeros((100, 5)),
                stage_speed=np.zeros((100, 4)),
            ),
            None, np.random.default_rng(0),
        )  # fmt: skip
    with pytest.raises(RecordError, match="joint_torque"):
        still(joint_torque=np.zeros((STEPS, 4)))
    with pytest.raises(RecordError, match="stage_speed"):
        still(stage_speed=np.zeros((STEPS, 3)))
    with pytest.raises(RecordError, match="NaN"):
        still(squeeze_pa=np.full(STEPS, np.nan))


def test_clips_of_another_length_can_be_recorded():
    short = Microphone(MicrophoneConfig(clip_s=1.0, bank_s=2.0))
    parts = np.zeros(500), np.zeros((500, 5)), np.zeros((500, 5)), np.zeros((500, 4))
    motion = Motion(squeeze_pa=parts[0], joint_speed=parts[1], joint_torque=parts[2], stage_speed=parts[3])
    assert short.record(motion, None, np.random.default_rng(0)).shape == (44_100,)


def test_impacts_are_one_per_contact_with_its_peak_force():
    force = np.zeros(1000)
    force[100:120] = 8.0
    force[104] = 12.0
    force[125:140] = 3.0  # parted for 10 ms: chatter
    force[600:610] = 2.0
    assert impacts(force, RATE) == ((0.2, 12.0), (1.2, 2.0))
    assert impacts(np.zeros(10), RATE) == ()


def test_pink_noise_loses_three_decibels_per_octave():
    noise = pink_noise(1 << 17, np.random.default_rng(0)).astype(float)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[1 << k : 1 << (k + 1)].mean() for k in range(10, 16)]
    np.testing.assert_allclose(np.diff(10 * np.log10(octaves)), -3.01, atol=0.6)
    np.testing.assert_allclose(np.mean(noise**2), 1.0, rtol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_mixing_brings_a_recording_to_its_level_and_keeps_its_pitch(rate):
    clip = 0.1 * np.sin(2 * np.pi * 500 * np.arange(rate // 2) / rate)
    mixed = mix(np.zeros(132_300, np.float32), clip, rate, level_db=75.0, start_s=0.2)
    assert mixed.shape == (132_300,)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(level(mixed), 75.0, atol=0.1)
    assert abs(np.argmax(np.abs(np.fft.rfft(mixed))) / 3.0 - 500.0) < 1.0
    np.testing.assert_allclose(np.abs(mix(np.zeros(4410, np.float32), 20 * clip, rate, level_db=None)).max(), 1.0)


def test_mixing_refuses_stereo_and_silence():
    wave = np.zeros(4410, np.float32)
    with pytest.raises(RecordError, match="mono"):
        mix(wave, np.zeros((10, 2)), 44_100, level_db=60.0)
    with pytest.raises(RecordError, match="silent"):
        mix(wave, np.zeros(10), 44_100, level_db=60.0)


@pytest.mark.slow
def test_recording_a_clip_takes_a_few_milliseconds(microphone):
    trials = [squeeze_trial(seed) for seed in range(20)]
    spent = []
    for trial in trials:
        start = time.process_time()
        microphone.record(trial.motion, trial.squeaker, np.random.default_rng(0))
        spent.append(time.process_time() - start)
    assert np.median(spent) < 0.02
