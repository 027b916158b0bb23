"""Gentleness from sound: did the toy squeak, or did the hand knock on something hard?

The paper labels a regrasp non-gentle if 3 s of its sound exceed a threshold that "was manually determined through multiple
grasp trials to ensure that a non-gentle label is assigned when the object produces a distinct sound"; collisions count too, and
"unrelated noise (e.g., human speech near the experimental setup) does not affect the detection" (Section V). One threshold on
loudness cannot do the last; so two levels are measured, each blind to all but its own kind of sound, each with its threshold:

* **squeak level**: the level of a pitch of 1.7 to 4 kHz together with its harmonics, where they are narrow, bright, lasting
  and alone (nothing nearly as strong beside them, as there is in speech, whose pitch is ten times lower).
* **knock level**: the peak level of the hand's own ringing, found by a matched filter for the decaying modes of its structure.
  A knock test on the rig (`knock_test`) tells the modes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from palpate.core.errors import RecordError

QUIET_DB = 0.0
"""Level that is reported where nothing of the kind was heard [dB SPL]."""
_SHORT, _STEP = 128, 64
"""Window and hop of the knock detector [samples]."""


@dataclass(frozen=True, kw_only=True)
class GentlenessConfig:
    """Numbers of the rig and thresholds.

    The two thresholds come from `calibrate_threshold` on 200 simulated trials (seeds 0 to 199 of `squeeze_trial` in
    `tests/test_sensors_sound.py` with a hit in every second one), where the person's word was the simulator's truth: the bulb
    exceeded its onset, or a hit exceeded 5 N. The shape numbers (`contrast_db` to `drift`, `least_mode`, `likeness`) were set
    on simulated trials, recorded speech (also played at other speeds) and a squeaking door. On a rig, calibrate with its own
    trials and `knock_test`.
    """

    rate_hz: int = 44_100
    full_scale_db: float = 110.0
    """Level of a sine of amplitude 1 [dB SPL]; shifts every level, changes no label once calibrated."""
    squeak_threshold_db: float = 76.3
    knock_threshold_db: float = 88.4
    window: int = 1024
    hop: int = 512
    pitch_hz: tuple[float, float] = (1700.0, 4000.0)
    ring_hz: tuple[float, float] = (260.0, 860.0)
    """Beside a tone of the toy nothing nearly as strong lies at these distances."""
    contrast_db: float = 18.0
    """By how much the pitch must exceed the strongest sound beside it."""
    harmonic_contrast_db: float = 10.0
    """By how much its second or third harmonic must exceed the mean beside it."""
    third_db: float = 16.0
    """The third harmonic is at most this much below the strongest: a source at 10 cm is bright, a creaking hinge is not."""
    frames: int = 4
    """A squeak lasts at least this many frames in a row (58 ms with the ends of the windows)."""
    drift: float = 0.04
    """Largest relative change of the pitch from frame to frame."""
    modes_hz: tuple[float, ...] = (5200.0, 8700.0, 12100.0)
    """Of the hand's structure, from a knock test."""
    decays_s: tuple[float, ...] = (0.008, 0.006, 0.004)
    knock_hz: tuple[float, float] = (4500.0, 20_000.0)
    """Band in which a sound is compared with the ringing."""
    least_mode: float = 0.02
    """A knock rings every mode with at least this share of the energy; a consonant may hit one of them by chance."""
    likeness: float = 0.35
    """Smallest share of the band's energy that the modes must explain."""


