"""The tables beside the pictures of public touch data sets: which pictures show contact, labels, splits, captions."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import DataError
from palpate.data.external.findings import Findings
from palpate.data.external.image_folders import WHOLE, Fact, ImageFolders, Tables
from palpate.data.external.restricted_pickle import RestrictedReader

HARD_CLASSES = frozenset({7, 8, 9, 11, 13})
"""Classes of Touch and Go that the code of AnyTouch calls 1 of `hard`; which side that is, no file says."""
FIRST_SET = 100
"""Objects of ObjectFolder 1.0; those of 2.0 count on."""
SPLITS = ("train", "test")


def tacquad_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read `contact_{indoor,outdoor}.csv`: item, then first and last picture in contact of each sensor, both counted."""
    sensors = [pictures.stream for pictures in layout.pictures if pictures.stream.startswith("touch.")]
    contact = {}
    for place in ("indoor", "outdoor"):
        for row, cells in _rows(_beside(root, f"contact_{place}.csv"), findings):
            ends = [_whole(row, cell) for cell in cells[1 : 1 + 2 * len(sensors)]]
            if len(ends) < 2 * len(sensors):
                raise DataError(
                    f"{row}: {len(cells)} cells; it must be an item, then first and last picture of {len(sensors)} sensors"
                )
            for stream, first, last in zip(sensors, ends[::2], ends[1::2], strict=True):
                contact[f"data_{place}/{cells[0]}", stream] = range(first, last + 1)
    if next(root.parent.rglob("*.pt"), None) is not None:
        findings.notes.append(
            "texts come as .pt files of token numbers, which are not read: they are pickles and hold no words"
        )
    return Tables(contact=contact or None)


