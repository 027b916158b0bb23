"""How well a policy predicts one step of a recording it has not seen, when there is but one recording to learn from.

A demonstration is cut into blocks of time; each block is predicted by a policy that was trained on the others. Near a block's ends frames
are left out of the training, so that no frame is seen by both sides. Beside the policy stand predictors that learn little or nothing:
the last value again, the last change again, and ridge regression on the last frames. At 30 Hz these are hard to beat.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from palpate.core.errors import DataError, PalpateError, RunError
from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import cluster_mean, paired_difference
from palpate.evaluation.report_demonstration import DemonstrationReport, ErrorTrace
from palpate.evaluation.tables import NOTHING, Table, plain
from palpate.learning.checkpoint import load_run
from palpate.learning.loop import fit, run_net
from palpate.models.softgrasp import PolicyNetConfig
from palpate.models.softgrasp_baselines import build_policy, objective_of
from palpate.recipes.softgrasp import SoftgraspTraining, read_senses
from palpate.recipes.softgrasp_data import ANGLE, COMMAND, RECIPE, TORQUE, Frames
from palpate.recipes.softgrasp_human import STAGES, find_stages
from palpate.recipes.softgrasp_samples import Scaling, Windows
from palpate.robots.glove_mapping import JOINTS

BLOCKS_FILE = "blocks.json"
"""Where a run folder keeps what `predict_blocks` found."""
KINDS = ("angles", "torques")
SHOWN = 3
"""Demonstrations on a page, if none are named."""
RIDGE_FRAMES = 3
"""Frames that ridge regression sees, one after another."""
RIDGE_PENALTY = 10.0
"""On inputs of unit variance; fixed, because a hundred frames are too few to choose it."""


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """One-step errors on frames that the predictor's training has not seen. N frames."""

    trained_on: str
    """What was learnt from, in words."""
    time: np.ndarray
    """(N,) of each frame [s]."""
    block: np.ndarray
    """(N,) which block of which demonstration it lies in."""
    units: Mapping[str, str]
    """Unit by kind."""
    errors: Mapping[str, Mapping[str, np.ndarray]]
    """Kind (`angles`, `torques`), then predictor (`repeat`, `same change`, `ridge`, `policy`), to absolute errors (N, J)."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        errors = {kind: {name: e.tolist() for name, e in rows.items()} for kind, rows in self.errors.items()}
        arrays = {"time": self.time.tolist(), "block": self.block.tolist()}
        return {"trained_on": self.trained_on, "units": dict(self.units), "errors": errors, **arrays}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "BlockResult":
        """Inverse of `to_dict`."""
        errors = {kind: {name: np.array(e) for name, e in rows.items()} for kind, rows in content["errors"].items()}
        time, block = np.array(content["time"], float), np.array(content["block"], int)
        return cls(trained_on=content["trained_on"], units=content["units"], errors=errors, time=time, block=block)


def write_blocks(run: Path, result: BlockResult) -> None:
    """Keep the result in the folder of a run; `read_blocks` gives it back."""
    (Path(run) / BLOCKS_FILE).write_text(json.dumps(result.to_dict()) + "\n")


def read_blocks(run: Path) -> BlockResult | None:
    """Return what `write_blocks` kept in a run folder, None if nothing.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(run) / BLOCKS_FILE
    if not path.is_file():
        return None
    try:
        return BlockResult.from_dict(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); train the run again") from error


