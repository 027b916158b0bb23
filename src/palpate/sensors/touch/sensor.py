"""A unit of a touch sensor: turns what happened to its gel into what it gives.

Two outputs: `ideal` is free of noise and gives the rest image bit for bit without contact; `sense` is what a camera gives. Arrays may
have leading batch axes; records of `palpate.core` hold a single frame.
"""

from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numba import njit

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.records import TactileFrame
from palpate.sensors.touch import markers
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.model import SensorModel, Shader
from palpate.sensors.touch.noise import NoiseBank, episode_pattern
from palpate.sensors.touch.rest import marker_points, rest_light, wear_layer
from palpate.sensors.touch.taxels import Taxels, force_field, region_force, taxel_forces
from palpate.sensors.touch.tip import TipContact


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a sensor gives, one reading or a batch (leading axes `...`); what it does not give is None."""

    image: np.ndarray | None = None
    """(..., H, W, 3) uint8, RGB."""
    markers: np.ndarray | None = None
    """(..., M, 2) column and row of each marker [px], or x, y [m] if the sensor has no picture."""
    displacement: np.ndarray | None = None
    """(..., R, C, 3) displacement of the surface, x, y, z [m]."""
    force: np.ndarray | None = None
    """(..., R, C, 3) force on each part of the field [N]; sums to the net force."""
    taxels: np.ndarray | None = None
    """(..., P, 3) force that each taxel reads [N], gel frame."""
    region: np.ndarray | None = None
    """(...) net normal force [N]."""

    def frame(self, time: float) -> TactileFrame:
        """Return a single reading as a record.

        Its taxels are the sensor's own, or displacement [m] and force [N] of each part of a field (R * C, 6), or the force on the
        region (1, 1) of a sensor that gives nothing else.
        """
        taxels = self.taxels
        if taxels is None and self.displacement is not None and self.force is not None:
            taxels = np.concatenate([self.displacement, self.force], axis=-1).reshape(-1, 6)
        if taxels is None and self.image is None and self.markers is None and self.region is not None:
            taxels = self.region.reshape(1, 1)
        return TactileFrame(
            image=self.image,
            taxels=None if taxels is None else taxels.astype(np.float32),
            markers=None if self.markers is None else self.markers.astype(np.float32),
            time=time,
        )


@njit(cache=True)
def _compose(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    base: np.ndarray,
    change: np.ndarray,
    gain: float,
    cover: np.ndarray,
    darkness: np.ndarray,
    noise: np.ndarray,
    sign: float,
    out: np.ndarray,
) -> None:
    """Write (base + gain * change) under markers, plus noise, into `out` (H, W, 3) uint8."""
    rows, cols, _ = out.shape
    gain32, sign32 = np.float32(gain), np.float32(sign)
    for i in range(rows):
        for j in range(cols):
            share = cover[i, j]
            for c in range(3):
                light = (base[i, j, c] + gain32 * change[i, j, c]) * (np.float32(1.0) - share * darkness[c])
                level = light + sign32 * noise[i, j, c] + np.float32(0.5)
                out[i, j, c] = np.uint8(min(max(level, np.float32(0.0)), np.float32(255.0)))


_IDLE_CELLS = 20
"""Cells a side of the contact that stands for no contact."""

_NO_DARKNESS = np.zeros(3, np.float32)


class TouchSensor:
    """One unit. The same model, seed, gel and number of presses give the same unit."""

    def __init__(
        self,
        model: SensorModel,
        unit_seed: int,
        *,
        gel: int = 0,
        presses: float = 0.0,
        optics: Shader | None = None,
        rest_image: np.ndarray | None = None,
        taxels: Taxels | None = None,
    ) -> None:
        """Draw the unit's rest image and its noise bank.

        Args:
            model: constants of its kind.
            unit_seed: which unit.
            gel: how often its gel was replaced.
            presses: how often this gel was pressed: wear and scratches.
            optics: instead of the model's.
            rest_image: (H, W, 3) uint8, a real one without markers, instead of a drawn one.
            taxels: where they lie and what they feel, for a sensor of taxels.

        Raises:
            RecordError: no optics for a sensor of pictures, no fitting taxels for one of taxels, or a rest image of another size.
        """
        self.model, self.unit_seed, self.gel, self.presses = model, unit_seed, gel, presses
        self.name = f"{model.name}-{unit_seed}"
        self._optics, self._given_rest, self._taxels = optics or model.optics, rest_image, taxels
        if "image" in model.read_outs and self._optics is None:
            raise RecordError(f"sensor {model.name!r} gives pictures but has no optics; fit them and pass optics=...")
        if "taxels" in model.read_outs and (taxels is None or len(taxels.weights) != model.taxel_count):
            given = "none" if taxels is None else str(len(taxels.weights))
            raise RecordError(
                f"sensor {model.name!r} gives {model.taxel_count} taxels; pass taxels=... of as many, got {given}"
            )
        self._points = np.empty((0, 2))
        if model.markers is not None:
            self._points = marker_points(model.markers, model.gel, generator(unit_seed, 2, gel))
        self._gain = 1.0
        if "image" in model.read_outs:
            self._prepare_picture()

    def _prepare_picture(self) -> None:
        model, shape = self.model, self.image_shape
        light = self._given_rest
        if light is None and model.look is not None:
            light = rest_light(model.look, shape, generator(self.unit_seed, 0), generator(self.unit_seed, 1, self.gel))
        if light is None or light.shape != (*shape, 3):
            given = None if light is None else light.shape
            raise RecordError(
                f"sensor {model.name!r} needs a rest image {(*shape, 3)}, got {given}; resize it or name another sensor"
            )
        worn = wear_layer(model.gel, shape, self.presses, generator(self.unit_seed, 3, self.gel))
        self._light = np.ascontiguousarray(light * worn[..., None], np.float32)
        self._base, self._mean = self._light, float(self._light.mean())
        self._bank = NoiseBank(model.noise, shape, generator(self.unit_seed, 4))
        self._still = np.zeros((*shape, 3), np.float32)
        self._bare = np.zeros(shape, np.float32)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        if self.model.picture_shape is None:
            raise RecordError(f"sensor {self.model.name!r} gives no picture; it gives {', '.join(self.model.read_outs)}")
        return self.model.picture_shape

    def worn(self, presses: float) -> "TouchSensor":
        """Return the same unit and gel after so many presses in all."""
        return self._again(gel=self.gel, presses=presses)

    def replace_gel(self) -> "TouchSensor":
        """Return the same unit with a new gel: another tint, other markers, no wear."""
        return self._again(gel=self.gel + 1, presses=0.0)

    def _again(self, gel: int, presses: float) -> "TouchSensor":
        return type(self)(
            self.model,
            self.unit_seed,
            gel=gel,
            presses=presses,
            optics=self._optics,
            rest_image=self._given_rest,
            taxels=self._taxels,
        )

    def begin_episode(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for an episode: contrast, brightness and pattern of the picture as sensed."""
        if "image" not in self.model.read_outs:
            return
        figures = self.model.noise
        self._gain = 1.0 + float(rng.normal(0.0, figures.gain))
        offset = float(rng.normal(0.0, figures.offset))
        base = episode_pattern(figures, self.image_shape, rng)
        base += self._light * np.float32(self._gain)
        base += np.float32((1.0 - self._gain) * self._mean + offset)
        self._base = base

    def rest(self, time: float = 0.0) -> TactileFrame:
        """Return what the unit gives without contact, free of noise."""
        return self.ideal(None).frame(time)

    def press(self, gap: np.ndarray, force: float, time: float = 0.0) -> TactileFrame:
        """Return, free of noise, what a rigid surface at distance `gap` (H, W) [m] over the pad gives, pressed on with `force` [N].

        Raises:
            RecordError: the gap or the force is not physical.
        """
        return self.ideal(self.contact(gap, force)).frame(time)

    def contact(
        self,
        gap: np.ndarray,
        force: float | np.ndarray,
        *,
        shift: tuple[float, float] | None = None,
        twist: float | None = None,
        before: Contact | None = None,
        dt: float | None = None,
    ) -> Contact:
        """Press rigid surfaces at distance `gap` (..., H, W) [m] over the whole pad on the gel with `force` [N].

        `shift` [m], `twist` [rad], `before` and `dt` [s] are those of `palpate.sensors.touch.flat.press`.
        """
        pad, limit = self.model.pad, self.model.max_force
        if np.max(force) > limit:
            raise RecordError(
                f"a press of {np.max(force):.1f} N is beyond {self.name}'s {limit:.0f} N; is the force in newtons?"
            )
        if gap.ndim < 2 or 0 in gap.shape:
            raise RecordError(f"gap must be (..., H, W) over the whole pad [m], got shape {gap.shape}")
        pitch = (pad.height / gap.shape[-2], pad.width / gap.shape[-1])
        return press(pad, gap, pitch, force=force, shift=shift, twist=twist, before=before, dt=dt)

    def frame(self, contact: Contact | TipContact | None, rng: np.random.Generator, time: float) -> TactileFrame:
        """Return one frame as sensed; `contact` None means that nothing touches."""
        return self.sense(contact, rng).frame(time)

    def ideal(self, contact: Contact | TipContact | None) -> Reading:
        """Return the reading free of noise; without contact the picture is the rest image, bit for bit."""
        return self._read(contact, None)

    def sense(self, contact: Contact | TipContact | None, rng: np.random.Generator) -> Reading:
        """Return the reading with the noise of this episode and of each frame."""
        return self._read(contact, rng)

    def _read(self, contact: Contact | TipContact | None, rng: np.random.Generator | None) -> Reading:
        gives, noise = self.model.read_outs, self.model.noise
        taxels, region = None, None
        if "taxels" in gives and self._taxels is not None:
            taxels = np.zeros((len(self._taxels.weights), 3)) if contact is None else taxel_forces(contact, self._taxels)
        if "region" in gives:
            region = np.zeros(()) if contact is None else region_force(contact)
        out = Reading(taxels=_noisy(taxels, noise.force, rng), region=_noisy(region, noise.force, rng))
        if not {"image", "markers", "field"} & set(gives):
            return out
        if isinstance(contact, TipContact):
            raise RecordError(
                f"{self.name} is flat and cannot read a contact of a curved tip; press with `contact` or flat.press"
            )
        return self._read_flat(out, contact, rng)

    def _read_flat(self, out: Reading, contact: Contact | None, rng: np.random.Generator | None) -> Reading:
        """Add picture, markers and field to a reading."""
        model, gives = self.model, self.model.read_outs
        seen = _nothing(model) if contact is None else self._in_view(contact)
        if model.field_shape is not None and "field" in gives:
            moved = _noisy(_displacements(seen, model), model.noise.displacement, rng)
            out = replace(out, displacement=moved, force=_noisy(force_field(seen, model.field_shape), model.noise.force, rng))
        points = None if model.markers is None else self._moved(seen)
        if points is not None and "markers" in gives:
            out = replace(out, markers=self._marker_read_out(points, rng))
        if "image" in gives:
            out = replace(out, image=self._images(None if contact is None else seen, points, rng))
        return out

    def _in_view(self, contact: Contact) -> Contact:
        """Cut a contact of the whole pad to the field of view.

        Raises:
            RecordError: the grid does not cover the field of view by whole cells.
        """
        shape, view = contact.pressure.shape[-2:], self.model.field_of_view
        surplus = [(n * pitch - length) / pitch / 2 for n, pitch, length in zip(shape, contact.pitch, view, strict=True)]
        cut = [max(round(s), 0) for s in surplus]
        if any(abs(s - c) > 0.3 for s, c in zip(surplus, cut, strict=True)):
            size = [n * pitch for n, pitch in zip(shape, contact.pitch, strict=True)]
            raise RecordError(
                f"a contact of {size[0] * 1e3:.2f} x {size[1] * 1e3:.2f} mm does not cover {self.name}'s field of view, "
                f"{view[0] * 1e3:.2f} x {view[1] * 1e3:.2f} mm, with whole cells to cut on both sides; choose another grid"
            )
        if cut == [0, 0]:
            return contact
        rows, cols = slice(cut[0], shape[0] - cut[0]), slice(cut[1], shape[1] - cut[1])
        return replace(
            contact,
            pressure=contact.pressure[..., rows, cols],
            shear=contact.shear[..., rows, cols, :],
            sunk=contact.sunk[..., rows, cols],
            drift=contact.drift[..., rows, cols, :],
        )

    def _moved(self, contact: Contact) -> np.ndarray:
        """Return where the markers are (..., M, 2) [m]."""
        grid = self.model.markers
        return self._points + markers.displacement(self._points, contact, grid.inlay if grid else 0.0)

    def _marker_read_out(self, points: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        points = _noisy(points, self.model.noise.marker, rng)
        if self.model.picture_shape is None:
            return points
        return markers.to_pixels(points, self.model.picture_shape, self.model.field_of_view)

    def _images(self, contact: Contact | None, points: np.ndarray | None, rng: np.random.Generator | None) -> np.ndarray:
        """Return (..., H, W, 3) uint8."""
        shape, lead = self.image_shape, contact.pressure.shape[:-2] if contact is not None else ()
        change = self._still
        if contact is not None and self._optics is not None:
            change = self._optics.difference(contact.sunk, contact.pitch)
        if change.shape != (*lead, *shape, 3):
            raise RecordError(
                f"the optics of {self.name} gave {change.shape}, expected {(*lead, *shape, 3)}; they belong to another sensor"
            )
        flat = np.ascontiguousarray(change, np.float32).reshape(-1, *shape, 3)
        out = np.empty(flat.shape, np.uint8)
        places = None if points is None else points.reshape(len(flat), -1, 2)
        base, gain = (self._light, 1.0) if rng is None else (self._base, self._gain)
        for i in range(len(flat)):
            cover, darkness = self._cover(None if places is None else places[i])
            noise, sign = (self._still, 0.0) if rng is None else self._bank.cut(rng)
            _compose(base, flat[i], gain, cover, darkness, noise, sign, out[i])
        return out.reshape(*lead, *shape, 3)

    def _cover(self, points: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of each pixel under markers (H, W) and the markers' darkness (3,)."""
        grid = self.model.markers
        if grid is None or points is None:
            return self._bare, _NO_DARKNESS
        pixel = self.model.pixel
        pixels = markers.to_pixels(points, self.image_shape, self.model.field_of_view)
        cover = markers.coverage(pixels, (grid.radius / pixel[0], grid.radius / pixel[1]), self.image_shape)
        return cover, np.asarray(grid.darkness, np.float32)


@overload
def _noisy(values: np.ndarray, std: float, rng: np.random.Generator | None) -> np.ndarray: ...
@overload
def _noisy(values: None, std: float, rng: np.random.Generator | None) -> None: ...
def _noisy(values: np.ndarray | None, std: float, rng: np.random.Generator | None) -> np.ndarray | None:
    if values is None or rng is None or std == 0.0:
        return values
    return values + std * rng.normal(size=np.shape(values))


def _nothing(model: SensorModel) -> Contact:
    """Return a contact over the field of view in which nothing happens."""
    n = _IDLE_CELLS
    flat, pairs = np.zeros((n, n)), np.zeros((n, n, 2))
    pitch = (model.field_of_view[0] / n, model.field_of_view[1] / n)
    return Contact(pitch=pitch, pressure=flat, shear=pairs, sunk=flat, drift=pairs, approach=np.zeros(()))


def _displacements(contact: Contact, model: SensorModel) -> np.ndarray:
    """Return (..., R, C, 3) displacement [m] at the centres of the field's parts."""
    rows, cols = model.field_shape or (1, 1)
    y, x = cell_centres((rows, cols), (model.field_of_view[0] / rows, model.field_of_view[1] / cols))
    points = np.stack([np.broadcast_to(x, (rows, cols)), np.broadcast_to(y, (rows, cols))], axis=-1).reshape(-1, 2)
    surface = np.concatenate([contact.drift, contact.sunk[..., None]], axis=-1)
    return markers.sample(surface, points, contact.pitch).reshape(*contact.pressure.shape[:-2], rows, cols, 3)
