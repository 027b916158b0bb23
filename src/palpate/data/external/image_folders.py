"""Data sets that are folders of numbered pictures: a description of the folders in, episodes of task `touch` out.

A *unit* is what lies in folders that belong together (a recording, an object); it becomes one episode or several *pieces*.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.data.external.findings import Findings
from palpate.data.external.pictures import Taken, looks_swapped, picture_shape, read_pictures, spread

ASSUMED_RATE_HZ = 30.0
"""Frames a second where neither the files nor the user tell: of ordinary webcams, which these sensors are."""
SEEN_UNITS = 24
"""Units that are looked at to tell the size of the set's pictures."""
SEEN_PICTURES = 8
"""Pictures a side that are looked at to tell touch from camera."""
WHOLE = "all"
"""Name of the one unit of a set whose pictures all lie together."""
NAMED = 3
"""Examples that a note names; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the pictures of one stream lie."""

    stream: str
    """`touch.SENSOR` or `camera.rgb`, with a further part where there are several."""
    folder: str
    """Regular expression of the path below the set's folder; its named groups become those of the episode, `folder` names the unit."""
    file: str
    """Regular expression of the file name, with the group `frame`, a number."""
    step: int = 1
    phase: int = 0
    """Number of a picture in its unit is `step * frame + phase`."""

    def number(self, name: str) -> int | None:
        """Return the number of a picture, None if the file is none of these pictures."""
        found = re.fullmatch(self.file, name)
        return None if found is None else self.step * int(found["frame"]) + self.phase


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What a set's tables tell of a picture or a unit."""

    groups: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, float | None] = field(default_factory=dict)
    text: str = ""
    """A sentence, with its full stop."""

    def same_piece(self, other: "Fact") -> bool:
        """Whether pictures with these facts can share an episode, which has room for one of each group and label."""
        return self.groups == other.groups and self.labels == other.labels


@dataclass(kw_only=True)
class Tables:
    """All that the tables of a set tell, by unit and number of the picture."""

    contact: Mapping[tuple[str, str], Collection[int]] | None = None
    """By unit and touch stream: pictures in contact; None if the set (or this copy) has no such list."""
    facts: Mapping[str, Mapping[int, Fact]] = field(default_factory=dict)
    """By unit and number."""
    labels: tuple[str, ...] = ()
    """Labels that every episode has, None where not known."""


@dataclass(frozen=True, kw_only=True)
class ImageFolders:
    """A public data set as its authors, or those of AnyTouch, lay it on disk."""

    name: str
    home: tuple[str, ...]
    """Folders from the tree that AnyTouch's code expects down to the pictures; the user may give any of them."""
    shows: str
    """What the folder holds, for messages."""
    pictures: tuple[Pictures, ...]
    piece: int | None
    """Consecutive numbers that make an episode; 1 for unrelated stills; None for the whole unit."""
    phases: tuple[str, ...] = ()
    """Names of the moments of a piece, where its pictures are moments and not frames of a video."""
    camera_by_share: bool = False
    """Touch frame t of n belongs to camera frame t/n of the recording, instead of to the same number."""
    tables: Callable[[Path, "ImageFolders", Findings], Tables] | None = None

    def place(self, path: str) -> tuple[str, str, int] | None:
        """Return unit, stream and number of a picture by its path below the set's folder, None if it is none of the set's."""
        folder, _, name = path.rpartition("/")
        for pictures in self.pictures:
            at, number = re.fullmatch(pictures.folder, folder), pictures.number(name)
            if at and number is not None:
                return at.groupdict().get("folder", WHOLE), pictures.stream, number
        return None


