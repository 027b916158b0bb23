"""The two halves of scripts/check_lerobot.sh.

`make` runs with palpate: it makes (or takes) a data folder, exports it, and notes what must come out.
`reimport` does so with a LeRobot data set: imports it, exports it again, and notes what its files hold.
`check` runs with LeRobot alone: it opens the export and compares.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FPS = 10
RENUMBERED = ("index", "episode_index")
"""Columns that an export numbers anew, because episodes that are promised and absent leave gaps."""


def make(work: Path, data: Path | None) -> None:
    """Export a data folder to WORK/export and write WORK/expected.npz, one entry per row and feature, from the episodes."""
    from palpate.data.lerobot import export_lerobot  # noqa: PLC0415 - palpate is absent where `check` runs
    from palpate.data.reader import open_dataset  # noqa: PLC0415

    if data is None:
        data = work / "data"
        _made_up(data)
    report = export_lerobot(data, work / "export", fps=FPS)
    reader = open_dataset(data)
    tasks = reader.column("group.task") if "group.task" in reader.names else [None]
    expected: dict[str, np.ndarray] = {"rows": np.array([report.frames]), "episodes": np.array([report.episodes])}
    expected["task"] = np.array(tasks[0] or "grasp gently")
    shown = np.unique(np.linspace(0, len(reader) - 1, 5).astype(int))
    for position in shown:
        episode = reader[int(position)]
        exported = {name: s for name, s in episode.streams.items() if s.spec.kind != "depth"}
        start = min(float(s.times[0]) for s in exported.values())
        for row in (0, 7, 23):
            for name, stream in exported.items():
                time = start + row / FPS
                if stream.spec.kind in ("touch", "rgb", "series", "taxels") and time >= stream.times[0]:
                    expected[f"{position}/{row}/{name}"] = stream.at(time)
        for name, value in episode.arrays.items():
            if name == "action":
                expected[f"{position}/0/action"] = value
        expected[f"{position}/last/success"] = np.array(episode.labels.get("stable") == 1.0)
        if "sound" in exported:
            expected[f"{position}/energy/sound"] = np.array((np.rint(exported["sound"].values * 32768.0) ** 2).sum())
    np.savez(work / "expected.npz", **expected)
    _say(f"exported {report.episodes} episodes, {report.frames} rows, {len(report.features)} features")
    _say(f"left out: {report.left_out or 'nothing'}")


def reimport(work: Path, source: Path) -> None:
    """Import a LeRobot data set (v2.1 or v3.0), export it to WORK/export, and note in WORK/expected.npz every number of the source."""
    import pyarrow as pa  # noqa: PLC0415 - `check` needs no pyarrow of its own
    import pyarrow.parquet as pq  # noqa: PLC0415

    from palpate.data.external.lerobot import import_lerobot  # noqa: PLC0415 - palpate is absent where `check` runs
    from palpate.data.lerobot import export_lerobot  # noqa: PLC0415
    from palpate.data.reader import open_dataset  # noqa: PLC0415

    done = import_lerobot(source, work / "data")
    _say("\n".join(f"note: {note}" for note in (*done.left_out, *done.notes)))
    fps = int(json.loads((source / "meta" / "info.json").read_text())["fps"])
    report = export_lerobot(work / "data", work / "export", fps=fps)
    table = pa.concat_tables([pq.read_table(path) for path in sorted((source / "data").rglob("*.parquet"))])
    reader = open_dataset(work / "data")
    expected = {"rows": np.array([len(table)]), "episodes": np.array([done.episodes])}
    expected["task"] = np.array(str(reader.column("group.task")[0]) if "group.task" in reader.names else "grasp gently")
    for name in table.column_names:
        values = table[name].to_pylist()
        if name not in RENUMBERED and isinstance(values[0], int | float | bool | list):
            expected[f"every/{name}"] = np.array(values)
    np.savez(work / "expected.npz", **expected)
    _say(f"exported {report.episodes} episodes, {report.frames} rows, {len(report.features)} features")


def check(work: Path) -> None:
    """Open the export with LeRobotDataset and compare it with the notes; exit 1 on the first thing that differs."""
    import lerobot  # noqa: PLC0415 - absent where `make` runs
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: PLC0415

    data = LeRobotDataset("local/palpate", root=work / "export", video_backend="pyav")
    expected = np.load(work / "expected.npz")
    _must(data.num_frames == len(data) == int(expected["rows"][0]), f"{len(data)} rows")
    _must(data.num_episodes == int(expected["episodes"][0]), f"{data.num_episodes} episodes")
    _say(f"LeRobot {lerobot.__version__} opened it: {data.num_episodes} episodes, {len(data)} rows, {data.fps} fps")
    starts = [int(i) for i in data.meta.episodes["dataset_from_index"]]
    stops = [int(i) for i in data.meta.episodes["dataset_to_index"]]
    compared: dict[str, int] = {}
    for key in expected.files:
        if "/" not in key:
            continue
        if key.startswith("every/"):
            compared["column exact in every row"] = compared.get("column exact in every row", 0) + _every(data, key, expected)
            continue
        position, row, name = key.split("/", 2)
        start, stop = starts[int(position)], stops[int(position)]
        if row == "last":
            kind = _outcome(data[stop - 1], expected[key])
        elif row == "energy":
            kind = _sound([data[i] for i in range(start, stop)], float(expected[key]))
        elif start + int(row) < stop:
            kind = _row(data[start + int(row)], name, expected[key])
        else:
            continue
        compared[kind] = compared.get(kind, 0) + 1
    _must(data[0]["task"] == str(expected["task"]), f"task {data[0]['task']!r}")
    _windows(data, stops[0])
    one = LeRobotDataset("local/palpate", root=work / "export", episodes=[len(starts) - 1], video_backend="pyav")
    _must(len(one) == stops[-1] - starts[-1], f"one episode alone: {len(one)} rows")
    _must(
        {"min", "max", "mean", "std", "count", "q01", "q99"} <= set(data.meta.stats["timestamp"]), "statistics with quantiles"
    )
    _say("compared: " + ", ".join(f"{n} x {kind}" for kind, n in sorted(compared.items())))
    _say("task text, windows in time, one episode alone, statistics: as they must be")


def _every(data: Any, key: str, expected: Any) -> int:
    """Compare a column in all rows with the source's, as LeRobot gives it."""
    name = key.removeprefix("every/")
    got = np.array(data.hf_dataset.select_columns([name])[:][name])
    want = expected[key]
    _must(np.array_equal(got.reshape(want.shape), want.astype(got.dtype)), f"{name} differs")
    return 1


