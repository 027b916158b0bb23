"""The squeaker inside a soft toy: a leaky air bulb that the stuffing squeezes, and a reed that sounds above an onset pressure.

The bulb follows dp/dt = d(sigma)/dt - p / leak, with sigma the stress of the stuffing [Pa] and p the pressure above that of the
room. So a squeak tells how far *and* how fast the toy was squeezed: a slow squeeze leaks away in silence. A reed starts at the
onset and stops at `STOP_RATIO` of it (it needs more pressure to begin than to go on), therefore it begins at a finite loudness.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from palpate.core.errors import RecordError

STOP_RATIO = 0.8
"""The reed falls silent below this share of its onset pressure."""


@dataclass(frozen=True, kw_only=True)
class Squeaker:
    """Acoustic parameters of one toy."""

    onset_pa: float
    """Bulb pressure at which the reed starts [Pa]."""
    f0_hz: float
    """Pitch at the onset [Hz], within 1900 to 3400."""
    leak_s: float = 0.4
    """Time constant with which air leaves the bulb [s]."""
    gain: float = 1.0
    """Loudness relative to the usual squeaker (amplitude)."""

    def __post_init__(self) -> None:
        """Refuse values without physical meaning."""
        if not (self.onset_pa > 0 and self.leak_s > 0 and self.gain > 0 and 1900.0 <= self.f0_hz <= 3400.0):
            raise RecordError(f"{self}: onset, leak and gain must be above 0 and f0_hz within 1900 to 3400")


@dataclass(frozen=True, kw_only=True)
class Squeak:
    """What a squeaker did during one history of squeezing: the simulator's truth, for checking labels only."""

    sounded: bool
    """The bulb pressure exceeded the onset."""
    peak_over_pa: float
    """Largest bulb pressure minus the onset [Pa]; negative if it stayed below."""
    seconds: float
    """How long the reed sounded [s]."""


def bulb_pressure(squeeze_pa: np.ndarray, dt: float, leak_s: float) -> np.ndarray:
    """Return the pressure in the bulb (..., T) [Pa], never negative.

    Exact for a stress that is linear between samples. The bulb starts at rest under the first stress. When the stress falls the
    bulb takes in air; its pressure below that of the room is reported as 0, because the reed sounds outwards only.

    Args:
        squeeze_pa: stress of the stuffing under the pads (..., T) [Pa].
        dt: time step [s].
        leak_s: time constant of the leak [s].
    """
    decay = float(np.exp(-dt / leak_s))
    rise = np.diff(squeeze_pa, axis=-1, prepend=squeeze_pa[..., :1])
    return np.maximum(smooth(rise, leak_s / dt * (1.0 - decay), decay), 0.0)


def smooth(x: np.ndarray, gain: float, keep: float) -> np.ndarray:
    """Return y (..., T) float64 with `y[t] = gain x[t] + keep y[t - 1]`, from rest."""
    rows = np.ascontiguousarray(x, float).reshape(-1, x.shape[-1])
    return _one_pole(rows, gain, keep).reshape(x.shape)


@njit(cache=True)
def _one_pole(rows: np.ndarray, gain: float, keep: float) -> np.ndarray:
    out = np.empty_like(rows)
    for i in range(rows.shape[0]):
        last = 0.0
        for t in range(rows.shape[1]):
            last = gain * rows[i, t] + keep * last
            out[i, t] = last
    return out


def sounding(pressure: np.ndarray, onset_pa: float) -> np.ndarray:
    """Return where the reed sounds (T,) bool: from the onset pressure down to `STOP_RATIO` of it."""
    decided = (pressure > onset_pa) | (pressure < STOP_RATIO * onset_pa)
    last = np.maximum.accumulate(np.where(decided, np.arange(len(pressure)), 0))
    return (pressure > onset_pa)[last]


def squeaks(squeeze_pa: np.ndarray, squeaker: Squeaker, dt: float) -> Squeak:
    """Return what the squeaker does under a stress history (T,) [Pa] sampled every `dt` [s]."""
    pressure = bulb_pressure(squeeze_pa, dt, squeaker.leak_s)
    peak = float(pressure.max())
    on = sounding(pressure, squeaker.onset_pa)
    return Squeak(sounded=peak > squeaker.onset_pa, peak_over_pa=peak - squeaker.onset_pa, seconds=float(on.sum() * dt))


@dataclass(frozen=True, kw_only=True)
class ReedVoice:
    """How a reed sounds. Chosen by ear from descriptions of toy squeakers; not measured on the toy of the paper."""

    onset_db: float = 86.0
    """Level at the microphone, 5 to 10 cm away, just above the onset [dB SPL]; about 95 when squeezed hard."""
    spread_db: float = 1.5
    """Standard deviation of the level between trials (position of the hand, muffling by the pads) [dB]."""
    harmonics: int = 8
    tilt: float = 1.1
    """Harmonic k has amplitude k**-tilt near the onset; harder squeezing makes the tone brighter."""
    pitch_slope: float = 0.05
    """Relative rise of the pitch per onset pressure above the onset."""
    vibrato: float = 0.004
    jitter: float = 0.002
    breath: float = 0.06
    """Amplitude of the breath noise relative to the tone."""
    attack_s: float = 0.015


def reed(
    drive: np.ndarray, on: np.ndarray, squeaker: Squeaker, voice: ReedVoice, *, rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the tone (N,) float32 of a reed, with amplitude 1 (root mean square) at its onset; 0 where it is silent.

    Args:
        drive: bulb pressure divided by the onset pressure (N,), at `rate_hz`.
        on: where the reed sounds (N,) bool.
        squeaker: the toy's squeaker.
        voice: how it sounds.
        rate_hz: audio rate.
        rng: draws vibrato, jitter and breath.
    """
    n = len(drive)
    above = np.maximum(drive - 1.0, 0.0)
    seconds = np.arange(n, dtype=np.float32) / rate_hz
    wobble = voice.vibrato * np.sin(2 * np.pi * (rng.uniform(5.0, 7.0) * seconds + rng.uniform()), dtype=np.float32)
    steps = rng.standard_normal(n // 256 + 2)
    wobble += voice.jitter * np.interp(np.arange(n), 256 * np.arange(len(steps)), steps)
    pitch = squeaker.f0_hz * (1.0 + voice.pitch_slope * above + wobble)
    phase = (2 * np.pi / rate_hz) * np.cumsum(pitch)
    unit = np.exp(1j * np.mod(phase, 2 * np.pi).astype(np.float32)).astype(np.complex64)
    bright = np.minimum(0.35 + 0.5 * above, 1.0).astype(np.float32)
    tone, power, weight, total = np.zeros(n, np.float32), unit.copy(), np.ones(n, np.float32), np.zeros(n, np.float32)
    for k in range(1, min(voice.harmonics, int(0.47 * rate_hz / (1.15 * squeaker.f0_hz))) + 1):
        level = weight * np.float32(k**-voice.tilt)
        tone += level * power.imag
        total += level * level
        power *= unit
        # The even part of the spectrum of a reed is weaker than the odd one near the onset, and evens out when driven hard.
        weight = np.float32(1.0) if k % 2 == 0 else np.float32(0.5) + bright / 2
    noise = rng.standard_normal(n, dtype=np.float32)
    loud = np.sqrt(np.maximum(drive - STOP_RATIO, 0.0) / (1.0 - STOP_RATIO))
    keep = float(np.exp(-3.0 / (voice.attack_s * rate_hz)))
    gate = smooth(on, 1.0 - keep, keep)
    return (gate * loud * (tone * np.sqrt(2.0 / total) + voice.breath * noise)).astype(np.float32)
