"""Gathers what training runs, closed-loop tests and the data hold into the report of the gentle-grasping method."""

import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.inputs import (
    ClosingZone,
    ForceTable,
    GainCurve,
    GraspTable,
    PredictionTable,
    RunInfo,
    TrialPicture,
)
from palpate.evaluation.report_gentle import GentleResults
from palpate.learning.checkpoint import load_run
from palpate.perception.loudness import DEFAULT as SOUND
from palpate.perception.loudness import spectrogram
from palpate.perception.views import touch_differential
from palpate.recipes.gentle_labels import force_proxies
from palpate.recipes.grasping import describe_action
from palpate.recipes.outcome_data import CAMERA, fingers, gentle_rows
from palpate.worlds.hand import OPEN_POSE, pads

ZONE = (0.024, 0.034)
"""Mean closing per finger between which neither failing nor squeaking is certain [m]; fixed from label shares alone."""

N_FORCES = 600
"""Trials of the force figures: touch images must be decoded for them."""

N_PICTURES = 4

DIFFERENCES = (
    "Simulated rig: MuJoCo, half-shell toys that deform along one axis, rendered camera and touch, synthesised sound.",
    "Sixty toys that differ in size, stiffness, mass, friction, pitch and squeak threshold; the paper has one toy.",
    "The backbone is EfficientNet-Lite0 with frozen ImageNet weights and cached features; the paper fine-tunes DenseNet121.",
    "The headline is the prediction before the regrasp; the paper's accuracies mix it with states seen during the regrasp.",
    "Intervals resample whole toys or trials; the paper gives standard errors over folds.",
)


def oracle_predictions(reader: EpisodeReader, group: str, folds: int, seed: int) -> PredictionTable:
    """Return what gradient boosting on the simulator's own state and the action reaches: a bound, not a model.

    It knows size, stiffness, mass, friction, squeak threshold and the true offset, which no sensor gives.
    """
    rows = gentle_rows(reader)
    keep = rows.moment == "initial"
    position = rows.position[keep]
    names = ("half_width", "half_depth", "half_height", "young", "mass", "friction", "onset", "toy_x", "toy_y")
    truth = np.stack([reader.column(f"truth.{name}")[position] for name in names], axis=1)
    pose, action = reader.column("array.hand_pose")[position], reader.column("array.action")[position]
    target = np.array([pads(joints) for joints in action[:, 4:]]).reshape(len(position), -1)
    gap = target[:, 3] - target[:, 0] - 2 * truth[:, 0]
    lying = (rows.pose[keep] == "lying").astype(float)
    angle = pose[:, 3] + np.pi / 2
    offset = truth[:, 7:9] - pose[:, :2]
    across = np.cos(angle) * offset[:, 0] + np.sin(angle) * offset[:, 1]
    along = -np.sin(angle) * offset[:, 0] + np.cos(angle) * offset[:, 1]
    force = -gap * truth[:, 3] / (2 * truth[:, 0])
    x = np.column_stack([truth[:, :7], action, target, pose[:, 2:], gap, lying, across, along, force, force - truth[:, 6]])
    labels = rows.labels[keep]
    groups = rows.object[keep] if group == "object" else rows.trial[keep]
    fold = grouped_folds(groups, folds, seed)
    probs = np.zeros((len(x), 2))
    for k in range(folds):
        for outcome in range(2):
            train = (fold != k) & np.isfinite(labels[:, outcome])
            model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, max_leaf_nodes=12, random_state=seed)
            model.fit(x[train], labels[train, outcome])
            probs[fold == k, outcome] = model.predict_proba(x[fold == k])[:, 1]
    return PredictionTable(
        model="oracle",
        split=group,
        seed=seed,
        fold=fold,
        trial=rows.trial[keep],
        object=rows.object[keep],
        pose=rows.pose[keep],
        moment=rows.moment[keep],
        labels=labels,
        probs=probs,
    )


def closing_zone(reader: EpisodeReader) -> ClosingZone:
    """Return how far each trial's target pose closes each finger from the open hand, on average."""
    action = reader.column("array.action")
    good = np.isfinite(action).all(axis=1)
    open_gap = float(np.diff(pads(np.array(OPEN_POSE))[:, 0])[0])
    gaps = np.array([np.diff(pads(joints)[:, 0])[0] for joints in action[good, 4:]])
    return ClosingZone(low=ZONE[0], high=ZONE[1], trial=reader.indices[good], closing=(open_gap - gaps) / 2)


