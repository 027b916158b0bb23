"""The experiments on real presses, on made-up ones whose order is known, and a small part of the real squeezes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream
from palpate.data.external.video import pad_stream, series_stream
from palpate.data.external.wedge import FORCE, WIDTH, import_wedge
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.learning.checkpoint import load_run
from palpate.perception.press_features import NAMES
from palpate.recipes import hardness_real
from palpate.recipes.hardness import evaluate_hardness
from palpate.recipes.hardness_rank import load_ranks
from palpate.recipes.hardness_real import choices, choose, rank_interval, rank_row, read_presses
from palpate.recipes.hardness_real_wedge import INDICES, onset_rows, read_squeezes, softness_rows
from press_fakes import clock, press, write_video
from touch_fakes import SHAPE, encoder_run

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "gelsight_wedge_compliance"


def stored(folder, episodes):
    with EpisodeWriter.create(folder, task="press") as writer:
        for index, (groups, streams, labels) in enumerate(episodes):
            named: dict[str, Stream] = {s.spec.name: s for s in streams}
            writer.write(Episode(index=index, seed=0, task="press", groups=groups, streams=named, labels=labels))
    return open_dataset(folder)


def clip(seed, **kwargs):
    return press(seed, rows=60, cols=80, **kwargs)


def test_presses_are_ordered_over_unseen_objects_and_the_controls_are_not(tmp_path):
    rng = np.random.default_rng(0)
    episodes = []
    for obj in range(15):
        gain = 15 * 2 ** (obj % 3) * rng.uniform(0.85, 1.15)
        video = pad_stream(clip(obj, gain=gain, on=25, off=45), clock(), "gel")
        groups = {"object": f"o{obj}", "setting": "ab"[obj // 8], "take": f"o{obj}/0"}
        episodes.append((groups, [video], {"hardness_rank": float(obj % 3), "roughness_rank": None}))
    nothing = {"hardness_rank": None, "roughness_rank": None}
    episodes.append(({"object": "unknown", "take": "u/0"}, [pad_stream(clip(99), clock(), "gel")], nothing))
    episodes.append(({"object": "o1", "take": "o1/9"}, [pad_stream(clip(98, n=5), clock(5), "gel")], nothing))
    episodes.append(({"object": "o1", "take": "o1/10"}, [], nothing))
    table = read_presses(stored(tmp_path / "d", episodes))
    assert len(table.objects) == 16
    assert table.unlabelled == ("unknown",)
    assert [line.partition(":")[0] for line in table.left_out] == ["o1/9", "o1/10"]
    truth = table.labels["hardness_rank"]
    press, still, setting = (
        rank_row("hardness_rank", name, features, truth, table.objects, seeds=(0,), folds=3)
        for name, features in (("press", table.press), ("still", table.still), ("setting", table.setting))
    )
    assert (press.objects, press.clips) == (15, 15)
    assert press.spearman.value > 0.85
    assert press.spearman.low > 0.5
    assert press.accuracy.value > press.majority + 0.3
    assert press.majority <= 0.4
    assert still.objects == 15
    assert still.spearman.value < 0.5
    assert setting.spearman.value < 0.5


def test_choices_never_see_the_tested_objects():
    """With labels at random, whatever is chosen inside must not order the objects outside."""
    values = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        objects = np.repeat([f"o{i:02d}" for i in range(30)], 2)
        truth = np.repeat(rng.integers(0, 3, 30), 2).astype(float)
        features = np.repeat(rng.normal(size=(30, len(NAMES))), 2, axis=0)
        values.append(rank_row("x", "noise", features, truth, objects, seeds=(seed,), folds=3).spearman.value)
    assert abs(np.mean(values)) < 0.35


def test_the_interval_of_a_rank_correlation_holds_its_value():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 40).astype(float)
    interval = rank_interval((truth + rng.normal(0, 1, 40))[None], truth, rng, resamples=300)
    assert interval.low < interval.value < interval.high
    assert rank_interval(truth[None], truth, rng, resamples=100).low == pytest.approx(1.0)


def squeeze(seed, stiffness, on):
    closing = np.clip(np.arange(60) - on, 0, 30) * 0.5e-3
    force = 0.1 + 1e3 * stiffness * np.where(np.arange(60) < 50, closing, 0)
    frames = clip(seed, on=on, off=50, ramp=round(20 / stiffness))
    return [
        pad_stream(frames, clock(), "gel"),
        series_stream(FORCE, "N", force, clock()),
        series_stream(WIDTH, "m", 0.08 - closing, clock()),
    ]


def test_squeezes_give_onset_stiffness_and_an_order(tmp_path):
    episodes = [
        ({"object": f"o{i}", "take": f"o{i}/{t}"}, squeeze(10 * i + t, s, 10 + t), {})
        for i, s in enumerate((1.0, 1.5, 2.0, 3.0))
        for t in range(2)
    ]
    found = read_squeezes(stored(tmp_path / "d", episodes))
    for row in onset_rows(found):
        assert (row.trials, row.within, row.missed) == (8, 1.0, 0)
    assert found[0].stiffness.value == pytest.approx(1000.0, rel=1e-6)
    video = softness_rows(found)[0]
    assert video.index == INDICES[0]
    assert video.objects.value == pytest.approx(1.0)
    assert (video.separated, video.pairs) == (1.0, 6)


def test_missing_streams_and_too_few_objects_are_told(tmp_path):
    streams = squeeze(0, 1.0, 10)
    data = stored(tmp_path / "a", [({"object": "o", "take": "o/0"}, streams, {})])
    with pytest.raises(DataError, match="at least 3"):
        softness_rows(read_squeezes(data))
    data = stored(tmp_path / "b", [({"object": "o", "take": "o/0"}, streams[:2], {})])
    with pytest.raises(DataError, match=r"has no gripper\.width"):
        read_squeezes(data)


def test_real_squeezes_of_one_day(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    done = import_wedge(REAL / "2024-01-10", tmp_path / "out", corners=REAL / "wedge_config" / "config_100.csv")
    found = {s.take.partition("/")[2]: s for s in read_squeezes(open_dataset(done.out))}
    assert found["bolt/1"].stiffness.reason == "not enough steps"
    assert "ends_in_contact" in found["bolt/1"].problems
    assert found["rose_eraser/2"].stiffness.low > 0
    free = onset_rows(list(found.values()))
    assert free[1].worst <= 3


def test_an_encoders_features_are_taken_where_they_tell_more_and_left_out_where_they_tell_nothing():
    rng = np.random.default_rng(5)
    objects = np.repeat([f"o{k:02d}" for k in range(30)], 2)
    truth = np.repeat(np.arange(30) % 3, 2).astype(float)
    tells, noise = truth[:, None] + rng.normal(0, 0.2, (60, 6)), rng.normal(size=(60, 6))
    assert choose(np.hstack([noise, tells]), truth, objects, 0, 6).columns[6:].all()
    assert choose(np.hstack([tells, noise]), truth, objects, 0, 6).columns[:6].all()
    names = {option.name.partition(",")[0]: option.columns for option in choices(len(NAMES) + 6, 6)}
    assert list(names) == ["all", "shape", "encoder", "all and encoder"]
    assert not names["all"][-6:].any() and names["encoder"].sum() == 6 and names["all and encoder"].all()


def test_ranks_are_told_with_a_touch_encoder_that_stays_with_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hardness_real, "INNER_REPEATS", 1)
    monkeypatch.setattr(hardness_real, "PENALTIES", (100.0,))
    episodes = []
    for number in range(9):
        rank = float(number % 3)
        frames = press(number, n=24, on=8, off=20, ramp=4, rows=45, cols=60, gain=25.0 + 25 * rank)
        groups = {"object": f"o{number}", "take": f"o{number}/0"}
        episodes.append((groups, [pad_stream(frames, clock(24), "gel")], {"hardness_rank": rank, "roughness_rank": None}))
    data = stored(tmp_path / "d", episodes).root
    encoder = encoder_run(tmp_path / "touch")
    assert (
        main(["train", "hardness", "--data", str(data), "--out", str(tmp_path / "run"), "--touch-encoder", str(encoder)]) == 0
    )
    assert "pad gets the universal tokens" in capsys.readouterr().out
    shutil.rmtree(encoder)
    model, columns = load_ranks(load_run(tmp_path / "run"))["hardness_rank"]
    assert len(columns) == len(NAMES) + 3 * SHAPE.width and len(model.weights) == columns.sum()
    judged = evaluate_hardness(tmp_path / "run", data)
    assert judged["n"] == 9 and judged["spearman"] > 0.7


@pytest.mark.slow
def test_ranks_are_trained_and_judged_by_the_commands(tmp_path, capsys, monkeypatch):
    """Clips of made-up objects: the harder, the steeper and stronger the press; one object has no label."""
    monkeypatch.setattr(hardness_real, "INNER_REPEATS", 1)
    folder = tmp_path / "source"
    folder.mkdir()
    lines = ["object,upstream_split,hardness_rank,roughness_rank,texture_rank,material"]
    for number in range(16):
        rank = number % 3
        known = number < 15
        lines += [f"thing{number},train,{rank},{number % 2},1,rubber"] if known else []
        for take in range(2):
            frames = press(seed=2 * number + take, gain=25.0 + 20 * rank, ramp=14 - 4 * rank)
            write_video(folder / f"thing{number}_{take}.mov", frames)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    data, run, told = str(tmp_path / "d"), str(tmp_path / "run"), tmp_path / "e.json"
    assert main(["import", "octopi", str(folder), "--out", data]) == 0
    assert main(["train", "hardness", "--data", data, "--out", run]) == 0
    assert main(["evaluate", run, "--data", data, "--json", str(told)]) == 0
    found = json.loads(told.read_text())
    assert found["n"] == 15 and found["spearman"] > 0.7 and 0 <= found["accuracy"] <= 1 and found["mae"] < 0.7
    rows = {row["object"]: row["hardness"] for row in found["presses"]}
    assert rows["thing15"]["label"] is None and rows["thing0"]["label"] == 0.0
    assert all(row["interval"][0] <= row["rank"] <= row["interval"][1] for row in rows.values())
    capsys.readouterr()
    assert main(["train", "hardness", "--data", data, "--out", run]) == 1
    assert "holds a finished run" in capsys.readouterr().err
