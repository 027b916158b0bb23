"""PhysiCLeAR recordings (Octopi): a GelSight Mini without markers, pressed by hand on things of the house and turned.

A public data set without a stated licence. `OBJECT_NUMBER.mov` (MPEG-4, 320 x 240), in two capture settings (25 and 10 frames a
second) that go with some objects, and `labels.csv` with people's ranks 0 < 1 < 2 of hardness and roughness per object. Some clips
are cut-off ends of others.
"""

import csv
from pathlib import Path

from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data.external.video import (
    Imported,
    check_size,
    most_common_size,
    pad_stream,
    read_clip,
    take_number,
    write_presses,
)

LABELS = ("hardness_rank", "roughness_rank")
RANKS = (0.0, 1.0, 2.0)


def import_octopi(folder: Path, out: Path) -> Imported:
    """Import all clips of a folder as episodes of task `press`.

    Stream `touch.pad` on the clip's clock. Groups: `object`, `setting` (nominal frame rate), `take`. Labels `hardness_rank` and
    `roughness_rank`, None for objects that the table does not rank.

    Args:
        folder: Holds `*.mov` and `labels.csv`.
        out: New data folder.

    Raises:
        DataError: No clip could be imported, or the table of labels is absent or damaged.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.mov"))
    if not paths:
        raise DataError(f"{folder}: no .mov file; give the folder with OBJECT_NUMBER.mov and labels.csv")
    ranks = read_ranks(folder / "labels.csv")
    size = most_common_size(paths)
    unlabelled: set[str] = set()

    def read(path: Path, index: int) -> tuple[Episode, list[str]]:
        name, take = take_number(path.stem)
        clip = read_clip(path)
        check_size(path, clip, size)
        labels = ranks.get(name, dict.fromkeys(LABELS))
        if None in labels.values():
            unlabelled.add(name)
        episode = Episode(
            index=index,
            seed=0,
            task="press",
            groups={"object": name, "setting": f"{clip.rate_hz:g} Hz", "take": f"{name}/{take}"},
            streams={"touch.pad": pad_stream(clip.frames, clip.times, "gel")},
            labels=labels,
        )
        return episode, [f"{path}: {clip.missing} promised frames cannot be decoded"] if clip.missing else []

    done, left_out, notes = write_presses(Path(out), {"source": "octopi_physiclear"}, paths, read)
    return Imported(
        out=Path(out), episodes=done, left_out=tuple(left_out), unlabelled=tuple(sorted(unlabelled)), notes=tuple(notes)
    )


def read_ranks(path: Path) -> dict[str, dict[str, float | None]]:
    """Return the ranks by object; an empty cell is not known.

    Raises:
        DataError: No such file, a missing column, or a cell that is no rank; names file, row and column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in ("object", *LABELS) if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} row 1: column {missing[0]} is missing; it has {reader.fieldnames}")
            return {row["object"]: {n: _rank(path, reader.line_num, n, row[n]) for n in LABELS} for row in reader}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; it holds the ranks, one row per object") from error


def _rank(path: Path, row: int, column: str, cell: str | None) -> float | None:
    if not (cell or "").strip():
        return None
    try:
        rank = float(cell or "")
    except ValueError:
        rank = -1.0
    if rank not in RANKS:
        raise DataError(f"{path} row {row}, column {column}: {cell!r}; allowed: 0, 1, 2 or nothing")
    return rank
