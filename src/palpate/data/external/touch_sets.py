"""Public touch data sets as folders of pictures, one description each, and the one import of them all.

Layouts after the published code of AnyTouch (ICLR 2025) and TVL. `docs/import.md` tells for a user where each comes from.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from palpate.core.errors import DataError, UnknownNameError
from palpate.data.external import touch_lists as lists
from palpate.data.external.findings import Findings, nothing_read
from palpate.data.external.image_folders import FolderReader, ImageFolders, Pictures, Wishes
from palpate.data.external.video import Imported
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter

TASK = "touch"
PIECE = 128
"""Pictures an episode of a long video, so that memory stays bounded: 120 MB a stream of 640 x 480."""
CAPTIONED = 16
"""The same where captions belong to single pictures."""

AS_IT_IS = Wishes()

_PHASES = ("before", "during", "after")
_ITEM = r"(?P<folder>(?P<spot>data_(?:indoor|outdoor)/[^/]+))"
_TACQUAD = {"gelsight": "gelsight-mini", "digit": "digit", "duragel": "duragel"}


def _number(suffix: str, digits: str = "+", before: str = "") -> str:
    return rf"{before}(?P<frame>\d{digits})\.{suffix}"


def _feel(stream: str, side: str, mark: str) -> tuple[Pictures, ...]:
    """Return the folders of the three moments of a grasp."""
    return tuple(
        Pictures(
            stream=stream,
            folder=rf"(?P<folder>(?P<object>[^/]+))/{side}_{phase}",
            file=rf"(?P<frame>\d+){mark}\.png",
            step=3,
            phase=i,
        )
        for i, phase in enumerate(_PHASES)
    )


_SETS = (
    ImageFolders(
        name="tacquad",
        home=("tacquad",),
        shows="data_{indoor,outdoor}/ITEM/{gelsight,digit,duragel}/T.png",
        pictures=(
            *(Pictures(stream=f"touch.{s}", folder=f"{_ITEM}/{f}", file=_number("png")) for f, s in _TACQUAD.items()),
            *(Pictures(stream=f"camera.rgb.{s}", folder=f"{_ITEM}/img_{f}", file=_number("png")) for f, s in _TACQUAD.items()),
        ),
        piece=None,
        camera_by_share=True,
        tables=lists.tacquad_tables,
    ),
    ImageFolders(
        name="tag",
        home=("TAG", "dataset"),
        shows="FOLDER/gelsight_frame/0000000000.jpg",
        pictures=(
            Pictures(stream="touch.gelsight", folder="(?P<folder>[^/]+)/gelsight_frame", file=_number("jpg", "{10}")),
            Pictures(stream="camera.rgb", folder="(?P<folder>[^/]+)/video_frame", file=_number("jpg", "{10}")),
        ),
        piece=PIECE,
        tables=lists.touch_and_go_tables,
    ),
    ImageFolders(
        name="visgel",
        home=("visgel", "images"),
        shows="touch/.../frame0000.jpg",
        pictures=(
            Pictures(stream="touch.gelsight", folder="touch/(?P<folder>.+)", file=_number("jpg", "{4}", "frame")),
            Pictures(stream="camera.rgb", folder="vision/(?P<folder>.+)", file=_number("jpg", "{4}", "frame")),
        ),
        piece=PIECE,
        tables=lists.path_tables("contact_visgel.csv", "touch/"),
    ),
    ImageFolders(
        name="cloth",
        home=("yuan18", "Data_ICRA18", "Data"),
        shows=".../gelsight_frame/0000.png",
        pictures=(Pictures(stream="touch.gelsight", folder="(?P<folder>.+)/gelsight_frame", file=_number("png", "{4}")),),
        piece=PIECE,
        tables=lists.path_tables("contact_yuan.csv"),
    ),
    ImageFolders(
        name="objectfolder-real",
        home=("objectfolder", "real", "tactile"),
        shows="OBJECT/.../gelsight/0.png",
        pictures=(
            Pictures(stream="touch.gelslim", folder="(?P<folder>(?P<object>[^/]+)(?:/.+)?)/gelsight", file=_number("png")),
        ),
        piece=PIECE,
        tables=lists.path_tables("contact_obj.csv"),
    ),
    ImageFolders(
        name="objectfolder1",
        home=("obj1.0",),
        shows="OBJECT/0.png",
        pictures=(Pictures(stream="touch.tacto", folder=r"(?P<folder>(?P<object>\d+))", file=_number("png")),),
        piece=1,
        tables=lists.objectfolder_tables,
    ),
    ImageFolders(
        name="objectfolder2",
        home=("obj2.0",),
        shows="touch/OBJECT/0.png",
        pictures=(Pictures(stream="touch.taxim", folder=r"touch/(?P<folder>(?P<object>\d+))", file=_number("png")),),
        piece=1,
        tables=lists.objectfolder_tables,
    ),
    ImageFolders(
        name="tvl",
        home=("TVL", "tvl_dataset", "hct"),
        shows="data{1,2,3}/RUN/tactile/0-*.jpg",
        pictures=(
            Pictures(stream="touch.digit", folder=r"(?P<folder>data\d+/[^/]+)/tactile", file=r"(?P<frame>\d+)-.*\.jpg"),
            Pictures(stream="camera.rgb", folder=r"(?P<folder>data\d+/[^/]+)/vision", file=r"(?P<frame>\d+)-.*\.jpg"),
        ),
        piece=CAPTIONED,
        tables=lists.tvl_tables,
    ),
    ImageFolders(
        name="ssvtp",
        home=("TVL", "tvl_dataset", "ssvtp"),
        shows="images_tac/image_0_tac.jpg",
        pictures=(
            Pictures(stream="touch.digit", folder="images_tac", file=r"image_(?P<frame>\d+)_(?:tac|rgb)\.jpg"),
            Pictures(stream="camera.rgb", folder="images_rgb", file=r"image_(?P<frame>\d+)_(?:tac|rgb)\.jpg"),
        ),
        piece=1,
        tables=lists.ssvtp_tables,
    ),
    ImageFolders(
        name="ycb-slide",
        home=("YCB-Slide", "real"),
        shows="OBJECT/dataset_{0..4}/frames/frame_0000000.jpg",
        pictures=(
            Pictures(
                stream="touch.digit",
                folder=r"(?P<folder>(?P<object>[^/]+)/dataset_\d+)/frames",
                file=_number("jpg", "{7}", "frame_"),
            ),
        ),
        piece=PIECE,
    ),
    ImageFolders(
        name="feel",
        home=("feel",),
        shows="OBJECT/{touch,vision}_{before,during,after}/0_A.png",
        pictures=(
            *_feel("touch.gelsight.a", "touch", "_A"),
            *_feel("touch.gelsight.b", "touch", "_B"),
            *_feel("camera.rgb", "vision", ""),
        ),
        piece=len(_PHASES),
        phases=_PHASES,
        tables=lists.feel_tables,
    ),
)

TOUCH_SETS: Mapping[str, ImageFolders] = MappingProxyType({layout.name: layout for layout in _SETS})
"""Every set by the name of its command."""


def import_touch(
    name: str, folder: Path, out: Path, *, limit: int | None = None, resume: bool = False, wishes: Wishes = AS_IT_IS
) -> Imported:
    """Import a set as episodes of task `touch`, one trial at a time.

    Streams `touch.SENSOR` (kind `touch` from PNG, `rgb` from JPEG), `camera.rgb`, and `contact.SENSOR` (1 where the set lists the
    picture as contact), on a clock that starts with the episode. Group `folder` names what lies together on disk,
    `array.first_picture` where in it the episode starts.

    Args:
        name: A key of `TOUCH_SETS`.
        folder: Of the set, or any folder between it and the root of the tree that AnyTouch's code expects.
        out: Data folder.
        limit: Stop after this number of episodes.
        resume: Go on with an import that was interrupted.
        wishes: What to change on the way.

    Raises:
        UnknownNameError: No such set.
        DataError: The folder is not that set, a table is damaged, nothing could be read, or `out` cannot be written.
    """
    if name not in TOUCH_SETS:
        raise UnknownNameError("touch data set", name, TOUCH_SETS)
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give a number of episodes from 1 on")
    findings = Findings()
    reader = FolderReader(folder, TOUCH_SETS[name], wishes, findings)
    config: dict[str, Any] = {"source": name, **vars(wishes)}
    with EpisodeWriter.create(out, task=TASK, config=config, resume=resume) as writer:
        done = _finished(Path(out)) if writer.finished else set()
        for unit, first, read in reader.pieces():
            if limit is not None and len(writer.finished) >= limit:
                break
            if (unit, first) in done:
                continue
            try:
                episode = read(writer.next_index)
            except DataError as error:
                findings.left_out.append(str(error))
                continue
            writer.write(episode)
        written = len(writer.finished)
    reader.finish()
    if not written:
        raise nothing_read(folder, findings, "no pictures")
    return Imported(
        out=Path(out), episodes=written, left_out=tuple(findings.left_out), unlabelled=(), notes=tuple(findings.notes)
    )


def _finished(out: Path) -> set[tuple[str, int]]:
    """Return folder and first picture of the episodes that are there."""
    table = open_dataset(out)
    return {(str(f), int(a[0])) for f, a in zip(table.column("group.folder"), table.column("array.first_picture"), strict=True)}
