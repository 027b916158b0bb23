"""A microphone on the side of the hand: what it records while toys squeak, motors turn and fingers hit things.

The paper's rig has "a standard commodity microphone mounted on the side of the hand, 44.1 kHz" (Section III) and records 3 s of
each regrasp (Section V). Sound enters here from five sources: the toy's squeaker, gears, fans, knocks on the hand's structure,
and the room. Levels are sound pressure levels at the microphone; a sine of amplitude 1 is `full_scale_db`.
"""

from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numba import njit

from palpate.core.errors import RecordError
from palpate.sensors.squeaker import ReedVoice, Squeaker, bulb_pressure, reed, sounding

BLOCK = 63
"""Samples over which gear speed counts as constant (1.4 ms at 44.1 kHz)."""
TABLE = 1024
"""Entries of the gear wavetable."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """How the hand rings when something hits it. A knock test on the rig measures the same numbers."""

    modes_hz: tuple[float, ...] = (5200.0, 8700.0, 12100.0)
    decays_s: tuple[float, ...] = (0.008, 0.006, 0.004)
    shares: tuple[float, ...] = (1.0, 0.8, 0.6)
    """Usual relative amplitudes of the modes."""
    level_db_per_newton: float = 74.0
    """Peak level of the ringing after a blow of 1 N [dB SPL]; it grows by 20 dB per tenfold force (5 N: 88 dB)."""
    spread_db: float = 0.7
    """Standard deviation of each mode between blows: where the hand was hit [dB]."""
    click_share: float = 0.6
    """Amplitude of the broadband click of the contact itself, relative to the ringing."""
    click_s: float = 0.00025


@dataclass(frozen=True, kw_only=True)
class Motors:
    """How gears and motors sound."""

    joint_hz_per_speed: float = 700.0
    """Tooth frequency of the finger gears per joint speed [Hz / (rad/s)]: ratio 369, 12 teeth."""
    stage_hz_per_speed: tuple[float, float, float, float] = (1100.0, 1100.0, 1300.0, 240.0)
    """Of the arm's motions x, y, z [Hz / (m/s)] and yaw [Hz / (rad/s)]."""
    joint_db: float = 54.0
    """Level of one joint at 1 rad/s without load [dB SPL]."""
    stage_db: float = 52.0
    """Level of the arm at 0.25 m/s, or 1 rad/s of yaw [dB SPL]."""
    load_torque: float = 0.35
    """Torque at which the whine is twice as strong as without load [N m]."""
    stall_db: float = 50.0
    """Level of the rough noise of a joint that holds `load_torque` [dB SPL]."""
    harmonics: tuple[float, ...] = (1.0, 0.45, 0.25, 0.12)


@dataclass(frozen=True, kw_only=True)
class MicrophoneConfig:
    """The microphone, the room and the rig."""

    rate_hz: int = 44_100
    clip_s: float = 3.0
    full_scale_db: float = 110.0
    """Level of a sine of amplitude 1 [dB SPL]."""
    room_db: float = 45.0
    fan_db: float = 47.0
    fan_hz: float = 187.0
    """Blade frequency of the hand's fan [Hz]."""
    echo: float = 0.25
    """Amplitude of the reflection from the table."""
    bank_s: float = 8.0
    """Length of the precomputed noise from which each clip takes a random stretch [s]."""
    seed: int = 5
    """Of the noise bank; each clip draws from its own generator."""
    voice: ReedVoice = field(default_factory=ReedVoice)
    structure: Structure = field(default_factory=Structure)
    motors: Motors = field(default_factory=Motors)

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return round(self.clip_s * self.rate_hz)

    def amplitude(self, level_db: float) -> float:
        """Return the root mean square, in full scales, of a sound of this level [dB SPL]."""
        return float(10.0 ** ((level_db - self.full_scale_db) / 20.0) / np.sqrt(2.0))


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What happened near the microphone during one clip, at the rate of the physics."""

    squeeze_pa: np.ndarray
    """(T,) stress of the toy's stuffing: spring force / pad area [Pa]."""
    joint_speed: np.ndarray
    """(T, J) of the moving joints [rad/s]."""
    joint_torque: np.ndarray
    """(T, J) [N m]."""
    stage_speed: np.ndarray
    """(T, 4) of the arm: x, y, z [m/s], yaw [rad/s]."""
    collisions: tuple[tuple[float, float], ...] = ()
    """Time in the clip [s] and peak force [N] of each hit of hard on hard."""
    rate_hz: float = 500.0

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        t = len(self.squeeze_pa)
        joints = self.joint_speed.shape
        if self.squeeze_pa.ndim != 1 or t < 2 or joints[0] != t or self.joint_torque.shape != joints:
            raise RecordError(
                f"Motion needs squeeze_pa (T,), joint_speed and joint_torque (T, J) with T > 1, got {self.squeeze_pa.shape}, "
                f"{joints}, {self.joint_torque.shape}"
            )
        if self.stage_speed.shape != (t, 4):
            raise RecordError(f"Motion needs stage_speed ({t}, 4), got {self.stage_speed.shape}")
        if not all(np.isfinite(a).all() for a in (self.squeeze_pa, self.joint_speed, self.joint_torque, self.stage_speed)):
            raise RecordError("Motion holds NaN or infinity; the simulation has failed before the sound was made")


