import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.data.reader import open_dataset
from palpate.evaluation.report_anytouch import study_tables, write_study
from palpate.learning.batches import Batch
from palpate.learning.checkpoint import load_run, save_run
from palpate.models.touch_encoder import TouchEncoderConfig
from palpate.models.touch_pretraining import DecoderConfig, MaskedConfig, MaskedTouchNet
from palpate.recipes import anytouch, touch_felt
from palpate.recipes.anytouch import (
    AnyTouchConfig,
    held_out_objects,
    load_encoder,
    load_touch_run,
    plain_guesses,
    read_clips,
    train_touch,
    without,
)
from palpate.recipes.anytouch_study import ABLATIONS, UNSEEN, WHOLE, StudyConfig, Variant, nearest_sensor, run_study, training
from palpate.recipes.touch_embedding import EmbedConfig, embed_touches, open_source
from palpate.recipes.touch_felt import felt_touches
from touch_fakes import write_touches

SHAPE = TouchEncoderConfig(size=32, patch=16, width=16, depth=1, heads=1, embed=8)
SENSORS = ("digit", "duragel", "gelsight")


class FakeTextEncoder:
    def embed(self, sentences):
        vectors = np.random.default_rng([len(s) for s in sentences]).normal(size=(len(sentences), 384))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Made-up touches by three sensors; sentences and pictures cost next to nothing here."""
    patch = pytest.MonkeyPatch()
    patch.setattr(touch_felt, "IMAGENET_SIZE", 32)
    patch.setattr(anytouch, "TextEncoder", FakeTextEncoder)
    torch.set_num_threads(1)
    yield write_touches(tmp_path_factory.mktemp("touches") / "data", touches=12)
    patch.undo()


def config(data, out, **more):
    plain = AnyTouchConfig(data=(data,), out=out, shape=SHAPE, decoder=DecoderConfig(width=16, depth=1, heads=1))
    train = replace(plain.train, epochs=2, batch_size=32, threads=1)
    return replace(plain, train=train, **more)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Both stages, trained for a moment; the first one has never felt the gelsight."""
    root, words = tmp_path_factory.mktemp("runs"), []
    first = train_touch(config(data, root / "one", exclude=("gelsight",)), words.append, progress=False)
    second = train_touch(config(data, root / "two", stage=2, init=first), words.append, progress=False)
    return first, second, "\n".join(words)


def test_objects_are_held_out_by_name_whatever_else_there_is(data):
    names = [f"object-{i:04d}" for i in range(2000)]
    held = held_out_objects(names, 0.2)
    assert 330 < len(held) < 470
    assert set(held_out_objects(names[:50], 0.2)) == set(held) & set(names[:50])
    train, kept_out = read_clips(config(data, data / "x"), SHAPE, progress=False)
    trained, tested = (set(part.object[part.kept]) for part in (train, kept_out))
    assert tested and not trained & tested
    fewer, _ = read_clips(config(data, data / "x", exclude=("digit",)), SHAPE, progress=False)
    assert fewer.sensors == ("duragel", "gelsight")
    assert set(fewer.object[fewer.kept]) == trained
    with pytest.raises(UnknownNameError, match="tac3d"):
        read_clips(config(data, data / "x", exclude=("tac3d",)), SHAPE, progress=False)
    with pytest.raises(DataError, match="held out"):
        read_clips(config(data, data / "x", held_out=1.0), SHAPE, progress=False)


def test_what_is_left_out_is_not_in_the_batch():
    clip = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
    batch = Batch(
        inputs={"clip": clip, "next": clip[:, 0], "text": np.ones((2, 4)), "vision": np.ones((2, 4)), "positive": clip, "negative": clip,
                "positive_sensor": np.zeros(2), "negative_sensor": np.zeros(2), "sensor": np.zeros(2)},
        labels=np.empty((2, 0), np.float32),
        presence={"text": np.ones(2, bool), "positive": np.ones(2, bool)},
    )  # fmt: skip
    assert set(without(batch, ("text", "vision", "matching")).inputs) == {"clip", "next", "sensor"}
    assert not without(batch, ("text", "matching")).presence
    still = without(batch, ("clips",))
    assert "next" not in still.inputs
    assert still.inputs["clip"].ravel().tolist() == still.inputs["positive"].ravel().tolist() == [2, 5]
    assert without(batch, ("universal",)).inputs.keys() == batch.inputs.keys()