@dataclass(kw_only=True)
class Unit:
    """Folders that belong together."""

    groups: dict[str, str]
    folders: dict[str, list[tuple[Path, Pictures]]] = field(default_factory=dict)
    """By stream."""
    swapped: bool = False
    """Whether to read the camera's folders as touch and those of touch as the camera's."""

    def files(self, stream: str) -> dict[int, Path]:
        """Return the pictures of a stream by number, in order."""
        stream = self._partner(stream) if self.swapped else stream
        found = {}
        for folder, pictures in self.folders.get(stream, []):
            for path in folder.iterdir():
                number = pictures.number(path.name)
                if number is not None:
                    found[number] = path
        return dict(sorted(found.items()))

    def pairs(self) -> list[tuple[str, str]]:
        """Return touch streams with the camera stream that goes with each."""
        return [(s, self._partner(s)) for s in self.folders if s.startswith("touch.") and self._partner(s) in self.folders]

    def _partner(self, stream: str) -> str:
        if stream.startswith("touch."):
            own = f"camera.rgb.{stream.removeprefix('touch.')}"
            return own if own in self.folders else "camera.rgb"
        touches = [s for s in self.folders if s.startswith("touch.")]
        return next(
            (s for s in touches if stream == f"camera.rgb.{s.removeprefix('touch.')}"), touches[0] if touches else stream
        )


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asks of an import."""

    swap: bool = False
    """Exchange touch and camera where they look swapped."""
    rate_hz: float | None = None
    """Frames a second; by default `ASSUMED_RATE_HZ`, which is then noted as assumed."""
    longest: int | None = None
    """Shrink pictures to this longest side [px]."""

    def __post_init__(self) -> None:
        """Refuse figures that make no sense."""
        if self.rate_hz is not None and not 0.0 < self.rate_hz < 1e4:
            raise DataError(f"rate_hz is {self.rate_hz}; give frames a second, for example 30")
        if self.longest is not None and self.longest < 16:
            raise DataError(f"longest is {self.longest}; give at least 16 pixels")


def find_units(folder: Path, layout: ImageFolders) -> tuple[Path, dict[str, Unit]]:
    """Return the folder of the set, and its units by name in order.

    Raises:
        DataError: There is no such folder, or it is not this set; tells what was expected and found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder of {layout.name}, which holds {layout.shows}")
    for start in range(len(layout.home) + 1):
        root = folder.joinpath(*layout.home[start:])
        units = _walk(root, layout) if root.is_dir() else {}
        if any(s.startswith("touch.") for unit in units.values() for s in unit.folders):
            return root, dict(sorted(units.items()))
    held = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    some = ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
    raise DataError(f"{folder} is not {layout.name}: it has no {layout.shows}; it holds {some or 'nothing'}")


def _walk(root: Path, layout: ImageFolders) -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for path, _, names in os.walk(root):
        below = Path(path).relative_to(root).as_posix()
        for pictures in layout.pictures:
            at = re.fullmatch(pictures.folder, below)
            if at is None or not any(pictures.number(name) is not None for name in names):
                continue
            groups = {"folder": WHOLE} | at.groupdict()
            unit = units.setdefault(groups["folder"], Unit(groups=groups))
            unit.folders.setdefault(pictures.stream, []).append((Path(path), pictures))
    return units