def impacts(force: np.ndarray, rate_hz: float, *, floor_n: float = 0.2, gap_s: float = 0.03) -> tuple[tuple[float, float], ...]:
    """Turn the force history (T,) [N] of a hard contact into hits: (time of first touch [s], peak force [N]) per contact.

    Contacts that part for less than `gap_s` [s] count as one, so chatter of the solver is one hit.
    """
    touching = np.flatnonzero(force > floor_n)
    if len(touching) == 0:
        return ()
    groups = np.split(touching, np.flatnonzero(np.diff(touching) > gap_s * rate_hz) + 1)
    return tuple((float(g[0] / rate_hz), float(force[g].max())) for g in groups)


def pink_noise(n: int, rng: np.random.Generator, low: float = 1e-3) -> np.ndarray:
    """Return n samples of noise whose power falls as 1/f, root mean square 1, nothing below `low` cycles per sample."""
    f = np.fft.rfftfreq(n)
    shape = np.where(f > low, 1.0 / np.sqrt(np.maximum(f, low)), 0.0)
    noise = np.fft.irfft(shape * (rng.standard_normal(len(f)) + 1j * rng.standard_normal(len(f))), n)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


class Microphone:
    """Records clips of simulated sound. Building one costs about 50 ms, a clip a few ms."""

    def __init__(self, config: MicrophoneConfig | None = None) -> None:
        """Prepare noise, the gear wavetable and the ringing of the structure."""
        self.config = config = config or MicrophoneConfig()
        rng = np.random.default_rng(config.seed)
        n = round(config.bank_s * config.rate_hz)
        self._rough = pink_noise(n, rng)
        t = np.arange(n) / config.rate_hz
        blades = sum(np.sin(2 * np.pi * k * config.fan_hz * t + rng.uniform(0, 6)) / k for k in range(1, 5))
        fan = np.sqrt(0.5) * pink_noise(n, rng) + np.sqrt(0.5) * blades / np.sqrt(np.mean(np.square(blades)))
        room = config.amplitude(config.room_db) * pink_noise(n, rng) + config.amplitude(config.fan_db) * fan
        self._room = room.astype(np.float32)
        cycle = 2 * np.pi * np.arange(TABLE) / TABLE
        self._table = np.asarray(
            sum(a * np.sin(k * cycle + k) for k, a in enumerate(config.motors.harmonics, start=1)), np.float32
        )
        self._table /= np.sqrt(np.mean(self._table**2))
        self._ring, self._click = self._knock_parts(config)

    @staticmethod
    def _knock_parts(config: MicrophoneConfig) -> tuple[np.ndarray, np.ndarray]:
        """Return the ringing of each mode (M, K) and the click (K,), each with peak about 1."""
        s = config.structure
        t = np.arange(round(0.06 * config.rate_hz)) / config.rate_hz
        modes, decays = np.array(s.modes_hz)[:, None], np.array(s.decays_s)[:, None]
        click = np.where(t < s.click_s, np.sin(np.pi * t / s.click_s), 0.0)
        thud = 0.3 * np.exp(-t / 0.015) * np.sin(2 * np.pi * 240.0 * t)
        return np.exp(-t / decays) * np.sin(2 * np.pi * modes * t), click + thud

    def record(self, motion: Motion, squeaker: Squeaker | None, rng: np.random.Generator) -> np.ndarray:
        """Return one clip (S,) float32 in [-1, 1), on the 16-bit grid, so that int16 keeps it without loss.

        Args:
            motion: what happened; as long as the clip.
            squeaker: the toy's; None if there is no toy or it is mute.
            rng: draws everything that differs between clips.

        Raises:
            RecordError: the motion is not as long as the clip.
        """
        config = self.config
        if abs(len(motion.squeeze_pa) / motion.rate_hz - config.clip_s) > 2.0 / motion.rate_hz:
            raise RecordError(
                f"motion of {len(motion.squeeze_pa) / motion.rate_hz:.3f} s for a clip of {config.clip_s} s; "
                "record the physics over the whole clip or set MicrophoneConfig.clip_s"
            )
        wave = self._stretch(self._room, rng).copy()
        self._add_gears(wave, motion, rng)
        if squeaker is not None:
            self._add_squeak(wave, motion, squeaker, rng)
        for time, force in motion.collisions:
            self._add_knock(wave, time, force, rng)
        np.multiply(wave, 32768.0, out=wave)
        np.rint(wave, out=wave)
        np.clip(wave, -32768.0, 32767.0, out=wave)
        return np.multiply(wave, np.float32(1 / 32768.0), out=wave)

    def _stretch(self, bank: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random stretch of a noise bank, as long as a clip."""
        start = int(rng.integers(len(bank) - self.config.samples + 1))
        return bank[start : start + self.config.samples]

    def _add_gears(self, wave: np.ndarray, motion: Motion, rng: np.random.Generator) -> None:
        """Add the whine of every moving joint and axis, and the rough noise of joints that hold a load."""
        config, motors, n_joints = self.config, self.config.motors, motion.joint_speed.shape[1]
        n_blocks = -(-len(wave) // BLOCK)
        at = np.minimum(np.arange(n_blocks + 1) * (BLOCK / config.rate_hz * motion.rate_hz), len(motion.squeeze_pa) - 1.001)
        low = at.astype(int)
        part = (at - low)[:, None]

        def blocks(values: np.ndarray) -> np.ndarray:
            values = np.abs(values)
            return values[low] * (1 - part) + values[low + 1] * part

        speed = np.concatenate([blocks(motion.joint_speed), blocks(motion.stage_speed)], axis=1)
        load = blocks(motion.joint_torque) / motors.load_torque
        frequency = speed[:-1] * np.array((motors.joint_hz_per_speed,) * n_joints + motors.stage_hz_per_speed)
        amplitude = speed * config.amplitude(motors.joint_db)
        amplitude[:, :n_joints] *= 1.0 + load
        amplitude[:, n_joints:] = speed[:, n_joints:] * np.array([4.0, 4.0, 4.0, 1.0]) * config.amplitude(motors.stage_db)
        phase = np.cumsum(frequency * (BLOCK / config.rate_hz), axis=0) + rng.uniform(0, 1, frequency.shape[1])
        hum = np.zeros((n_blocks, BLOCK), np.float32)
        quiet = config.amplitude(20.0)
        for j in range(speed.shape[1]):
            _add_whine(hum, phase[:, j], frequency[:, j], amplitude[:, j], self._table, quiet, config.rate_hz)
        stall = config.amplitude(motors.stall_db) * np.sqrt(np.sum(load[:-1] ** 2, axis=1))
        rough = np.zeros((n_blocks, BLOCK), np.float32)
        rough.reshape(-1)[: len(wave)] = self._stretch(self._rough, rng)
        rough *= stall.astype(np.float32)[:, None]
        hum += rough
        wave += hum.reshape(-1)[: len(wave)]

    def _add_squeak(self, wave: np.ndarray, motion: Motion, squeaker: Squeaker, rng: np.random.Generator) -> None:
        """Add the squeaker's tone and its reflection, computed only from its first to its last sound."""
        config = self.config
        pressure = bulb_pressure(motion.squeeze_pa, 1.0 / motion.rate_hz, squeaker.leak_s) / squeaker.onset_pa
        sounds = sounding(pressure, 1.0)
        if not sounds.any():
            return
        per_step = config.rate_hz / motion.rate_hz
        steps = np.flatnonzero(sounds)
        fade = round(2 * config.voice.attack_s * config.rate_hz)
        first, last = int(steps[0] * per_step), min(int((steps[-1] + 1) * per_step) + fade, len(wave))
        at = np.arange(first, last) / per_step
        drive = np.interp(at, np.arange(len(pressure)), pressure)
        on = sounds[np.minimum(at.astype(int), len(sounds) - 1)]
        level = config.voice.onset_db + config.voice.spread_db * rng.standard_normal()
        tone = reed(drive, on, squeaker, config.voice, rate_hz=config.rate_hz, rng=rng)
        tone *= np.float32(squeaker.gain * config.amplitude(level))
        wave[first:last] += tone
        delay = round(rng.uniform(0.0004, 0.003) * config.rate_hz)
        wave[first + delay : last] += np.float32(config.echo) * tone[: max(last - first - delay, 0)]

    def _add_knock(self, wave: np.ndarray, time: float, force: float, rng: np.random.Generator) -> None:
        """Add a hit at `time` [s] with `force` [N]."""
        s = self.config.structure
        start = round(time * self.config.rate_hz)
        if not 0 <= start < len(wave) or force <= 0:
            return
        shares = np.array(s.shares) / np.sum(s.shares) * 10 ** (s.spread_db / 20 * rng.standard_normal(len(s.shares)))
        peak = np.sqrt(2.0) * self.config.amplitude(s.level_db_per_newton + 20 * np.log10(force))
        knock = peak * (shares @ self._ring + s.click_share * self._click)
        end = min(start + len(knock), len(wave))
        wave[start:end] += knock[: end - start].astype(np.float32)


@njit(cache=True)
def _add_whine(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    hum: np.ndarray,
    phase: np.ndarray,
    frequency: np.ndarray,
    amplitude: np.ndarray,
    table: np.ndarray,
    quiet: float,
    rate_hz: int,
) -> None:
    """Add the tone of one motor to `hum` (N, BLOCK), block by block, where it is louder than `quiet`."""
    for k in range(hum.shape[0]):
        a, b = np.float32(amplitude[k]), np.float32(amplitude[k + 1])
        if max(a, b) <= quiet:
            continue
        start, pace = np.float32(phase[k] % 1.0), np.float32(frequency[k])
        for i in range(BLOCK):
            turn = start + pace * np.float32(i) / np.float32(rate_hz)
            share = np.float32(i) / np.float32(BLOCK)
            hum[k, i] += (a + (b - a) * share) * table[int(turn * TABLE) & (TABLE - 1)]


def mix(
    wave: np.ndarray,
    clip: np.ndarray,
    clip_rate_hz: int,
    *,
    level_db: float | None,
    start_s: float = 0.0,
    config: MicrophoneConfig | None = None,
) -> np.ndarray:
    """Add a recording of the surroundings to a clip (S,), as if it had sounded beside the hand; clips at full scale.

    Args:
        wave: clip at the microphone's rate (S,).
        clip: mono recording (N,) in [-1, 1] at its own rate; looped if it is shorter than the clip.
        clip_rate_hz: its rate [Hz].
        level_db: level of the whole recording (root mean square) at the microphone [dB SPL]; None adds it as it is.
        start_s: where in the recording to start [s].
        config: the microphone.

    Returns:
        (S,) float32.

    Raises:
        RecordError: the recording is not mono, empty, or silent with a level asked for.
    """
    config = config or MicrophoneConfig()
    if clip.ndim != 1 or len(clip) == 0:
        raise RecordError(f"mix needs a mono recording (N,) with N > 0, got {clip.shape}; average or pick a channel first")
    gain = 1.0
    if level_db is not None:
        rms = float(np.sqrt(np.mean(np.square(clip, dtype=float))))
        if rms == 0.0:
            raise RecordError("mix cannot bring a silent recording to a level; leave it out or pass level_db=None")
        gain = config.amplitude(level_db) / rms
    needed = int(np.ceil(len(wave) * clip_rate_hz / config.rate_hz)) + 1
    stretch = clip[(round(start_s * clip_rate_hz) + np.arange(needed)) % len(clip)]
    from scipy.signal import resample_poly  # noqa: PLC0415 - it takes a second to load, and only this function needs it

    shared = gcd(config.rate_hz, clip_rate_hz)
    other = (
        resample_poly(stretch, config.rate_hz // shared, clip_rate_hz // shared) if clip_rate_hz != config.rate_hz else stretch
    )
    return np.clip(wave + gain * other[: len(wave)], -1.0, 1.0).astype(np.float32)
