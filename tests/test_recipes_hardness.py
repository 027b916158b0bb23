import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.core.records import Stream
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.learning.checkpoint import load_run
from palpate.perception.hardness_scale import young_of_shore_00
from palpate.recipes.hardness import (
    HardnessConfig,
    evaluate_hardness,
    load_estimators,
    train_hardness,
)
from palpate.recipes.hardness_sim import PressesConfig, collect_presses, draw_motion
from palpate.recipes.hardness_touch import COMPONENTS, Components
from touch_fakes import encoder_run

SAMPLES, TESTS = 24, 7


@pytest.fixture(scope="module")
def pressed(tmp_path_factory):
    """Presses to learn from, and presses of other samples by the other solver."""
    root = tmp_path_factory.mktemp("presses")
    collect_presses(PressesConfig(out=root / "train", presses=SAMPLES, per_object=1, seed=1, picture=80))
    collect_presses(PressesConfig(out=root / "test", presses=TESTS, per_object=1, seed=2, picture=80, solver="finite"))
    return root


@pytest.fixture(scope="module")
def run(pressed):
    table = train_hardness(HardnessConfig(data=pressed / "train", out=pressed / "run"))
    assert table["presses"] + len(table["unusable"]) == SAMPLES
    return pressed / "run"


def rewritten(source, out, change, config=None):
    """Copy a data set with changed episodes."""
    reader = open_dataset(source)
    with EpisodeWriter.create(out, task="press", config=reader.head.config if config is None else config) as writer:
        for episode in reader:
            writer.write(change(episode))
    return out


def test_an_episode_is_what_it_says(pressed):
    for episode in open_dataset(pressed / "train"):
        touch, force, approach = (episode.streams[name] for name in ("touch.pad", "press.force", "press.approach"))
        assert touch.spec.kind == "touch" and touch.values.shape[1:] == (60, 80, 3)
        assert len(touch.times) == len(force.times) == len(approach.times) >= 10
        before = touch.times < episode.event("contact")
        assert before.sum() >= 4 and (~before).sum() >= 8
        np.testing.assert_allclose(force.values[before], 0.0, atol=0.1)
        assert force.values[~before].max() > 0.02
        np.testing.assert_allclose(episode.truth["young"], young_of_shore_00(episode.labels["shore00"]), rtol=1e-6)
        assert abs(episode.arrays["radius"][0] / episode.truth["radius"] - 1) <= 0.1
        depth = approach.values[~before].max() - np.interp(episode.event("contact"), approach.times, approach.values[:, 0])
        np.testing.assert_allclose(depth, episode.truth["depth"], atol=0.15e-3)


def test_motions_halt_turn_back_and_differ():
    motions = [draw_motion(0.012, 0.006, 60.0, np.random.default_rng(seed)) for seed in range(60)]
    steps = [np.diff(m.depth[m.times > m.contact]) / m.depth.max() for m in motions]
    assert all(m.depth[m.times < m.contact].max() <= 0 for m in motions)
    assert sum((s < -1e-3).any() for s in steps) > 5
    assert all((np.abs(s) < 1e-3).any() for s in steps)
    depths = [m.depth.max() for m in motions]
    assert max(depths) > 1.8 * min(depths)
    assert np.ptp([m.times[-1] for m in motions]) > 0.5


def test_presses_depend_on_seed_and_number_only(pressed, tmp_path):
    part = PressesConfig(out=tmp_path / "d", presses=3, per_object=1, seed=1, picture=80)
    collect_presses(part)
    collect_presses(replace(part, presses=5, resume=True))
    again, whole = open_dataset(tmp_path / "d"), open_dataset(pressed / "train")
    assert len(again) == 5
    for k in (0, 4):
        for name, stream in whole.episode(k).streams.items():
            np.testing.assert_array_equal(again.episode(k).streams[name].values, stream.values)
    with pytest.raises(DataError, match="another configuration"):
        collect_presses(replace(part, presses=6, seed=9, resume=True))


def test_a_trained_run_orders_presses_of_another_solver_and_says_how_sure_it_is(run, pressed):
    best = evaluate_hardness(run, pressed / "test")
    json.dumps(best)
    assert best["n"] + len(best["unusable"]) == TESTS
    assert best["spearman"] > 0.85 and best["mae"] < 12 and best["coverage"] >= 0.5
    for row in best["presses"]:
        assert row["interval"][0] <= row["shore00"] <= row["interval"][1]
        np.testing.assert_allclose(row["young_pa"], young_of_shore_00(row["shore00"]))
        assert row["inputs"] == ["image", "radius", "approach", "force"]


def test_less_knowledge_gives_wider_intervals(run, pressed):
    widths = [evaluate_hardness(run, pressed / "test", extras=extras)["width"] for extras in ((), ("approach",))]
    assert widths[0] > 1.5 * widths[1]