DEFAULT = GentlenessConfig()


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What was heard in a clip."""

    squeak_db: float
    """Level of the loudest squeak [dB SPL]; `QUIET_DB` if none."""
    knock_db: float
    """Peak level of the loudest knock on the hand [dB SPL]; `QUIET_DB` if none."""
    gentle: bool
    """Both are below their thresholds."""
    score: float
    """By how much the louder of the two exceeds its threshold [dB]; above 0 is not gentle."""


def _checked(wave: np.ndarray, rate_hz: float, config: GentlenessConfig) -> np.ndarray:
    """Return the clip as float32 in [-1, 1], or raise RecordError."""
    wave = np.asarray(wave)
    if rate_hz != config.rate_hz:
        raise RecordError(f"sound at {rate_hz} Hz, the labeller listens at {config.rate_hz} Hz; resample the clip first")
    if wave.ndim != 1:
        raise RecordError(f"sound must be one channel (S,), got shape {wave.shape}; pick or average the channels first")
    if len(wave) < (config.frames + 1) * config.window:
        raise RecordError(
            f"sound of {len(wave)} samples is too short; at least {(config.frames + 1) * config.window} are needed"
        )
    if wave.dtype == np.int16:
        wave = wave.astype(np.float32) * np.float32(1 / 32768.0)
    elif np.issubdtype(wave.dtype, np.floating):
        wave = wave.astype(np.float32, copy=False)
    else:
        raise RecordError(f"sound must be int16 or float in [-1, 1], got {wave.dtype}")
    low, high = float(wave.min()), float(wave.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RecordError("sound holds NaN or infinity")
    if low == high:
        raise RecordError("sound is constant: the microphone is dead or muted; leave the stream out of the record")
    if max(-low, high) > 1.0 + 1e-3:
        raise RecordError(f"float sound must lie in [-1, 1], its peak is {max(-low, high):.3g}; divide by the full scale first")
    return wave


@lru_cache(maxsize=8)
def _hann(n: int) -> np.ndarray:
    """Return a periodic Hann window (n,) float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def _power(wave: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Return the short-time power (T, F), scaled so that a sine of amplitude 1 on a bin sums to 1 over its three bins."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop] * _hann(window)
    spectrum = np.fft.rfft(frames, axis=1)
    power = np.abs(spectrum) ** 2
    power *= np.float32(32.0 / (3.0 * window**2))
    return power


def spectrogram(wave: np.ndarray, rate_hz: float = 44_100, config: GentlenessConfig = DEFAULT) -> np.ndarray:
    """Return the short-time level (F, T) [dB SPL], F from 0 to half the rate, one column every `config.hop` samples."""
    power = _power(_checked(wave, rate_hz, config), config.window, config.hop)
    return 10 * np.log10(power.T + 1e-12) + config.full_scale_db


def levels(wave: np.ndarray, rate_hz: float = 44_100, config: GentlenessConfig = DEFAULT) -> tuple[float, float]:
    """Return the level of the whole clip and of its peak [dB SPL], as a sound level meter without weighting gives them."""
    wave = _checked(wave, rate_hz, config)
    wave = wave - wave.mean()
    rms, peak = float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())
    return 20 * np.log10(rms * np.sqrt(2.0)) + config.full_scale_db, 20 * np.log10(peak) + config.full_scale_db