def force_table(reader: EpisodeReader, full: PredictionTable | None) -> ForceTable:
    """Return the three force proxies of Fig. 7 for evenly spread trials."""
    action = reader.column("array.action")
    good = np.flatnonzero(np.isfinite(action).all(axis=1))
    chosen = good[np.linspace(0, len(good) - 1, min(N_FORCES, len(good))).astype(int)]
    touch = [f"touch.{finger}" for finger in fingers(reader)]
    streams = [*touch, "hand.joint_position", "hand.joint_target"]
    rows = []
    for position in chosen:
        episode = reader.episode(int(position), streams=streams)
        forces = force_proxies(episode)
        rows.append((forces.displacement, forces.position_error, _touch_sum(episode, touch)))
    values = np.array(rows)
    labels = np.stack([reader.column("label.stable")[chosen], reader.column("label.gentle")[chosen]], axis=1)
    probs = np.full((len(chosen), 2), np.nan)
    if full is not None:
        first = full.moment == "initial"
        by_trial = dict(zip(full.trial[first].tolist(), full.probs[first], strict=True))
        for i, trial in enumerate(reader.indices[chosen].tolist()):
            if trial in by_trial:
                probs[i] = by_trial[trial]
    return ForceTable(
        trial=reader.indices[chosen],
        displacement=values[:, 0],
        position_error=values[:, 1],
        touch_difference=values[:, 2],
        labels=labels,
        probs=probs,
    )


def _touch_sum(episode: Episode, touch: Sequence[str]) -> float:
    present = [episode.streams[name] for name in touch if name in episode.streams]
    if not present:
        return float("nan")
    now, rest = episode.event("look_regrasp"), episode.event("before")
    return sum(touch_differential(stream.at(now), stream.at(rest)) for stream in present)


def picture(reader: EpisodeReader, position: int, title: str) -> TrialPicture:
    """Return camera, touch before and after, sound and words of one trial."""
    episode = reader.episode(position)
    now, rest = episode.event("look_regrasp"), episode.event("before")
    touch = {name: stream for name, stream in episode.streams.items() if name.startswith("touch.")}
    spectrum = times = frequency = None
    if "sound" in episode.streams:
        clips = episode.streams["sound"]
        rate = clips.spec.rate_hz or 0.0
        level = spectrogram(clips.values[-1], rate)
        spectrum = cv2.resize(level.astype(np.float32), (160, 128), interpolation=cv2.INTER_AREA)
        frequency = np.linspace(0, rate / 2, 128)
        times = np.linspace(0, level.shape[1] * SOUND.hop / rate, 160)
    words = [f"{name}: {_yes(value)}" for name, value in episode.labels.items() if name in {"stable", "gentle"}]
    predicted = episode.arrays.get("predicted")
    camera = episode.streams[CAMERA].at(now) if CAMERA in episode.streams else None
    return TrialPicture(
        index=episode.index,
        title=title,
        camera=None if camera is None else cv2.resize(camera, (480, 360), interpolation=cv2.INTER_AREA),
        touch_before={name.split(".", 1)[1]: stream.at(rest) for name, stream in touch.items()},
        touch_after={name.split(".", 1)[1]: stream.at(now) for name, stream in touch.items()},
        spectrogram=spectrum,
        frequency_hz=frequency,
        time=times,
        action=describe_action(episode.arrays["action"]),
        labels=", ".join(words),
        predicted="" if predicted is None else f"stable {predicted[0]:.2f}, gentle {predicted[1]:.2f}",
    )


def _yes(value: float | None) -> str:
    return "unknown" if value is None or np.isnan(value) else ("yes" if value > 0.5 else "no")