def block_splits(frames: Frames, blocks: int, reach: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and test rows of each block of time.

    Args:
        frames: of one or more demonstrations; each is cut.
        blocks: of each demonstration, of about equal length.
        reach: a sample uses so many frames before its own, and the one after it.

    Raises:
        DataError: a demonstration too short for so many blocks.
    """
    if blocks < 2:
        raise PalpateError(f"{blocks} blocks: at least 2 are needed, one to learn from and one to predict")
    rows = frames.rows(np.arange(len(frames.trial)))
    place, length = rows - frames.first[rows], np.bincount(frames.demonstration)
    own = length[frames.demonstration[rows]]
    block = place * blocks // own
    for k in range(blocks):
        start, stop = -(-k * own // blocks), -(-(k + 1) * own // blocks)
        # A training sample sees [place - reach, place + 1]; none of these may be seen by a sample of the block.
        clear = (place + 1 < start - reach) | (place - reach > stop)
        if not clear.any() or not (block == k).any():
            raise DataError(
                f"demonstrations of {length.tolist()} frames are too short for {blocks} blocks with {reach + 1} frames between; "
                "take fewer blocks or a longer demonstration"
            )
        yield rows[clear], rows[block == k]


def predict_blocks(
    data: Path,
    config: SoftgraspTraining | None = None,
    *,
    blocks: int = 5,
    tell: Callable[[str], None] = print,
    progress: bool = True,
) -> BlockResult:
    """Train a policy on all blocks but one, predict that one, in turn, and return the errors of every predictor.

    Args:
        data: a data set of demonstrations, one or more.
        config: how to train; each block's policy is trained alike.
        blocks: of each demonstration.
        tell: gets a line for each block.
        progress: show bars.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    config = config or SoftgraspTraining()
    reader = open_dataset(data)
    frames, shape, _ = read_senses(reader, config, progress=progress)
    known = _known(frames)
    if not known.any():
        raise DataError(f"{data} has no frame whose angles and torques, last and next, are all known; nothing can be compared")
    tests, parts = [], []
    for k, sides in enumerate(block_splits(frames, blocks, config.frameskip * (config.stack - 1))):
        train, test = (rows[known[rows]] for rows in sides)
        if not len(train) or not len(test):
            raise DataError(f"block {k + 1} of {blocks} of {data} has no frame that is known on both sides; take fewer blocks")
        tests.append(test)
        parts.append({**_simple(frames, train, test), "policy": _policy(frames, train, test, config, shape, progress)})
        tell(f"block {k + 1} of {blocks}: learnt from {len(train)} frames, predicted {len(test)}")
    rows = np.concatenate(tests)
    place = np.argsort(rows)
    truth = {"angles": frames.next_angle[rows][place], "torques": frames.next_torque[rows][place]}
    errors: dict[str, dict[str, np.ndarray]] = {}
    for kind in KINDS:
        names = [name for name in parts[0] if kind in parts[0][name]]
        errors[kind] = {n: np.abs(np.concatenate([part[n][kind] for part in parts])[place] - truth[kind]) for n in names}
    of_block = np.concatenate([np.full(len(test), k) for k, test in enumerate(tests)])[place]
    rows = rows[place]
    told = COMMAND if frames.target == "command" else ANGLE
    return BlockResult(
        trained_on=f"{config.strategy} from {', '.join(shape.modalities)}, {config.train.epochs} epochs",
        time=frames.time[rows],
        block=frames.demonstration[rows] * blocks + of_block,
        units={"angles": frames.units[told], "torques": frames.units[TORQUE]},
        errors=errors,
    )


def _policy(  # noqa: PLR0917 - all are those of the one caller
    frames: Frames, train: np.ndarray, test: np.ndarray, config: SoftgraspTraining, shape: PolicyNetConfig, progress: bool
) -> dict[str, np.ndarray]:
    """Return what a policy trained on some rows predicts for others, by kind (K, J)."""
    chunk = shape.chunk if shape.strategy == "act" else 0
    training = Windows(
        frames=frames,
        rows=train,
        scaling=Scaling.of(frames, train),
        modalities=shape.modalities,
        stack=config.stack,
        frameskip=config.frameskip,
        chunk=chunk,
        drop_rate=config.drop_rate,
    )
    torch.manual_seed(config.train.seed)
    net = build_policy(shape)
    net.frames.fit_normalisation(training.inputs())
    fit(net, training, config.train, objective=objective_of(shape, config.objective), progress=progress)
    outputs = run_net(net, replace(training, rows=test, drop_rate=0.0), batch_size=256)
    return {kind: training.scaling.to_unit(kind[:-1], outputs[kind].numpy()) for kind in KINDS if kind in outputs}


def _known(frames: Frames) -> np.ndarray:
    """Return (n,) bool: frames that every predictor can be compared on, for angles and torques, last and next, are known.

    In the first frame of a demonstration nothing was told yet.
    """
    known = np.isfinite(np.concatenate([frames.next_angle, frames.next_torque], axis=1)).min(axis=1)
    now = np.isfinite(np.concatenate([frames.told, frames.torque], axis=1)).min(axis=1)
    for k in range(RIDGE_FRAMES):
        known &= now[_before(frames, np.arange(len(frames)), k)]
    return known


def _simple(frames: Frames, train: np.ndarray, test: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return what the other predictors give, by name and kind (K, J)."""
    series = {"angles": (frames.told, frames.next_angle), "torques": (frames.torque, frames.next_torque)}
    out: dict[str, dict[str, np.ndarray]] = {"repeat": {}, "same change": {}, "ridge": {}}
    for kind, (now, following) in series.items():
        out["repeat"][kind] = now[test]
        out["same change"][kind] = 2.0 * now[test] - now[_before(frames, test, 1)]
        learner = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE_PENALTY))
        learner.fit(_last_frames(frames, train), following[train] - now[train])
        out["ridge"][kind] = now[test] + learner.predict(_last_frames(frames, test))
    return out


def _last_frames(frames: Frames, rows: np.ndarray) -> np.ndarray:
    """Return (K, 2 * J * RIDGE_FRAMES) angles and torques of the last frames."""
    seen = [_before(frames, rows, k) for k in range(RIDGE_FRAMES)]
    return np.concatenate([values[at] for at in seen for values in (frames.told, frames.torque)], axis=1)


def _before(frames: Frames, rows: np.ndarray, steps: int) -> np.ndarray:
    """Return the frames so many steps earlier; the first of a demonstration stands for those before it."""
    return np.maximum(rows - steps, frames.first[rows])


def run_tables(run: Path) -> tuple[list[Table], list[ErrorTrace]]:
    """Return what a run of `train_softgrasp` predicts one step ahead: on blocks of time if it has them, else as its training measured.

    Raises:
        RunError: no such run, or one of another recipe.
    """
    blocks = read_blocks(run)
    if blocks is not None:
        traces = [
            ErrorTrace(title=f"next {k} ({blocks.units[k]})", time=blocks.time, errors={n: e.mean(1) for n, e in rows.items()})
            for k, rows in blocks.errors.items()
        ]
        # Over several demonstrations there is no one time to draw along.
        return [block_table(blocks)], traces if (np.diff(blocks.time) > 0).all() else []
    found = load_run(run)
    if found.extra.get("recipe") != RECIPE:
        raise RunError(f"{run} is a run of {found.extra.get('recipe')!r}; one of `palpate train softgrasp` is needed")
    metrics = found.metrics
    rows = tuple(
        (f"{kind}, {name}", *(f"{1000.0 * value:.2f}" for value in errors["mae"]))
        for kind in KINDS
        for name, errors in metrics.get(kind, {}).items()
    )
    on = "held-out demonstrations" if metrics["held_out"] else "the demonstrations that were learnt from"
    caption = f"One step ahead on {metrics['frames']} frames of {on}: mean absolute error, thousandths of the unit"
    return [Table(caption=caption, columns=("predictor", *JOINTS), rows=rows)], []


def demonstration_report(data: Path, chosen: Sequence[int] = (), run: Path | None = None) -> DemonstrationReport:
    """Return what a page shows of some demonstrations of a data set.

    Args:
        data: the data set.
        chosen: numbers of the demonstrations; empty for the first three.
        run: a policy that was trained on them.

    Raises:
        PalpateError: no such demonstration, or a folder that is no run.
    """
    reader = open_dataset(data)
    indices = reader.indices.tolist()
    unknown = sorted(set(chosen) - set(indices))
    if unknown or not indices:
        raise DataError(f"{data} has no demonstrations {unknown}; it has {indices or 'none'}")
    episodes, notes = [], []
    for index in chosen or indices[:SHOWN]:
        episode = reader[indices.index(index)]
        if not any(event.name in STAGES for event in episode.events) and {ANGLE, TORQUE} <= episode.streams.keys():
            episode = replace(episode, events=(*episode.events, *find_stages(episode)))
            notes.append(
                f"Demonstration {index} came without stages; they were found here with the thresholds of the simulated hand, and a "
                "recording that tells no lift has none from re-clutching on."
            )
        episodes.append(episode)
    tables, traces = run_tables(run) if run is not None else ([], [])
    return DemonstrationReport(episodes=episodes, stages=STAGES, tables=tables, traces=traces, notes=notes)


def block_table(result: BlockResult) -> Table:
    """Return mean absolute errors by predictor in thousandths of the unit, with intervals over blocks and differences to repeating."""
    rng = generator(0)
    rows = []
    for name in dict.fromkeys(n for kind in KINDS for n in result.errors[kind]):
        cells = []
        for kind in KINDS:
            errors = result.errors[kind]
            if name not in errors:
                cells += [NOTHING] * 3
                continue
            mine, base = 1000.0 * errors[name].mean(axis=1), 1000.0 * errors["repeat"].mean(axis=1)
            gain = NOTHING if name == "repeat" else plain(paired_difference(mine, base, result.block, rng), 2)
            cells += [
                plain(cluster_mean(mine, result.block, rng), 2),
                f"{1000.0 * np.sqrt(np.mean(errors[name] ** 2)):.2f}",
                gain,
            ]
        rows.append((name, *cells))
    head = ("mean absolute error", "root mean square", "against repeat")
    return Table(
        caption=f"One step ahead on {len(result.time)} frames that were not learnt from, thousandths of the unit",
        columns=("predictor", *head, *head),
        heads=(("", 1), (f"next angles ({result.units['angles']})", 3), (f"next torques ({result.units['torques']})", 3)),
        rows=tuple(rows),
        note=f"Policy: {result.trained_on}. Each of {len(np.unique(result.block))} blocks of time is predicted after learning from the "
        "others, with a gap, so that no frame is on both sides. Intervals resample blocks: they tell how parts of these demonstrations "
        "differ, not how other demonstrations would. Same change: the last value plus the last change.",
    )
