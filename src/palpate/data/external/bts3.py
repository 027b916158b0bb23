"""BioTacSp Stability Set v2 (BTS3): 4,682 grasps of a Shadow hand with three BioTac SP fingertips.

A public data set of the 3D Perception Lab, MIT licence. One row per grasp: `object`, `slipped` (1: fell or
moved when lifted), and 24 raw taxel readings (no unit) of first finger, middle finger and thumb before the lift. The
orientation of the palm stands in the file name only. Offsets differ by taxel and by pose: scale per taxel, and test on
objects and poses that training has not seen.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream, StreamSpec

FINGERS = ("ff", "mf", "th")
TAXELS = 24
COLUMNS = ("object", "slipped", *(f"{f}_biotac_{i}" for f in FINGERS for i in range(1, TAXELS + 1)))
POSES = ("palm_down", "palm_side", "palm_45")


def read_bts3(files: str | Path | Iterable[str | Path]) -> Iterator[Episode]:
    """Yield one episode per row of CSV files in the layout of BTS3, numbered through all files.

    Streams `touch.ff`, `touch.mf`, `touch.th`: (24, 1) float32 taxels, raw counts, at time 0. Label `stable` is
    1 - slipped. Groups: `object`, `pose` (from the file name; the whole stem if no known pose is in it), `file`.

    Args:
        files: CSV files, or a folder of them.

    Raises:
        DataError: No file, a missing column, an empty file, or a cell that is not a number; names file, row and column.
    """
    index = 0
    for path in _paths(files):
        pose = next((pose for pose in POSES if pose in path.stem), path.stem)
        for number, cells in _rows(path):
            taxels = np.array([_number(path, number, column, cells[column]) for column in COLUMNS[2:]], np.float32)
            slipped = _number(path, number, "slipped", cells["slipped"])
            if slipped not in (0.0, 1.0):
                raise DataError(
                    f"{path} row {number}, column slipped: {cells['slipped']!r}; it must be 0 (stable) or 1 (slipped)"
                )
            if not cells["object"]:
                raise DataError(f"{path} row {number}, column object: empty; every grasp needs the name of its object")
            yield Episode(
                index=index,
                seed=0,
                task="bts3",
                groups={"object": cells["object"], "pose": pose, "file": path.name},
                streams=_streams(taxels.reshape(len(FINGERS), 1, TAXELS, 1)),
                labels={"stable": 1.0 - slipped},
            )
            index += 1


def _paths(files: str | Path | Iterable[str | Path]) -> Sequence[Path]:
    if isinstance(files, str | Path):
        one = Path(files)
        paths = sorted(one.glob("*.csv")) if one.is_dir() else [one]
    else:
        paths = [Path(file) for file in files]
    if not paths:
        raise DataError(f"{files}: no .csv file; give the CSV files of the data set or their folder")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} does not exist; give the CSV files of the data set or their folder")
    return paths


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the row number as an editor shows it (the header is row 1) and the cells by column."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            missing = [column for column in COLUMNS if column not in header]
            if missing:
                raise DataError(
                    f"{path} row 1: column {missing[0]} is missing ({len(missing)} of {len(COLUMNS)} are); "
                    f"a BTS3 file has object, slipped, and ff, mf, th _biotac_1 to _biotac_{TAXELS}"
                )
            empty = True
            for cells in reader:
                if not any(cells):
                    continue
                empty = False
                if len(cells) != len(header):
                    column = header[len(cells)] if len(cells) < len(header) else f"number {len(header) + 1}"
                    raise DataError(
                        f"{path} row {reader.line_num}, column {column}: {len(cells)} cells, the header has {len(header)}"
                    )
                yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path} row {reader.line_num + 1}: not a CSV file in UTF-8: {error}") from error
        if empty:
            raise DataError(f"{path} holds a header and no grasps")


def _number(path: Path, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{path} row {row}, column {column}: {cell!r} is not a number; repair or delete the row")
    return value


def _streams(taxels: np.ndarray) -> dict[str, Stream]:
    names = [f"touch.{finger}" for finger in FINGERS]
    return {
        name: Stream(
            spec=StreamSpec(name=name, kind="taxels", shape=(TAXELS, 1), dtype="float32", unit="counts"),
            times=np.zeros(1),
            values=values,
        )
        for name, values in zip(names, taxels, strict=True)
    }