def _pictures(data: EpisodeReader | None, loops: Sequence[tuple[str, EpisodeReader]]) -> list[TrialPicture]:
    out: list[TrialPicture] = []
    if data is not None:
        labels = np.stack([data.column("label.stable"), data.column("label.gentle")], axis=1)
        for stable, gentle in ((1, 1), (1, 0), (0, 1), (0, 0)):
            found = np.flatnonzero((labels == [stable, gentle]).all(axis=1))
            if len(found):
                kind = f"{'stable' if stable else 'not stable'}, {'gentle' if gentle else 'not gentle'}"
                out.append(picture(data, int(found[len(found) // 2]), f"Collected: {kind}"))
    for name, reader in loops:
        if name != "random":
            out += [picture(reader, i, f"Closed loop, {name}") for i in range(min(N_PICTURES // 2, len(reader)))]
    return out


def gather(folders: Sequence[Path], data: Path | None, commands: Sequence[str] = (), name: str = "report") -> GentleResults:
    """Read run folders and closed-loop folders and return everything that the report can show.

    Raises:
        DataError: a folder is neither a training run nor a closed-loop test.
    """
    predictions: list[PredictionTable] = []
    grasps: list[GraspTable] = []
    loops: list[tuple[str, EpisodeReader]] = []
    gain: GainCurve | None = None
    data_folders: list[Path] = [] if data is None else [data]
    seeds: set[int] = set()
    for folder in folders:
        found = sorted(folder.glob("predictions*.npz")) + sorted(folder.glob("ablation-*.npz"))
        tables = [PredictionTable.load(path) for path in found]
        predictions += tables
        seeds |= {table.seed for table in tables}
        if (folder / "gain.npz").exists():
            gain = GainCurve.load(folder / "gain.npz")
        if (folder / "grasps.json").exists():
            table = GraspTable.load(folder / "grasps.json")
            grasps.append(table)
            loops.append((table.policy, open_dataset(folder)))
        elif not found and not (folder / "gain.npz").exists():
            raise DataError(
                f"{folder} holds neither predictions (palpate train) nor grasps (palpate grasp); give their --out folders"
            )
        if (folder / "run.json").exists() and data is None:
            data_folders.append(Path(load_run(folder).extra["data"]))
    reader = open_dataset(data_folders[0]) if data_folders and data_folders[0].exists() else None
    full = next((t for t in predictions if t.model == "vision+touch+action" and t.ablation == "none"), None)
    if reader is not None:
        for split in sorted({t.split for t in predictions if t.split in {"trial", "object"}}):
            folds = max(int(t.fold.max()) + 1 for t in predictions if t.split == split)
            predictions.append(oracle_predictions(reader, split, max(folds, 2), 0))
    return GentleResults(
        run=_info(name, reader, seeds, commands),
        predictions=predictions,
        grasps=grasps,
        forces=None if reader is None else force_table(reader, full),
        pictures=_pictures(reader, loops),
        gain=gain,
        zone=None if reader is None else closing_zone(reader),
        first_press_harsh=None if reader is None else 1.0 - reader.column("label.gentle_first"),
    )


def _info(name: str, reader: EpisodeReader | None, seeds: set[int], commands: Sequence[str]) -> RunInfo:
    packages = ("palpate", "mujoco", "torch", "timm", "numpy", "scipy", "scikit-learn", "opencv-python-headless")
    summary = "" if reader is None else _data_words(reader)
    world = () if reader is None else _world_words(reader)
    return RunInfo(
        name=name,
        data=summary,
        world=world,
        seeds=tuple(sorted(seeds)),
        versions={"python": platform.python_version(), **{p: version(p) for p in packages}},
        device=f"{platform.machine()} CPU, {platform.system()}",
        commands=tuple(commands),
        config={} if reader is None else dict(reader.head.config),
        differences=DIFFERENCES,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _data_words(reader: EpisodeReader) -> str:
    summary = reader.summary()
    labels = ", ".join(
        f"{k} {v['yes']} of {v['yes'] + v['no']}" for k, v in summary["labels"].items() if k in {"stable", "gentle"}
    )
    return f"{summary['episodes']} trials with {summary['groups'].get('object', 0)} toys; {labels}."


def _world_words(reader: EpisodeReader) -> tuple[str, ...]:
    stable = reader.column("label.stable") == reader.column("truth.stable")
    gentle = reader.column("label.gentle") == reader.column("truth.gentle")
    return (
        "Labels come from the sensors only: stability from joint angles, gentleness from the waveform.",
        f"They agree with the simulator's truth in {100 * stable.mean():.1f} % (stable) and {100 * gentle.mean():.1f} % (gentle).",
        f"Sound thresholds: squeak {SOUND.squeak_threshold_db:.0f} dB, knock {SOUND.knock_threshold_db:.0f} dB.",
        "Toys, actions and thresholds were fixed by label shares; what was changed after a first look is listed in docs/gentle.md.",
    )