def path_tables(name: str, prefix: str = "") -> Callable[[Path, ImageFolders, Findings], Tables]:
    """Return the reader of a table whose first column names the pictures in contact by their path, which lacks `prefix`."""

    def read(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
        contact: dict[tuple[str, str], set[int]] = {}
        for row, cells in _rows(_beside(root, name), findings):
            unit, stream, number = _place(layout, row, prefix + cells[0])
            contact.setdefault((unit, stream), set()).add(number)
        return Tables(contact=contact or None)

    return read


def touch_and_go_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read `label.txt` or `train.txt` and `test.txt` (folder/picture,class), and `train_rough.txt` and `test_rough.txt`; -1: not known."""
    contact: dict[tuple[str, str], set[int]] = {}
    known: dict[tuple[str, int], dict[str, Any]] = {}
    names = ("label", *SPLITS, *(f"{split}_rough" for split in SPLITS))
    paths = {name: path for name in names if (path := _beside(root, f"{name}.txt", up=1)).is_file()}
    if not paths:
        findings.notes.append(f"none of {', '.join(names)}.txt: labels and contact are absent")
    for name, path in paths.items():
        for row, cells in _rows(path, findings):
            folder, _, picture = cells[0].partition("/")
            unit, stream, number = _place(layout, row, f"{folder}/gelsight_frame/{picture}")
            contact.setdefault((unit, stream), set()).add(number)
            value = _whole(row, cells[1] if len(cells) > 1 else "")
            entry = known.setdefault((unit, number), {"hard_class": None, "rough_class": None})
            if name in SPLITS:
                entry["split"] = name
            if value >= 0 and name.endswith("_rough"):
                entry["rough_class"] = float(value)
            elif value >= 0:
                entry |= {"material": f"class-{value:02d}", "hard_class": float(value in HARD_CLASSES)}
    facts: dict[str, dict[int, Fact]] = {}
    for (unit, number), entry in known.items():
        groups = {kind: entry[kind] for kind in ("split", "material") if kind in entry}
        labels = {name: entry[name] for name in ("hard_class", "rough_class")}
        facts.setdefault(unit, {})[number] = Fact(groups=groups, labels=labels)
    return Tables(contact=contact or None, facts=facts, labels=("hard_class", "rough_class"))


def objectfolder_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read `label.json` (object: class) and `split.json` (train and test: pairs of object and picture), which the two sets share.

    They lie with the second set. Objects up to `FIRST_SET` belong to the first.
    """
    second = next((folder for folder in (root, root.parent / "obj2.0") if (folder / "label.json").is_file()), root)
    classes = _json(second / "label.json", dict, findings)
    splits = _json(second / "split.json", dict, findings)
    groups: dict[str, dict[int, dict[str, str]]] = {}
    for split in SPLITS:
        for unit, number in splits.get(split, []):
            if (int(unit) <= FIRST_SET) == (layout.name == "objectfolder1"):
                groups.setdefault(str(unit), {})[int(number)] = {"split": split}
    facts: dict[str, dict[int, Fact]] = {}
    for unit, own in groups.items():
        material = {"material": f"class-{int(classes[unit]):02d}"} if unit in classes else {}
        facts[unit] = {number: Fact(groups=group | material) for number, group in own.items()}
    return Tables(facts=facts)


def tvl_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read of each `dataN` the list `contact.json` and the captions of `train.csv` and `test.csv` (vision, touch, background, caption)."""
    contact: dict[tuple[str, str], set[int]] = {}
    facts: dict[str, dict[int, Fact]] = {}
    for part in sorted(path for path in root.glob("data[0-9]*") if path.is_dir()):
        for path in _json(part / "contact.json", dict, findings).get("tactile", []):
            unit, stream, number = _place(layout, str(part / "contact.json"), f"{part.name}/{path}")
            contact.setdefault((unit, stream), set()).add(number)
        for split in SPLITS:
            for row, cells in list(_rows(part / f"{split}.csv", findings))[1:]:
                if len(cells) < 4:
                    raise DataError(
                        f"{row}: {len(cells)} cells; it must be paths of camera, touch and background picture, and a caption"
                    )
                unit, _, number = _place(layout, row, f"{part.name}/{cells[1]}")
                facts.setdefault(unit, {})[number] = Fact(groups={"split": split}, text=_sentence(cells[3]))
    if not facts:
        findings.notes.append("no train.csv or test.csv: texts are absent")
    return Tables(contact=contact or None, facts=facts)


def ssvtp_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read the texts `text/labels_N.txt`, and `train.csv` and `test.csv`, whose first column names the camera's pictures."""
    splits: dict[int, str] = {}
    for split in SPLITS:
        for row, cells in _rows(root / f"{split}.csv", findings):
            placed = layout.place(cells[0])
            if placed is None and not row.endswith(" row 1"):  # some copies have a header
                raise DataError(f"{row}: {cells[0]!r} names no picture of {layout.name}, {layout.shows}")
            if placed is not None:
                splits[placed[2]] = split
    texts = {}
    for path in (root / "text").glob("labels_*.txt"):
        number = path.stem.removeprefix("labels_")
        if number.isdigit():
            texts[int(number)] = _sentence(path.read_text(encoding="utf-8", errors="replace"))
    if not texts:
        findings.notes.append("no text/labels_N.txt: texts are absent")
    facts = {
        number: Fact(groups={"split": splits[number]} if number in splits else {}, text=texts.get(number, ""))
        for number in splits.keys() | texts.keys()
    }
    return Tables(facts={WHOLE: facts})


def feel_tables(root: Path, layout: ImageFolders, findings: Findings) -> Tables:
    """Read `feel.csv` (object, number, whether it was held) and the splits by object, `split_K.npy`."""
    splits: dict[str, dict[str, str]] = {}
    for path in sorted(root.glob("split_*.npy")):
        for split, names in _npy_dict(path).items():
            for name in names:
                splits.setdefault(str(name), {})[path.stem] = str(split)
    facts: dict[str, dict[int, Fact]] = {}
    for row, cells in _rows(root / "feel.csv", findings):
        if len(cells) < 3 or cells[2] not in {"0", "1"}:
            raise DataError(f"{row}: {cells}; it must be object, number, 1 (held) or 0")
        trial = Fact(groups=splits.get(cells[0], {}), labels={"stable": float(cells[2])})
        number = len(layout.phases) * _whole(row, cells[1])
        facts.setdefault(cells[0], {}).update((number + i, trial) for i in range(len(layout.phases)))
    return Tables(facts=facts, labels=("stable",))


def _sentence(words: str) -> str:
    """Return a caption with a full stop, so that several of them can be told apart in one text; empty stays empty."""
    words = " ".join(words.split())
    return words if not words or words[-1] in ".!?" else f"{words}."


def _beside(root: Path, name: str, up: int = 3) -> Path:
    """Return the path of a table, which lies with the pictures or at most `up` folders above them."""
    return next((at / name for at in (root, *list(root.absolute().parents)[:up]) if (at / name).is_file()), root / name)


def _rows(path: Path, findings: Findings) -> Iterator[tuple[str, list[str]]]:
    """Yield file with row number, and cells; an absent or empty table is noted and yields nothing."""
    if not path.is_file():
        findings.notes.append(f"no {path.parent.name}/{path.name}: what it tells is absent")
        return
    empty = True
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    empty = False
                    yield f"{path} row {reader.line_num}", [cell.strip() for cell in cells]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if empty:
        findings.notes.append(f"{path.parent.name}/{path.name} is empty: what it should tell is absent")


def _place(layout: ImageFolders, row: str, path: str) -> tuple[str, str, int]:
    placed = layout.place(path.lstrip("./"))
    if placed is None:
        raise DataError(f"{row}: {path!r} names no picture of {layout.name}, {layout.shows}")
    return placed


def _whole(row: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError as error:
        raise DataError(f"{row}: {cell!r} is no whole number") from error


def _json(path: Path, kind: type, findings: Findings) -> Any:
    """Return the content of a JSON file, an empty one of its kind if it is absent."""
    if not path.is_file():
        findings.notes.append(f"no {path.parent.name}/{path.name}: what it tells is absent")
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, kind):
        raise DataError(f"{path} holds a {type(content).__name__}; it must be a {kind.__name__}")
    return content


def _npy_dict(path: Path) -> dict[str, Any]:
    """Return a dict that was saved with `numpy.save`, with nothing in it but plain values and arrays."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            content = RestrictedReader(file).load()
        content = content.item()
    except Exception as error:  # damaged pickles raise nearly anything
        raise DataError(
            f"{path} is refused: {error}. It must be a dict of lists of object names, saved with numpy.save"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; it must be a dict of lists of object names")
    return content