def test_guesses_without_a_net_are_what_they_say_by_hand():
    net = MaskedTouchNet(MaskedConfig(encoder=SHAPE, decoder=DecoderConfig(width=16, depth=1, heads=1)))
    levels = np.array([50, 100, 50, 100], np.uint8)

    def source(levels, move):
        def batch(rows):
            clip = np.broadcast_to(levels[rows][:, None, None, None, None], (len(rows), 3, 32, 32, 3)).copy()
            return Batch(
                inputs={"clip": clip, "next": clip[:, -1] + np.uint8(move), "sensor": np.arange(len(rows)) % 2},
                labels=np.empty((len(rows), 0), np.float32),
            )

        class Source:
            batch = staticmethod(lambda rows: batch(rows))

            def __len__(self):
                return len(levels)

        return SimpleNamespace(of_kind=lambda kind: Source())

    found = plain_guesses(net, source(levels, 0), source(levels + np.uint8(20), 10))
    unit = np.square(1 / 255.0 / np.array([0.229, 0.224, 0.225])).mean()
    wanted = {"mean_frame": 20, "visible_mean": 0, "mean_next_frame": 30, "last_frame": 10}
    for name, error in wanted.items():
        np.testing.assert_allclose(found[name], error**2 * unit, rtol=1e-4, atol=1e-6, err_msg=name)


def test_both_stages_write_runs_that_tell_what_they_saw(data, runs):
    first, second, words = runs
    one, two = load_touch_run(first), load_touch_run(second)
    assert one.extra["sensors"] == two.extra["sensors"] == ["digit", "duragel"]
    assert "gelsight: never seen" in words
    assert {"reconstruction", "prediction", "loss"} <= set(one.metrics["held_out"])
    assert one.metrics["guesses"]["mean_frame"] > 0
    assert {"touch_text", "touch_vision", "matching"} <= set(two.metrics["held_out"])
    assert one.extra["held_out_objects"] == list(held_out_objects([f"object-{i:04d}" for i in range(12)], 0.2))
    assert not (first / "state.safetensors").exists()
    encoder = load_encoder(two)
    assert encoder.config.sensors == ("digit", "duragel") and not encoder.training
    reader = open_dataset(data)
    assert open_source(str(second)).objects(reader) == tuple(two.extra["held_out_objects"])
    assert open_source(str(first)).objects(reader) and open_source(str(first)).objects(reader, seen=True) == ()
    with pytest.raises(RunError, match="of stage 2 and may have read sentences"):
        open_source(str(second)).objects(reader, seen=True)


def test_runs_are_compared_on_objects_that_none_of_them_saw(data, runs, tmp_path):
    first, second, _ = runs
    words = []
    config = EmbedConfig(run=str(second), beside=(str(first),), data=data, out=tmp_path / "e.npz")
    found = embed_touches(config, words.append, progress=False)
    assert list(found["neighbours"]) == ["two", "one", "untrained", "imagenet"]
    assert found["held_out_only"] and found["felt"] == 3 * found["touches"]
    assert any("gelsight: never seen" in word for word in words)
    with np.load(tmp_path / "e.npz") as file:
        assert set(file["object"]) <= set(load_touch_run(first).extra["held_out_objects"])
        assert file["embedding"].shape[1] == SHAPE.embed


def test_the_second_stage_goes_on_from_the_first(data, runs, tmp_path):
    first, _, _ = runs
    start = config(data, tmp_path / "two", stage=2, init=first)
    still = replace(start, train=replace(start.train, epochs=1, warmup_epochs=0.5, learning_rate=1e-12, weight_decay=0.0))
    folder = train_touch(still, lambda _: None, progress=False)
    a, b = (load_encoder(load_touch_run(run)).state_dict() for run in (first, folder))
    for name in a:
        np.testing.assert_allclose(a[name].numpy(), b[name].numpy(), atol=1e-6, err_msg=name)