class _Comb:
    """Strength of a tone and its harmonics against what lies beside them, in every frame."""

    def __init__(self, power: np.ndarray, config: GentlenessConfig) -> None:
        self._power, self._rows = power, np.arange(len(power))
        width = config.rate_hz / config.window
        near, far = (round(f / width) for f in config.ring_hz)
        self._beside = np.concatenate([np.arange(-far, -near + 1), np.arange(near, far + 1)])

    def tooth(self, at: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the power (T,) of the strongest tone within `reach` bins of `at` (T,), and the powers beside it (T, R)."""
        window = self._power[self._rows[:, None], at[:, None] + np.arange(-reach, reach + 1)]
        k = at + np.argmax(window, axis=1) - reach
        tone = self._power[self._rows, k - 1] + self._power[self._rows, k] + self._power[self._rows, k + 1]
        return tone, self._power[self._rows[:, None], k[:, None] + self._beside]


def squeak_level(wave: np.ndarray, config: GentlenessConfig = DEFAULT) -> float:
    """Return the level of the loudest lasting squeak in a float clip (S,) in [-1, 1] [dB SPL], or `QUIET_DB`."""
    power = _power(wave, config.window, config.hop)
    comb = _Comb(power, config)
    first, last = (round(f * config.window / config.rate_hz) for f in config.pitch_hz)
    pitch = first + np.argmax(power[:, first : last + 1], axis=1)
    tone, beside = comb.tooth(pitch, 0)
    good = tone > 10 ** (config.contrast_db / 10) * beside.max(axis=1)
    level, strongest, strength = tone, tone, tone
    for harmonic in (2, 3):
        strength, beside = comb.tooth(harmonic * pitch, harmonic)
        good &= strength > 10 ** (config.harmonic_contrast_db / 10) * beside.mean(axis=1)
        strongest = np.maximum(strongest, strength)
        level = level + strength
    good &= strength > strongest * 10 ** (-config.third_db / 10)
    sound = np.where(good, level, 0.0)
    steady = np.abs(np.diff(pitch)) <= np.maximum(config.drift * pitch[1:], 1.0)
    lasting = sound
    for _ in range(config.frames - 1):
        lasting = np.minimum(sound[-len(lasting) + 1 :], np.where(steady[-len(lasting) + 1 :], lasting[:-1], 0.0))
    return _decibel(float(lasting.max()), config)


def _decibel(power: float, config: GentlenessConfig) -> float:
    """Return the level of a power relative to a sine of amplitude 1 [dB SPL], at least `QUIET_DB`."""
    return max(10 * float(np.log10(power)) + config.full_scale_db, QUIET_DB) if power > 0 else QUIET_DB


@lru_cache(maxsize=8)
def _ringing(config: GentlenessConfig) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return demodulators (W, 2M), decays per hop (M, K), energy of a unit knock in its modes and its share of the band."""
    n = np.arange(_SHORT)
    tones = np.exp(-2j * np.pi * np.outer(n, config.modes_hz) / config.rate_hz) * _hann(_SHORT)[:, None]
    hops = np.arange(round(0.02 * config.rate_hz / _STEP))
    decays = np.exp(-np.outer(1 / np.array(config.decays_s), hops * _STEP / config.rate_hz))
    decays /= np.sqrt(np.sum(decays**2, axis=1, keepdims=True))
    t = np.arange(4 * len(hops) * _STEP) / config.rate_hz - len(hops) * _STEP / config.rate_hz
    unit = np.zeros(len(t))
    for f, d in zip(config.modes_hz, config.decays_s, strict=True):
        unit += np.where(t >= 0, np.exp(-np.maximum(t, 0) / d) * np.sin(2 * np.pi * f * t), 0.0) / len(config.modes_hz)
    stacked = np.concatenate([np.real(tones), np.imag(tones)], axis=1).astype(np.float32)
    explained, band = _matched(unit.astype(np.float32), stacked, decays, config)
    best = int(np.argmax(explained))
    return stacked, decays, float(explained[best]), float(explained[best] / band[best])


def _matched(
    wave: np.ndarray, tones: np.ndarray, decays: np.ndarray, config: GentlenessConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy that all modes ringing together explain (T,), and that of the whole band (T,), from each hop on."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, _SHORT)[::_STEP]
    m = len(config.modes_hz)
    parts = frames @ tones
    turn = np.exp(-2j * np.pi * np.outer(np.arange(len(frames)), np.array(config.modes_hz) * _STEP / config.rate_hz))
    envelope = (parts[:, :m] + 1j * parts[:, m:]) * turn
    count = len(frames) - decays.shape[1] + 1
    each = np.stack([np.abs(np.convolve(envelope[:, j], decays[j, ::-1], mode="valid")) ** 2 for j in range(m)])
    explained = each.sum(axis=0)
    explained[each.min(axis=0) < config.least_mode * explained] = 0.0
    spectrum = np.fft.rfft(frames * _hann(_SHORT), axis=1)
    low, high = (round(f * _SHORT / config.rate_hz) for f in config.knock_hz)
    energy = np.sum(np.abs(spectrum[:, low : high + 1]) ** 2, axis=1, dtype=float)
    total = np.concatenate([[0.0], np.cumsum(energy)])
    return explained, total[decays.shape[1] :] - total[:count] + 1e-12


def knock_level(wave: np.ndarray, config: GentlenessConfig = DEFAULT) -> float:
    """Return the peak level of the loudest knock in a checked float clip (S,) [dB SPL], or `QUIET_DB`."""
    tones, decays, unit, share = _ringing(config)
    explained, band = _matched(wave, tones, decays, config)
    best = float(np.max(np.where(explained > config.likeness * share * band, explained, 0.0)))
    return _decibel(best / unit, config)


def hear(wave: np.ndarray, rate_hz: float = 44_100, config: GentlenessConfig = DEFAULT) -> Heard:
    """Judge a clip (S,): int16, or float in [-1, 1].

    Raises:
        RecordError: wrong rate, shape or type, too short, NaN, out of range, or constant.
    """
    wave = _checked(wave, rate_hz, config)
    squeak, knock = squeak_level(wave, config), knock_level(wave, config)
    score = max(squeak - config.squeak_threshold_db, knock - config.knock_threshold_db)
    return Heard(squeak_db=squeak, knock_db=knock, gentle=score <= 0.0, score=score)


def calibrate_threshold(
    waves: Sequence[np.ndarray], heard: Sequence[bool], config: GentlenessConfig = DEFAULT, *, margin_db: float = 6.0
) -> GentlenessConfig:
    """Fit both thresholds to a few dozen trials of which a person says whether there was a distinct sound.

    Of all pairs of thresholds that contradict the person least, the one farthest from the trials is taken, but none lies more
    than `margin_db` below the quietest sound that the person heard. A threshold that the trials do not bound from above (no
    hard knock among them, say) keeps its present value, raised above everything that the person did not hear.

    Args:
        waves: clips (S,) at the rate of the config.
        heard: the person's word for each.
        config: the numbers of the rig.
        margin_db: see above.

    Raises:
        RecordError: unequal lengths, or only one answer among the trials.
    """
    answers = np.array(heard, bool)
    if len(waves) != len(answers) or answers.all() or not answers.any():
        raise RecordError(
            f"calibration needs one answer per clip and both answers among them, got {len(waves)} clips and {len(answers)} "
            f"answers, {int(answers.sum())} of them heard"
        )
    found = [hear(wave, config.rate_hz, config) for wave in waves]
    squeak, squeak_gap, squeak_wrong = _candidates(np.array([h.squeak_db for h in found]), margin_db)
    knock, knock_gap, knock_wrong = _candidates(np.array([h.knock_db for h in found]), margin_db)
    wrong = np.sum((squeak_wrong[:, None] | knock_wrong[None]) != answers, axis=-1)
    gap = np.minimum(squeak_gap[:, None], knock_gap[None])
    i, j = np.unravel_index(np.lexsort((-gap.ravel(), wrong.ravel()))[0], wrong.shape)
    unheard = [h for h, answer in zip(found, answers, strict=True) if not answer]
    floors = max(h.squeak_db for h in unheard) + 1.0, max(h.knock_db for h in unheard) + 1.0
    return replace(
        config,
        squeak_threshold_db=float(squeak[i]) if np.isfinite(squeak[i]) else max(config.squeak_threshold_db, floors[0]),
        knock_threshold_db=float(knock[j]) if np.isfinite(knock[j]) else max(config.knock_threshold_db, floors[1]),
    )


def _candidates(values: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds (C,) between levels (N,), their distance to the nearest level (C,), and what exceeds them (C, N)."""
    known = np.unique(values)
    between = np.maximum((known[:-1] + known[1:]) / 2, known[1:] - margin)
    at = np.append(between, np.inf)
    gap = np.minimum(np.abs(at[:, None] - values).min(axis=1), margin)
    return at, gap, values > at[:, None]


def knock_test(
    wave: np.ndarray, rate_hz: float = 44_100, config: GentlenessConfig = DEFAULT, *, count: int = 3
) -> GentlenessConfig:
    """Measure how the rig rings from a recording of one knock on it, in quiet.

    The strongest lines of `config.knock_hz` are the modes; the slope of each one's envelope tells its decay.

    Args:
        wave: the recording (S,); only its loudest moment is used.
        rate_hz: its rate.
        config: where to write the modes.
        count: how many modes to keep.

    Raises:
        RecordError: a bad recording, or fewer lines than `count` stand out of the spectrum.
    """
    wave = _checked(wave, rate_hz, config)
    start = int(np.argmax(np.abs(wave))) + round(0.0005 * rate_hz)
    ring = wave[start : start + round(0.025 * rate_hz)].astype(float)
    n = 1 << 16
    spectrum = np.abs(np.fft.rfft(ring, n))
    low, high = (round(f * n / rate_hz) for f in config.knock_hz)
    floor, apart, found = 8.0 * float(np.median(spectrum[low:high])), round(400.0 * n / rate_hz), []
    inside = spectrum[low:high].copy()
    for _ in range(count):
        k = int(np.argmax(inside))
        if inside[k] < floor:
            raise RecordError(f"only {len(found)} of {count} modes stand out; knock harder, in quiet, or ask for fewer")
        found.append((low + k) * rate_hz / n)
        inside[max(k - apart, 0) : k + apart] = 0.0
    t = np.arange(len(ring)) / rate_hz
    smooth = _hann(round(0.002 * rate_hz))
    decays = []
    for f in sorted(found):
        envelope = np.abs(np.convolve(ring * np.exp(-2j * np.pi * f * t), smooth, mode="valid"))
        use = envelope > 0.1 * envelope.max()
        slope = np.polyfit(t[: len(envelope)][use], np.log(envelope[use]), 1)[0]
        decays.append(float(-1.0 / min(slope, -1.0)))
    return replace(config, modes_hz=tuple(sorted(found)), decays_s=tuple(decays))