def test_what_a_press_lacks_is_not_used_and_unlabelled_presses_are_not_scored(run, pressed, tmp_path):
    def poorer(episode):
        streams = {"touch.pad": episode.streams["touch.pad"]}
        return replace(episode, streams=streams, arrays={}, labels={"shore00": None})

    table = evaluate_hardness(run, rewritten(pressed / "test", tmp_path / "poor", poorer))
    alone = evaluate_hardness(run, pressed / "test", extras=())
    assert table["n"] == 0 and table["mae"] is None and table["coverage"] is None
    assert all(row["inputs"] == ["image"] and row["label"] is None for row in table["presses"])
    assert [row["shore00"] for row in table["presses"]] == [row["shore00"] for row in alone["presses"]]


def test_a_video_without_a_press_is_named_and_not_guessed(run, pressed, tmp_path):
    def still(episode):
        if episode.index != 1:
            return episode
        touch = episode.streams["touch.pad"]
        idle = Stream(spec=touch.spec, times=touch.times[:4], values=touch.values[:4])
        return replace(episode, streams={**episode.streams, "touch.pad": idle})

    table = evaluate_hardness(run, rewritten(pressed / "test", tmp_path / "still", still))
    assert "1" in table["unusable"] and all(row["index"] != 1 for row in table["presses"])


def test_wrong_uses_are_refused_with_a_way_out(run, pressed, tmp_path):
    with pytest.raises(PalpateError, match="finished run"):
        train_hardness(HardnessConfig(data=pressed / "train", out=run))
    with pytest.raises(UnknownNameError, match="approach, force, radius"):
        evaluate_hardness(run, pressed / "test", extras=("smell",))
    with pytest.raises(UnknownNameError, match="finite"):
        collect_presses(PressesConfig(out=tmp_path / "x", solver="guess"))  # type: ignore[arg-type]
    bare = rewritten(pressed / "test", tmp_path / "bare", lambda e: replace(e, labels={"ripe": 1.0}), config={})
    with pytest.raises(DataError, match=r"none of the labels shore00.*label.ripe"):
        train_hardness(HardnessConfig(data=bare, out=tmp_path / "run"))
    other = rewritten(pressed / "test", tmp_path / "mini", lambda e: e, config={"sensor": "gelsight-mini"})
    with pytest.raises(RunError, match="gelsight-mini"):
        evaluate_hardness(run, other)


@pytest.mark.slow
def test_a_touch_encoder_joins_the_pictures_and_stays_with_the_run(run, pressed, tmp_path):
    encoder = encoder_run(tmp_path / "touch", sensors=("gelsight",))
    table = train_hardness(HardnessConfig(data=pressed / "train", out=tmp_path / "run", touch_encoder=encoder))
    assert "gelsight has its own tokens" in table["touch_encoder"]
    shutil.rmtree(encoder)
    with_touch, without = (load_estimators(load_run(folder)) for folder in (tmp_path / "run", run))
    assert set(with_touch) == set(without)
    for name, model in with_touch.items():
        assert model.points.shape == (len(without[name].points), without[name].points.shape[1] + COMPONENTS)
        np.testing.assert_allclose(model.points[:, -COMPONENTS:].std(axis=0), 1.0, atol=1e-4)  # none is a constant
    judged = evaluate_hardness(tmp_path / "run", pressed / "test")
    assert judged["n"] == TESTS - len(judged["unusable"]) and judged["spearman"] > 0.8


def test_components_are_the_directions_of_largest_spread():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(40, 8)) * 2.0 ** -np.arange(8) + 3.0).astype(np.float32)
    own = Components.fit(features)
    np.testing.assert_allclose(np.abs(own.axes[:, :2]), np.eye(2), atol=0.35)
    np.testing.assert_allclose(own.axes @ own.axes.T, np.eye(COMPONENTS), atol=1e-5)
    np.testing.assert_allclose(own(features).mean(axis=0), 0.0, atol=1e-5)
    spread = own(features).var(axis=0)
    assert spread[0] > spread[1] > features.var(axis=0)[2:].max()
    assert Components.fit(features[:2]).axes.shape == (1, 8)


@pytest.mark.slow
def test_the_commands_collect_train_and_judge(tmp_path, capsys):
    data, run, told = str(tmp_path / "d"), str(tmp_path / "run"), tmp_path / "e.json"
    command = ["collect", "presses", "--out", data, "--picture", "80", "--workers", "1"]
    assert main([*command, "--presses", "30"]) == 0
    assert main([*command, "--presses", "40", "--resume"]) == 0
    assert "label shore00" in capsys.readouterr().out
    assert main(["train", "hardness", "--data", data, "--out", run]) == 0
    assert main(["evaluate", run, "--data", data, "--without", "radius", "approach", "--json", str(told)]) == 0
    found = json.loads(told.read_text())
    assert found["n"] > 30 and {"object", "shore00", "interval"} <= set(found["presses"][0])
    assert set(found) >= {"spearman", "mae", "accuracy", "n", "coverage"}
    assert all(set(row["inputs"]) <= {"image", "force"} for row in found["presses"])
    assert main(["collect", "presses", "--out", str(tmp_path / "x"), "--presses", "0"]) == 1
    assert "--presses 0" in capsys.readouterr().err