class FolderReader:
    """Reads the pieces of a set as episodes. Construction looks at some pictures of each unit; `pieces` reads the rest."""

    def __init__(self, folder: Path, layout: ImageFolders, wishes: Wishes, findings: Findings) -> None:
        """Find units and tables, see which units look swapped, and which sizes the set's pictures have.

        Raises:
            DataError: The folder is not this set, or one of its tables is damaged.
        """
        self.layout, self.wishes, self.findings = layout, wishes, findings
        self.root, self.units = find_units(folder, layout)
        self.tables = layout.tables(self.root, layout, findings) if layout.tables else Tables()
        self._seen: set[str] = set()
        self._doubtful: list[str] = []
        self._absent: list[str] = []
        self._tell_clock()
        self._tell_strangers()
        self.shapes = self._common_shapes()

    def pieces(self) -> Iterator[tuple[str, int, Callable[[int], Episode]]]:
        """Yield unit, first number, and what reads the episode, given its index; reading raises DataError if nothing is readable."""
        for name in self.units:
            unit = self._settle(name)
            files = {stream: unit.files(stream) for stream in unit.folders}
            facts = self.tables.facts.get(name, {})
            self._find_absent(name, files)
            touched = sorted({number for stream, own in files.items() if stream.startswith("touch.") for number in own})
            for low, high in spans(touched, self.layout.piece, facts):
                inside = self._inside(files, low, high)

                def read(index: int, low: int = low, name: str = name, inside: dict[str, dict[int, Path]] = inside) -> Episode:
                    return self._episode(index, name, low, inside)

                yield name, low, read

    def _inside(self, files: dict[str, dict[int, Path]], low: int, high: float) -> dict[str, dict[int, Path]]:
        return {stream: {n: path for n, path in own.items() if low <= n < high} for stream, own in files.items()}

    def _episode(self, index: int, name: str, low: int, files: dict[str, dict[int, Path]]) -> Episode:
        unit, layout = self.units[name], self.layout
        streams: list[Stream] = []
        for stream, own in files.items():
            taken = read_pictures(own, self.shapes.get(stream), self.wishes.longest)
            self._tell_taken(name, stream, taken)
            if taken.numbers:
                streams += self._streams(name, stream, taken, self._times(stream, taken.numbers, low, files))
        if not any(stream.spec.name.startswith("touch.") for stream in streams):
            raise DataError(f"{name} from picture {low}: no touch picture can be read")
        numbers = {n for own in files.values() for n in own}
        facts = [fact for n, fact in sorted(self.tables.facts.get(name, {}).items()) if n in numbers]
        said = " ".join(dict.fromkeys(fact.text for fact in facts if fact.text))
        alone = layout.piece is not None and (layout.piece == 1 or layout.phases)
        spot = {"spot": f"{name}/{low // (layout.piece or 1)}"} if alone else {}
        return Episode(
            index=index,
            seed=0,
            task="touch",
            groups=unit.groups | spot | (dict(facts[0].groups) if facts else {}),
            streams={stream.spec.name: stream for stream in streams},
            events=tuple(Event(name=phase, time=float(i)) for i, phase in enumerate(layout.phases)),
            arrays={"first_picture": np.array([low], float)},
            labels=dict.fromkeys(self.tables.labels) | (dict(facts[0].labels) if facts else {}),
            texts={"touch": said} if said else {},
        )

    def _times(self, stream: str, numbers: list[int], low: int, files: dict[str, dict[int, Path]]) -> np.ndarray:
        """Return the times [s] of pictures, from the start of the piece."""
        times = np.array(numbers, float) - low
        partner = f"touch.{stream.removeprefix('camera.rgb.')}"
        if self.layout.camera_by_share and partner in files:
            times *= len(files[partner]) / len(files[stream])
        return times if self.layout.phases else times / (self.wishes.rate_hz or ASSUMED_RATE_HZ)

    def _streams(self, name: str, stream: str, taken: Taken, times: np.ndarray) -> list[Stream]:
        """Return the pictures as a stream, and for touch with a list of contacts a stream that tells them."""
        touch = stream.startswith("touch.")
        rate = None if self.layout.phases or self.layout.piece == 1 else self.wishes.rate_hz
        kind = "touch" if touch and taken.lossless else "rgb"
        frame = "gel" if touch else "camera"
        spec = StreamSpec(name=stream, kind=kind, shape=taken.images.shape[1:], dtype="uint8", rate_hz=rate, frame=frame)
        out = [Stream(spec=spec, times=times, values=taken.images)]
        if touch and self.tables.contact is not None:
            listed = self.tables.contact.get((name, stream), ())
            flags = np.array([[number in listed] for number in taken.numbers], np.uint8)
            contact = f"contact.{stream.removeprefix('touch.')}"
            spec = StreamSpec(name=contact, kind="series", shape=(1,), dtype="uint8", rate_hz=rate)
            out.append(Stream(spec=spec, times=times, values=flags))
        return out

    def _common_shapes(self) -> dict[str, tuple[int, int]]:
        """Return rows and columns of each stream in most units that are looked at."""
        votes: dict[str, Counter[tuple[int, int]]] = {}
        for unit in map(self._settle, spread(list(self.units), SEEN_UNITS)):
            for stream in unit.folders:
                for path in spread(list(unit.files(stream).values()), 3):
                    shape = picture_shape(path)
                    if shape is not None:
                        votes.setdefault(stream, Counter())[shape] += 1
        return {stream: count.most_common(1)[0][0] for stream, count in votes.items()}

    def _settle(self, name: str) -> Unit:
        """Return a unit, after a look whether its touch and camera are swapped."""
        unit = self.units[name]
        if name not in self._seen:
            self._seen.add(name)
            if any(self._swapped(unit, *pair) for pair in unit.pairs()):
                self._doubtful.append(name)
                unit.swapped = self.wishes.swap
        return unit

    def _swapped(self, unit: Unit, touch: str, camera: str) -> bool:
        sides = [spread(list(unit.files(stream).values()), SEEN_PICTURES) for stream in (touch, camera)]
        return looks_swapped(*sides)

    def _tell_clock(self) -> None:
        if self.layout.phases:
            moments = ", ".join(f"{i} {phase}" for i, phase in enumerate(self.layout.phases))
            self.findings.notes.append(f"the set tells no times: they number the moments ({moments})")
        elif self.layout.piece != 1 and self.wishes.rate_hz is None:
            self.findings.notes.append(
                f"the set tells no times: picture numbers at {ASSUMED_RATE_HZ:g} a second assumed; give --rate-hz if it was another"
            )

    def _tell_strangers(self) -> None:
        """Note folders that tables list and that are not there."""
        listed = {unit for unit, _ in self.tables.contact or {}} | self.tables.facts.keys()
        absent = sorted(listed - self.units.keys())
        if absent:
            self.findings.notes.append(f"the tables list {len(absent)} folders that are not there: {_some(absent)}")

    def finish(self) -> None:
        """Note what was found on the way in many units: those that look swapped, and pictures that tables list and that are not there."""
        if self._doubtful:
            done = "and were exchanged" if self.wishes.swap else "look at them, and import with --swap to exchange them"
            self.findings.notes.append(
                f"touch and camera look swapped in {len(self._doubtful)} of {len(self._seen)} folders looked at: "
                f"{_some(sorted(self._doubtful))}; {done}"
            )
        if self._absent:
            self.findings.notes.append(
                f"the tables list {len(self._absent)} pictures that are not there: {_some(self._absent)}"
            )

    def _find_absent(self, name: str, files: dict[str, dict[int, Path]]) -> None:
        touched = {n for stream, own in files.items() if stream.startswith("touch.") for n in own}
        absent = set(self.tables.facts.get(name, {})) - touched
        for stream, own in files.items():
            absent |= set((self.tables.contact or {}).get((name, stream), ())) - own.keys()
        self._absent += [f"{name} picture {number}" for number in sorted(absent)]

    def _tell_taken(self, name: str, stream: str, taken: Taken) -> None:
        if taken.damaged:
            paths = [path.relative_to(self.root) for path in taken.damaged]
            self.findings.left_out.append(f"{name}, {stream}: {len(paths)} pictures cannot be decoded: {_some(paths)}")
        if taken.odd:
            shape = self.shapes[stream]
            found = "; ".join(
                f"{count} of {cols} x {rows}" + (", turned by a quarter" if (cols, rows) == shape else "")
                for (rows, cols), count in taken.odd.items()
            )
            self.findings.left_out.append(
                f"{name}, {stream}: pictures of other sizes than the set's {shape[1]} x {shape[0]}: {found}"
            )


def spans(numbers: list[int], piece: int | None, facts: Mapping[int, Fact]) -> list[tuple[int, float]]:
    """Cut the numbers of a unit into pieces: first number, and one past the last.

    A piece lies within one block of `piece` numbers, and its facts can share an episode; a picture without facts goes with the next
    one that has some: it is the approach.
    """
    if not numbers:
        return []
    if piece is None:
        return [(0, math.inf)]
    known = sorted(n for n in facts if n >= numbers[0])
    blank, out, last = Fact(), [], None
    at = 0
    for number in numbers:
        while at < len(known) - 1 and known[at] < number:
            at += 1
        fact = facts[known[at]] if known else blank
        block = number // piece
        if last is None or block != last[0] or not fact.same_piece(last[1]):
            if out:
                out[-1] = (out[-1][0], min(number, out[-1][1]))
            out.append((number, (block + 1) * piece))
        last = (block, fact)
    return out


def _some(names: Collection[object]) -> str:
    """Return the first few names, and how many there are more."""
    first = ", ".join(str(name) for name in list(names)[:NAMED])
    return first + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
