"""The constants of a kind of touch sensor, every one with its source or with the reason for an estimate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.markers import MarkerGrid
from palpate.sensors.touch.noise import NoiseFigures
from palpate.sensors.touch.rest import GelFigures, RestLook

ReadOut = Literal["image", "markers", "field", "taxels", "region"]
"""What a sensor gives: a picture, places of markers, a field of displacement and force, taxels, the force on a region."""

READ_OUTS: tuple[ReadOut, ...] = ("image", "markers", "field", "taxels", "region")


class Shader(Protocol):
    """The optics: from the shape of the gel to the change of the picture."""

    def difference(self, sunk: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
        """Return (..., H, W, 3) float32 grey levels; 0 exactly where and if nothing is sunk (..., h, w) [m]."""
        ...


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """Constants of a kind of sensor. Every figure names its source or says why it is an estimate."""

    name: str
    read_outs: tuple[ReadOut, ...]
    pad: Pad
    field_of_view: tuple[float, float]
    """Height and width that the read-outs cover, centred on the pad [m]."""
    rate_hz: float
    """Samples a second."""
    max_force: float
    """A harder press is refused as a mistake [N]."""
    picture_shape: tuple[int, int] | None = None
    """Rows and columns; None without a picture."""
    look: RestLook | None = None
    """Of rest images; None without a picture."""
    optics: Shader | None = field(default=None, compare=False)
    """None: to be given to each unit. Left out of comparisons, since it holds arrays."""
    markers: MarkerGrid | None = None
    field_shape: tuple[int, int] | None = None
    """Rows and columns of the displacement and force field; None without."""
    taxel_count: int | None = None
    noise: NoiseFigures = field(default_factory=NoiseFigures)
    gel: GelFigures = field(default_factory=GelFigures)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each figure was found, by its name (see `figures`)."""
    estimates: Mapping[str, str] = field(default_factory=dict)
    """Figures that were found nowhere, by name, with the reason for the value taken."""

    def __post_init__(self) -> None:
        """Refuse constants that contradict themselves and figures of unknown origin."""
        _check_read_outs(self)
        _check_sizes(self)
        named = {**self.sources, **self.estimates}
        silent = [name for name in self.figures() if not named.get(name, "").strip()]
        stray = sorted(set(named) - set(self.figures()) - {"optics"})  # a description may speak of optics that come later
        both = sorted(set(self.sources) & set(self.estimates))
        if silent or stray or both:
            found = {
                "no source or reason for": silent,
                "sources of figures it does not have:": stray,
                "both source and estimate:": both,
            }
            words = "; ".join(f"{what} {', '.join(names)}" for what, names in found.items() if names)
            raise RecordError(
                f"sensor {self.name!r}: {words}. Name each of {', '.join(self.figures())} once, in sources or in estimates"
            )

    def figures(self) -> tuple[str, ...]:
        """Return the names of the figures that need a source or a reason."""
        names = ["pad.size", "pad.thickness", "pad.young", "pad.poisson", "pad.friction", "field_of_view", "rate_hz"]
        names += ["max_force", "noise"]
        names += ["picture_shape", "look"] if self.picture_shape else []
        names += ["optics"] if self.optics is not None else []
        names += ["markers"] if self.markers else []
        names += ["field_shape"] if self.field_shape else []
        names += ["taxel_count"] if self.taxel_count else []
        return tuple(names)

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel on the gel [m]."""
        if self.picture_shape is None:
            raise RecordError(f"sensor {self.name!r} gives no picture; it gives {', '.join(self.read_outs)}")
        return self.field_of_view[0] / self.picture_shape[0], self.field_of_view[1] / self.picture_shape[1]


def _check_read_outs(model: SensorModel) -> None:
    needs = {
        "image": model.picture_shape is not None and model.look is not None,
        "markers": model.markers is not None,
        "field": model.field_shape is not None,
        "taxels": model.taxel_count is not None,
        "region": True,
    }
    unknown = sorted(set(model.read_outs) - set(needs))
    if unknown or not model.read_outs:
        raise RecordError(f"sensor {model.name!r}: unknown read-outs {unknown}; allowed: {', '.join(READ_OUTS)}, at least one")
    missing = [name for name in model.read_outs if not needs[name]]
    if missing:
        raise RecordError(
            f"sensor {model.name!r} is said to give {missing} without its constants: an image needs picture_shape and look, "
            "markers need markers, a field needs field_shape, taxels need taxel_count"
        )


def _check_sizes(model: SensorModel) -> None:
    pad, view = model.pad, model.field_of_view
    positive = {
        "pad height": pad.height,
        "pad width": pad.width,
        "pad thickness": pad.thickness,
        "Young's modulus": pad.young,
        "field of view": min(view),
        "rate": model.rate_hz,
        "max force": model.max_force,
    }
    wrong = [f"{name} {value:g}" for name, value in positive.items() if not value > 0]
    if wrong:
        raise RecordError(f"sensor {model.name!r}: these must be above 0: {', '.join(wrong)} (SI units)")
    if not -1 < pad.poisson < 0.5:
        raise RecordError(
            f"sensor {model.name!r}: Poisson ratio {pad.poisson:g}; it must lie above -1 and below 0.5: rubber is about 0.48, and at 0.5 a "
            "bonded layer does not give way at all"
        )
    if view[0] > pad.height * 1.0001 or view[1] > pad.width * 1.0001:
        h, w, tall, wide = (1e3 * size for size in (*view, pad.height, pad.width))
        raise RecordError(
            f"sensor {model.name!r}: the field of view, {h:g} x {w:g} mm, is larger than the pad, {tall:g} x {wide:g} mm (height x width)"
        )
    if model.look is not None and not all(0 <= value <= 255 for value in model.look.base):
        raise RecordError(
            f"sensor {model.name!r}: the base colour of its rest image is {model.look.base}; grey levels go from 0 to 255"
        )
    if not model.name or any(c in model.name for c in "/\\\0 "):
        raise RecordError(f"sensor name {model.name!r}: streams and files carry it, so it must have no slash and no space")