def _row(item: dict, name: str, want: np.ndarray) -> str:
    """Compare one sample with the row that must hold it; return what was compared."""
    finger = name.removeprefix("touch.")
    if f"observation.images.tactile_{finger}" in item:
        got = (item[f"observation.images.tactile_{finger}"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        _must(np.array_equal(got, want), f"{name}: touch image differs by up to {np.abs(got.astype(int) - want).max()} levels")
        _must(bool(item[f"observation.valid.{name}"]), f"{name} is not marked as there")
        return "touch image exact"
    if name.endswith(".rgb"):
        got = (item[f"observation.images.{name.removesuffix('.rgb')}"].permute(1, 2, 0).numpy() * 255).round()
        # The same JPEG file, decoded by another library: rounding of colours may differ by a few levels.
        _must(np.abs(got - want).mean() < 1.0, f"{name}: colours differ by {np.abs(got - want).mean():.2f} levels on average")
        return "colour image"
    if name in ("hand.joint_position", "hand.pose"):
        state = item["observation.state"].numpy()
        got = state[: len(want)] if name == "hand.joint_position" else state[-len(want) :]
    elif name == "hand.joint_torque":
        got = item["observation.effort"].numpy()
    elif f"observation.tactile.{finger}" in item:
        got = item[f"observation.tactile.{finger}"].numpy()
    else:
        got = item["action" if name == "action" else f"observation.{name}"].numpy()
    _must(np.array_equal(got, want.astype(got.dtype)), f"{name}: {got} is not {want}")
    return "numbers exact"


def _outcome(item: dict, want: np.ndarray) -> str:
    _must(bool(item["next.done"]), "the last row is not marked as such")
    if "next.success" in item:
        _must(bool(item["next.success"]) == bool(want), "the outcome differs")
    return "outcome"


def _sound(items: list[dict], energy: float) -> str:
    got = sum(float((item["observation.audio.mic"].double() ** 2).sum()) for item in items)
    _must(abs(got - energy) <= 1e-3 * energy + 1.0, f"sound energy {got} is not {energy}")
    return "sound energy"


def _windows(data: Any, stop: int) -> None:
    """Rows before and after one, as policies read them."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: PLC0415 - absent where `make` runs

    root = data.root
    key = "action" if "action" in data.features else "next.done"
    windows = LeRobotDataset("local/palpate", root=root, delta_timestamps={key: [-1 / data.fps, 0.0]}, video_backend="pyav")
    item = windows[0]
    _must(item[key].shape[0] == 2 and item[f"{key}_is_pad"].tolist() == [True, False], "window at the first row")
    if stop > 1:
        _must(windows[1][f"{key}_is_pad"].tolist() == [False, False], "window at the second row")


def _made_up(root: Path) -> None:
    """Write a small data folder with every kind of stream, noise in the touch images, and absent sensors."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import data_fakes  # noqa: PLC0415 - only for a made-up set
    from palpate.data.writer import EpisodeWriter  # noqa: PLC0415 - palpate is absent where `check` runs

    with EpisodeWriter.create(root, task="gentle") as writer:
        for index in range(12):
            absent = ("touch.thumb", "sound") if index == 5 else ("camera.rgb",) if index == 8 else ()
            writer.write(data_fakes.fake_episode(index, size=(120, 160), absent=absent))


def _must(true: bool, what: str) -> None:
    if not true:
        sys.exit(f"LeRobot check failed: {what}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("make", "reimport", "check"))
    parser.add_argument("work", type=Path, help="scratch folder that both steps share")
    parser.add_argument(
        "data", type=Path, nargs="?", help="data folder to export, made up if left out; LeRobot folder to reimport"
    )
    arguments = parser.parse_args()
    if arguments.step == "make":
        make(arguments.work, arguments.data)
    elif arguments.step == "reimport":
        reimport(arguments.work, arguments.data)
    else:
        check(arguments.work)


if __name__ == "__main__":
    main()
