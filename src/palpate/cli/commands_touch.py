"""Commands of touch across sensors: public touch data sets, training of an encoder, what its features tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class ImportFolders:
    """What the imports of public touch data sets share."""

    source: ClassVar[str] = ""
    folder: Positional[Path]
    """Folder of the set, as it is published; docs/import.md shows each."""
    out: Path
    """Folder of the data set."""
    limit: int | None = None
    """Stop after this number of episodes."""
    swap: bool = False
    """Exchange touch and camera pictures where they look swapped; without it such folders are only named."""
    rate_hz: float | None = None
    """Frames a second of the recordings, which the files do not tell; 30 if not given."""
    longest: int | None = None
    """Shrink pictures to this longest side in pixels."""
    resume: bool = False
    """Go on with an import that was interrupted."""


class ImportTacquad(ImportFolders):
    """Import TacQuad: the same touch by GelSight Mini, DIGIT and DuraGel, with a camera."""

    source: ClassVar = "tacquad"


class ImportTag(ImportFolders):
    """Import Touch and Go: hand-held GelSight with a camera, materials."""

    source: ClassVar = "tag"


class ImportVisgel(ImportFolders):
    """Import VisGel: GelSight on a robot with a camera."""

    source: ClassVar = "visgel"


class ImportCloth(ImportFolders):
    """Import Cloth (ICRA 2018): a GelSight on clothes."""

    source: ClassVar = "cloth"


class ImportObjectfolderReal(ImportFolders):
    """Import ObjectFolder Real: GelSlim."""

    source: ClassVar = "objectfolder-real"


class ImportObjectfolder1(ImportFolders):
    """Import ObjectFolder 1.0: simulated touch (TACTO), material classes."""

    source: ClassVar = "objectfolder1"


class ImportObjectfolder2(ImportFolders):
    """Import ObjectFolder 2.0: simulated touch (Taxim), material classes."""

    source: ClassVar = "objectfolder2"


class ImportTvl(ImportFolders):
    """Import TVL (its part HCT): hand-held DIGIT with a camera and captions."""

    source: ClassVar = "tvl"


class ImportSsvtp(ImportFolders):
    """Import SSVTP: single touches of a DIGIT with a camera and captions."""

    source: ClassVar = "ssvtp"


class ImportYcbSlide(ImportFolders):
    """Import YCB-Slide: a DIGIT sliding over objects."""

    source: ClassVar = "ycb-slide"


class ImportFeel(ImportFolders):
    """Import Feel (The Feeling of Success): two GelSights and a camera before, during and after a grasp, and whether it held."""

    source: ClassVar = "feel"


@dataclass(frozen=True, kw_only=True)
class TrainTouch:
    """Train a touch encoder across sensors (AnyTouch), one of its two stages."""

    data: tuple[Path, ...]
    """Folders of data sets."""
    out: Path
    """Folder of the run."""
    stage: Literal[1, 2] = 1
    """1: guess hidden patches and next frames. 2: align with pictures and words, tell the same touch by other sensors from others."""
    encoder: str = "tiny"
    """tiny: for a CPU. openclip:PATH: the vision tower of an OpenCLIP model in a local file or folder (size 224, patches of its own)."""
    view: Literal["picture", "change"] = "picture"
    """What the encoder is given: pictures, as in the paper, or their change since the gel was at rest. Stage 2 takes that of --init."""
    size: int = 64
    """Side of the tiny encoder's pictures [px], a multiple of --patch. Stage 2 takes that of --init."""
    patch: int = 8
    """Side of the tiny encoder's patches [px]. Stage 2 takes that of --init."""
    init: Path | None = None
    """Run of stage 1 that stage 2 starts from."""
    exclude: tuple[str, ...] = ()
    """Sensors to leave out; spaces or commas between them."""
    without: tuple[str, ...] = ()
    """Parts to leave out: text, vision, matching, clips (stills only), universal (tokens)."""
    epochs: int = 10
    """Passes over the data."""
    batch: int = 64
    """Samples a step."""
    learning_rate: float = 1e-3
    """Largest step size."""
    held_out: float = 0.2
    """Share of objects that are never trained on."""
    seed: int = 0
    """Seed of initial weights, order, masks and colours."""
    threads: int = 2
    """Threads; 0 leaves the choice to torch."""
    resume: bool = False
    """Go on with a training that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Write the embedding of every touch, and count whether neighbours are the same touch or the same sensor."""

    run: Positional[str]
    """Folder of a run of `palpate train touch`, or untrained, or imagenet."""
    data: Path
    """Folder of a data set; of one that was trained on only the objects held out count."""
    out: Path
    """File of the embeddings (.npz)."""
    beside: tuple[str, ...] = ()
    """Other runs to compare with, for example of an earlier stage."""
    plot: Path | None = None
    """Also draw a map (.png, .svg or .pdf): colours are touches, lines join the same touch."""
    tokens: str = "own"
    """Sensor tokens: own (universal where a sensor has none), universal, or the name of a trained sensor."""
    seed: int = 0
    """Seed of the map."""
    json: Path | None = None
    """Also write the figures to this file."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Tell material, hardness, roughness or grasp success from frozen features of touch, objects held out."""

    run: Positional[str]
    """Folder of a run of `palpate train touch`, or untrained, or imagenet."""
    data: Path
    """Folder of the data set."""
    target: Literal["material", "hardness", "roughness", "grasp"]
    """What to tell: material and grasp are scored by accuracy, hardness and roughness by Spearman's correlation over objects."""
    group: str = "object"
    """Kind of group that folds keep together."""
    tokens: str = "own"
    """Sensor tokens: own (universal where a sensor has none), universal, or the name of a trained sensor."""
    sensors: tuple[str, ...] = ()
    """Only touches by these; spaces or commas between them."""
    seen: bool = False
    """Also objects whose pictures stage 1 was trained on; it saw no labels."""
    folds: int = 5
    """Folds of whole groups."""
    seeds: int = 3
    """Splits into folds that figures are averaged over."""
    json: Path | None = None
    """Also write the figures to this file."""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make the picture, or the field of forces, that another sensor would give of the same touch; judge it on objects held out."""

    run: Positional[str]
    """Folder of a run of `palpate train touch`, or untrained."""
    data: Path
    """Folder of a data set of the same touches by both sensors."""
    source: Annotated[str, arg(name="from")]
    """Sensor whose pictures are given."""
    target: Annotated[str, arg(name="to")]
    """Sensor whose picture or field is to be made, for example duragel or tac3d."""
    out: Path
    """Folder of the run and of a sheet of pictures."""
    tune: bool = False
    """Train the encoder too; without it only what decodes its features."""
    epochs: int = 30
    """Passes over the touches."""
    batch: int = 32
    """Instants of touches a step."""
    learning_rate: float = 2e-3
    """Largest step size."""
    held_out: float | None = None
    """Share of objects to judge by; that of the run if not given."""
    seed: int = 0
    """Seed of initial weights and order."""
    threads: int = 2
    """Threads; 0 leaves the choice to torch."""
    json: Path | None = None
    """Also write the figures to this file."""


@dataclass(frozen=True, kw_only=True)
class DemoAnytouch:
    """Run AnyTouch's story in ten minutes: touches by four sensors, both stages of training, neighbours, words, probes, report."""

    out: Path = Path("runs/demo-anytouch")
    """Folder for everything; run again to go on where it stopped."""
    touches: int = 240
    """Places touched by every sensor, to train on."""
    checked: int = 100
    """Places of other objects, to look at the result."""
    epochs: tuple[int, int] = (4, 3)
    """Passes over the training data, of stage 1 and stage 2."""
    seed: int = 0
    """Seed of touches and training."""
    workers: int = 2
    """Worker processes."""