def test_a_finished_run_another_recipe_and_another_architecture_are_refused(data, runs, tmp_path):
    first, _, _ = runs
    with pytest.raises(RunError, match="finished run"):
        train_touch(config(data, first), lambda _: None, progress=False)
    run = load_run(first)
    save_run(tmp_path / "other", replace(run, extra={**run.extra, "recipe": "outcome"}))
    with pytest.raises(RunError, match="outcome"):
        train_touch(config(data, tmp_path / "x", stage=2, init=tmp_path / "other"), lambda _: None, progress=False)
    wider = {**run.net, "encoder": {**run.net["encoder"], "width": 32}}
    save_run(tmp_path / "wider", replace(run, net=wider))
    with pytest.raises(RunError, match="another architecture"):
        train_touch(config(data, tmp_path / "x", stage=2, init=tmp_path / "wider"), lambda _: None, progress=False)
    with pytest.raises(RunError, match="another architecture"):
        load_encoder(load_touch_run(tmp_path / "wider"))


def test_wrong_settings_are_refused(data, tmp_path):
    with pytest.raises(UnknownNameError, match="'smell'"):
        config(data, tmp_path, without=("smell",))
    with pytest.raises(PalpateError, match="--init"):
        config(data, tmp_path, init=tmp_path)
    with pytest.raises(UnknownNameError, match="openclip:PATH"):
        train_touch(config(data, tmp_path / "x", encoder="huge"), lambda _: None, progress=False)
    with pytest.raises(UnknownNameError, match="'weather'"):
        StudyConfig(data=(data,), probe=data, out=tmp_path, tables=("weather",))


def test_variants_share_a_first_stage_where_it_is_the_same(tmp_path):
    study = StudyConfig(data=(tmp_path,), probe=tmp_path, out=tmp_path, sensors=SENSORS)
    assert set(ABLATIONS) < set(study.variants)
    folders = {name: training(study, variant, 1, 0).out.name for name, variant in study.variants.items()}
    assert folders[WHOLE] == folders["w/o text"] == folders["w/o matching"] == "stage-1"
    assert len({folders[WHOLE], folders["w/o clips"], folders["w/o universal tokens"], folders["digit"], folders[UNSEEN]}) == 5
    seconds = [training(study, variant, 2, 0).out for variant in study.variants.values() if 2 in variant.stages]
    assert len(set(seconds)) == len(seconds)
    assert training(study, ABLATIONS["w/o stage 1"], 2, 0).init is None
    last = training(study, Variant(sensors=2), 2, 1)
    assert last.exclude == ("gelsight",) and last.train.seed == 1


def test_the_nearest_sensor_is_the_one_whose_pictures_look_alike(data):
    felt = felt_touches(open_dataset(data), size=32, frames=3, progress=False)
    own = felt.take(np.flatnonzero(felt.sensor == "digit"))
    assert nearest_sensor(own, felt, SENSORS) == "digit"
    assert nearest_sensor(own, felt, ("duragel", "gelsight")) in ("duragel", "gelsight")


@pytest.mark.slow
def test_a_small_study_has_every_row_and_goes_on_where_it_was(data, tmp_path):
    study = StudyConfig(
        data=(write_touches(tmp_path / "train", touches=10, objects=10),), probe=data, out=tmp_path / "study", sensors=SENSORS,
        shape=SHAPE, epochs=(1, 1), seeds=1, folds=2, targets=("hardness",), workers=1, tables=("unseen",),
    )  # fmt: skip
    words = []
    found = run_study(study, words.append)
    assert sum(word.startswith("trained") for word in words) == 6
    assert set(found["rows"]) == {*study.variants, "untrained", "imagenet", "hand-made"}
    same = found["rows"][WHOLE]["same touch"]
    assert 0 <= same["value"]["value"] <= 1 and same["less_whole"] is None
    assert same["by_seed"] == [same["value"]["value"]]
    assert "hardness, last sensor, nearest tokens" in found["rows"][UNSEEN]
    again = []
    assert json.dumps(run_study(study, again.append)) == json.dumps(found)
    pooled = run_study(replace(study, pool="patches"), again.append)
    assert not any(word.startswith("trained") for word in again)
    assert (pooled["pool"], found["pool"]) == ("patches", "class")
    rows, others = ({name: row["hardness"]["value"] for name, row in f["rows"].items()} for f in (found, pooled))
    assert {name for name in rows if rows[name] != others[name]} >= {WHOLE} and rows["imagenet"] == others["imagenet"]
    tables = "\n".join(table.text() for table in study_tables(found))
    assert "nearest sensor's tokens" in tables and "imagenet" in tables
    with pytest.raises(RunError, match="study with other settings"):
        run_study(replace(study, batch_size=32), again.append)
    assert write_study(tmp_path / "page.html", found, {"study": "benchmarks/anytouch.py"}).stat().st_size > 3000
