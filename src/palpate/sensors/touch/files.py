"""Descriptions of sensors as files: TOML or JSON in, JSON out. Units stand in the names; unknown and missing keys are errors.

A description has the keys of `SensorModel` with `pad`, `look`, `markers`, `noise` and `gel` as tables. The sensor `template` of
`palpate.sensors.touch.catalog`, written with `write_sensor`, is a file to start from. Optics have a file of their own, written by
`Optics.save`; the key `optics` names it, relative to the description.
"""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from palpate.core.errors import DataError, RecordError
from palpate.core.units import MM
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.markers import MarkerGrid
from palpate.sensors.touch.model import READ_OUTS, SensorModel
from palpate.sensors.touch.noise import NoiseFigures
from palpate.sensors.touch.optics import load_optics
from palpate.sensors.touch.rest import GelFigures, RestLook


class _WrongValueError(Exception):
    """What a key should have held."""


def _number(value: Any) -> float:
    if value == "inf":  # JSON has no infinity
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise _WrongValueError("a number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _WrongValueError("a whole number of 1 or more")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _WrongValueError("a text")
    return value


def _many(one: Callable[[Any], Any], length: int) -> Callable[[Any], tuple[Any, ...]]:
    def convert(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != length:
            raise _WrongValueError(f"a list of {length}")
        return tuple(one(each) for each in value)

    return convert


def _read_outs(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(READ_OUTS):
        raise _WrongValueError(f"a list out of {', '.join(READ_OUTS)}")
    return tuple(value)


def _series(value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list):
        raise _WrongValueError("a list of pairs: share and time constant [s]")
    pair = _many(_number, 2)
    return tuple((share, time) for share, time in map(pair, value))


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _WrongValueError("a table of texts")
    return {key: _text(each) for key, each in value.items()}


@dataclass(frozen=True)
class _Key:
    attribute: str
    convert: Callable[[Any], Any]
    unit: float = 1.0
    """Size of the file's unit in SI units."""


_pair, _three = _many(_number, 2), _many(_number, 3)
_TABLES: Mapping[type, Mapping[str, _Key]] = {
    Pad: {
        "height_mm": _Key("height", _number, MM),
        "width_mm": _Key("width", _number, MM),
        "thickness_mm": _Key("thickness", _number, MM),
        "young_kpa": _Key("young", _number, 1e3),
        "poisson": _Key("poisson", _number),
        "friction": _Key("friction", _number),
        "relaxation": _Key("relaxation", _series),
    },
    RestLook: {
        "base": _Key("base", _three),
        "azimuth_deg": _Key("azimuth_deg", _three),
        "fall": _Key("fall", _pair),
        **{name: _Key(name, _number) for name in ("spot", "vignette", "light_spread", "turn_deg", "tint", "blotch", "grain")},
    },
    MarkerGrid: {
        "rows": _Key("rows", _count),
        "cols": _Key("cols", _count),
        "pitch_mm": _Key("pitch", _pair, MM),
        "radius_mm": _Key("radius", _number, MM),
        "darkness": _Key("darkness", _three),
        "inlay_mm": _Key("inlay", _number, MM),
    },
    NoiseFigures: {
        **{
            name: _Key(name, _number)
            for name in ("gain", "offset", "pattern", "pattern_slope", "frame", "frame_slope", "channel_correlation")
        },
        "marker_mm": _Key("marker", _number, MM),
        "displacement_mm": _Key("displacement", _number, MM),
        "force_n": _Key("force", _number),
    },
    GelFigures: {each.name: _Key(each.name, _number) for each in fields(GelFigures)},
}


def _table(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _WrongValueError("a table")
        return kind(**_converted(kind, _TABLES[kind], value))

    return convert


_MODEL: Mapping[str, _Key] = {
    "name": _Key("name", _text),
    "read_outs": _Key("read_outs", _read_outs),
    "field_of_view_mm": _Key("field_of_view", _pair, MM),
    "rate_hz": _Key("rate_hz", _number),
    "max_force_n": _Key("max_force", _number),
    "picture_shape": _Key("picture_shape", _many(_count, 2)),
    "field_shape": _Key("field_shape", _many(_count, 2)),
    "taxel_count": _Key("taxel_count", _count),
    "pad": _Key("pad", _table(Pad)),
    "look": _Key("look", _table(RestLook)),
    "markers": _Key("markers", _table(MarkerGrid)),
    "noise": _Key("noise", _table(NoiseFigures)),
    "gel": _Key("gel", _table(GelFigures)),
    "sources": _Key("sources", _texts),
    "estimates": _Key("estimates", _texts),
}


def _scaled(value: Any, unit: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_scaled(each, unit) for each in value)
    # 12 digits: 18.88 mm is to be the very number that 0.01888 m is.
    return value if unit == 1.0 else float(f"{value * unit:.12g}")


def _converted(kind: type, keys: Mapping[str, _Key], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of `kind` from a table of a file.

    Raises:
        DataError: unknown or missing keys, or a value of the wrong kind.
    """
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    unknown = sorted(set(given) - set(keys))
    missing = sorted(name for name, key in keys.items() if key.attribute in needed and name not in given)
    if unknown or missing:
        raise DataError(
            f"unknown keys {unknown}, missing keys {missing}; allowed: {', '.join(keys)}{', optics' if kind is SensorModel else ''}"
        )
    out = {}
    for name, value in given.items():
        try:
            out[keys[name].attribute] = _scaled(keys[name].convert(value), keys[name].unit)
        except _WrongValueError as wrong:
            raise DataError(f"{name} must be {wrong}, got {value!r}") from None
        except DataError as inner:
            raise DataError(f"in {name}: {inner}") from None
    return out


def read_sensor(path: Path) -> SensorModel:
    """Read the description of a sensor from a `.toml` or `.json` file.

    Raises:
        DataError: the file cannot be read as a description; the message names the file, the key and what is allowed.
    """
    readers: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise DataError(
            f"{path}: a sensor is described in {' or '.join(readers)}, not in {path.suffix or 'a file without suffix'}"
        )
    try:
        given = readers[path.suffix](path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise DataError(f"{path} must hold a table of keys, not {type(given).__name__}")
    try:
        model = SensorModel(**_converted(SensorModel, _MODEL, {key: given[key] for key in given if key != "optics"}))
        if "optics" not in given:
            return model
        return replace(model, optics=load_optics(path.parent / str(given["optics"]), model.picture_shape))
    except (DataError, RecordError) as error:
        raise DataError(f"{path}: {error}") from error


def write_sensor(model: SensorModel, path: Path) -> None:
    """Write the description of a sensor as JSON, without its optics.

    Raises:
        DataError: the path does not end in .json.
    """
    if path.suffix != ".json":
        raise DataError(f"descriptions are written as JSON; {path} does not end in .json")
    path.write_text(json.dumps(_described(model, _MODEL), indent=2) + "\n", encoding="utf-8")


def _described(record: Any, keys: Mapping[str, _Key]) -> dict[str, Any]:
    out = {}
    for name, key in keys.items():
        value = getattr(record, key.attribute)
        if value is None:
            continue
        out[name] = _described(value, _TABLES[type(value)]) if type(value) in _TABLES else _plain(value, key.unit)
    return out


def _plain(value: Any, unit: float) -> Any:
    """Return a value in the file's unit, in types that JSON has."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(each, unit) for each in value]
    if isinstance(value, float):
        return "inf" if math.isinf(value) else float(f"{value / unit:.12g}")
    return value
