import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_fakes import stream
from palpate.cli.main import main
from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.learning.schedule import TrainConfig
from palpate.models.touch_encoder import TouchEncoderConfig
from palpate.models.touch_pretraining import DecoderConfig
from palpate.recipes.anytouch import AnyTouchConfig, is_held_out, train_touch
from palpate.recipes.touch_embedding import Source, open_source, untrained
from palpate.recipes.touch_generation import (
    MEAN,
    NEAREST,
    REST,
    GenerationConfig,
    GenerationSplit,
    errors,
    generate_touch,
    guesses,
    learn,
    load_generator,
    open_split,
)
from palpate.recipes.touch_generation_study import GenerationStudy, generation_study_tables, run_generation_study
from palpate.recipes.touch_pairs import TouchPairs, between, touch_pairs
from touch_fakes import touch_episode

SHAPE = TouchEncoderConfig(size=32, patch=8, width=24, depth=1, heads=2, embed=8)
TINY = TrainConfig(epochs=2, batch_size=16, learning_rate=3e-3, threads=1)
OBJECTS, TOUCHES, LATE = 12, 24, 0.02


def field_episode(index):
    """A touch by two cameras and by a field whose force follows the bump in time and place, on a clock that starts later."""
    episode = touch_episode(index, OBJECTS, ("digit", "duragel"))
    centre = np.random.default_rng(100 + index).uniform(0.35, 0.65, 2)
    times = np.arange(14) / 30 + LATE
    place = (np.arange(20) + 0.5) / 20
    bump = np.exp(-((place[:, None] - centre[0]) ** 2 + (place - centre[1]) ** 2) / 0.02)
    depth = np.clip(np.minimum((30 * times - 3) / 3, (12 - 30 * times) / 3), 0, 1)
    values = np.zeros((14, 400, 6), np.float32)
    values[..., 5] = 0.02 * depth[:, None] * bump.reshape(-1)
    field = stream("taxels.tac3d", "taxels", values, times, 30.0, unit="m,N")
    return replace(episode, streams={**episode.streams, "taxels.tac3d": field})


def write(root, episodes, recipe="touch"):
    with EpisodeWriter.create(root, task="touch", config={"recipe": recipe, "seed": 0}) as out:
        for episode in episodes:
            out.write(episode)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    torch.set_num_threads(1)
    return write(tmp_path_factory.mktemp("fields") / "data", (field_episode(i) for i in range(TOUCHES)))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A small encoder of stage 1 that saw stills only."""
    config = AnyTouchConfig(
        data=(data,), out=tmp_path_factory.mktemp("runs") / "run", shape=SHAPE, without=("clips",),
        decoder=DecoderConfig(width=24, depth=1, heads=2), train=TrainConfig(epochs=1, batch_size=64),
    )  # fmt: skip
    return train_touch(config, lambda _: None, progress=False)


@pytest.fixture(scope="module")
def fields(data):
    return touch_pairs(open_dataset(data), "digit", "tac3d", SHAPE, progress=False)


def config_of(data, out, **more):
    return GenerationConfig(
        **{"run": "untrained", "data": data, "source": "digit", "target": "tac3d", "out": out, "train": TINY, **more}
    )


def plain_source(seed=0):
    return Source(name="untrained", net=untrained(SHAPE, seed), run=None, shape=SHAPE)


def test_between_two_samples_lies_a_line_and_beyond_the_ends_the_ends():
    values = np.array([[0.0], [2.0], [4.0]])
    found = between(values, np.array([0.0, 1.0, 3.0]), np.array([-1.0, 0.25, 2.0, 9.0]))
    np.testing.assert_allclose(found[:, 0], [0.0, 0.5, 3.0, 4.0])


def test_the_field_of_a_pair_is_that_of_the_last_frame_of_its_clip(fields):
    assert (fields.kind, fields.clip.shape[1:], fields.truth.shape[1:]) == ("field", (3, 32, 32, 3), (20, 20, 3))
    assert 3 <= len(fields) / TOUCHES <= 6
    np.testing.assert_array_equal(fields.change(), fields.truth)
    strongest = np.array([fields.truth[fields.touch == name, ..., 2].max() for name in np.unique(fields.touch)])
    np.testing.assert_allclose(strongest, 0.02, rtol=0.15)
    peak = np.abs(fields.truth[..., 2]).reshape(len(fields), -1).argmax(axis=1)
    one = fields.touch == fields.touch[0]
    assert len(set(peak[one])) == 1


def ramp(clock, start):
    """A field whose force is the time since `start` of its clock [s]."""
    values = np.zeros((len(clock), 400, 6), np.float32)
    values[..., 5] = (clock - start)[:, None]
    return stream("taxels.tac3d", "taxels", values, clock, 30.0, unit="m,N")


def test_instants_of_one_clock_are_the_same_time(tmp_path):
    episode = touch_episode(0, OBJECTS, ("digit",))
    clock = np.arange(20) / 40 + 0.003
    folder = write(tmp_path / "d", [replace(episode, streams={**episode.streams, "taxels.tac3d": ramp(clock, 0.0)})])
    pairs = touch_pairs(open_dataset(folder), "digit", "tac3d", SHAPE, progress=False)
    times = 30 * pairs.truth[:, 0, 0, 2]
    np.testing.assert_allclose(times, times.round(), atol=1e-4)
    assert 4 <= times.round()[0] <= 5 and times.round()[-1] in (10, 11)


def test_without_a_shared_clock_the_same_share_of_the_contact_is_the_same_instant(tmp_path):
    episode = touch_episode(0, OBJECTS, ("digit", "duragel"))
    late = replace(episode.streams["touch.duragel"], times=episode.streams["touch.duragel"].times + 5.0)
    moved = replace(episode, streams={**episode.streams, "touch.duragel": late})
    found = {
        recipe: touch_pairs(open_dataset(write(tmp_path / recipe, [one], recipe)), "digit", "duragel", SHAPE, progress=False)
        for recipe, one in (("touch", episode), ("import", moved))
    }
    np.testing.assert_array_equal(found["import"].clip, found["touch"].clip)
    apart = np.abs(found["import"].change() - found["touch"].change()).max()
    assert apart < 0.35 * np.abs(found["touch"].change()).max()
    assert found["import"].change().std() > 0.5 * found["touch"].change().std()


def test_clips_are_what_the_encoder_sees(data):
    changes = touch_pairs(open_dataset(data), "digit", "duragel", replace(SHAPE, view="change"), progress=False)
    pictures = touch_pairs(open_dataset(data), "digit", "duragel", SHAPE, progress=False)
    assert changes.kind == "picture" and changes.truth.shape == (len(changes), 32, 32, 3)
    np.testing.assert_allclose(np.median(changes.clip), 128, atol=2)
    np.testing.assert_array_equal(changes.truth, pictures.truth)
    assert np.abs(np.median(pictures.clip[..., 0]) - 128) > 5
    assert np.abs(pictures.change()).max() > 0.1


def test_wrong_sensors_and_data_without_pairs_are_refused(data, tmp_path):
    reader = open_dataset(data)
    with pytest.raises(UnknownNameError, match="'tac3d'"):
        touch_pairs(reader, "tac3d", "digit", SHAPE)
    with pytest.raises(UnknownNameError, match="digit, duragel, tac3d"):
        touch_pairs(reader, "digit", "biotac", SHAPE)
    with pytest.raises(PalpateError, match="two different"):
        touch_pairs(reader, "digit", "digit", SHAPE)
    parts = [touch_episode(0, OBJECTS, ("digit",)), touch_episode(1, OBJECTS, ("duragel",))]
    with pytest.raises(DataError, match="both"):
        touch_pairs(open_dataset(write(tmp_path / "apart", parts)), "digit", "duragel", SHAPE, progress=False)


def test_objects_are_held_out_by_name_and_never_those_that_the_encoder_saw(data, run, tmp_path):
    source, reader = open_source(str(run)), open_dataset(data)
    split = open_split(reader, source, config_of(data, tmp_path), progress=False)
    assert all(is_held_out(name, 0.2) for name in split.held.object)
    assert not any(is_held_out(name, 0.2) for name in split.train.object)
    np.testing.assert_allclose(split.spread, np.sqrt((split.train.truth**2).mean()), rtol=1e-5)
    with pytest.raises(PalpateError, match="trained on this data"):
        open_split(reader, source, config_of(data, tmp_path, held_out=0.5), progress=False)
    with pytest.raises(DataError, match="give more objects"):
        open_split(reader, source, config_of(data, tmp_path, held_out=0.001), progress=False)


def test_errors_are_those_worked_by_hand():
    picture = np.full((1, 2, 2, 3), 51, np.uint8)
    held = TouchPairs(
        source="a", target="b", clip=np.zeros((1, 3, 2, 2, 3), np.uint8), truth=picture, rest=np.zeros_like(picture),
        object=np.array(["x"]), touch=np.array(["x/0"]),
    )  # fmt: skip
    found = errors(held, np.full((1, 2, 2, 3), 0.3, np.float32))
    np.testing.assert_allclose([found["mse"][0], found["psnr_db"][0]], [0.01, 20.0], rtol=1e-5)
    np.testing.assert_allclose(errors(held, np.full((1, 2, 2, 3), -0.3, np.float32))["mse"], 0.04, rtol=1e-5)
    force = np.zeros((1, 2, 2, 3), np.float32)
    force[..., 2] = 0.003
    field = replace(held, truth=force, rest=np.zeros_like(force))
    found = errors(field, np.zeros_like(force))
    np.testing.assert_allclose(found["mse"], 9.0 / 3.0, rtol=1e-5)
    np.testing.assert_allclose([found["rmse_x_mn"][0], found["rmse_z_mn"][0]], [0.0, 3.0], rtol=1e-5)
    np.testing.assert_allclose(found["net_force_n"], 0.012, rtol=1e-5)


def test_a_decoder_finds_on_objects_held_out_where_the_force_is(data, fields, tmp_path):
    held = np.array([is_held_out(name, 0.2) for name in fields.object])
    split = GenerationSplit(train=fields.take(~held), held=fields.take(held), spread=0.003)
    config = config_of(data, tmp_path, train=replace(TINY, epochs=25))
    found = learn(plain_source(), split, config, progress=False)
    own, mean = (errors(split.held, change)["mse"].mean() for change in (found.change, guesses(split)[MEAN]))
    assert own < 0.7 * mean
    again = learn(plain_source(), split, config, progress=False)
    np.testing.assert_allclose(again.change, found.change, atol=1e-7)


def test_the_nearest_touch_of_a_touch_that_was_trained_on_is_itself(data, fields, tmp_path):
    few = fields.take(np.arange(0, len(fields), 4))
    split = GenerationSplit(train=few, held=few, spread=0.003)
    for tune in (False, True):
        source = plain_source()
        before = source.net.patches.weight.detach().clone()
        found = learn(source, split, config_of(data, tmp_path, tune=tune), progress=False)
        alike = few.clip[found.nearest] == few.clip
        assert alike.all(axis=(1, 2, 3, 4)).mean() > 0.9
        assert torch.equal(before, source.net.patches.weight)
        assert torch.equal(before, found.net.encoder.patches.weight) != tune


def test_a_run_is_written_with_its_baselines_and_gives_the_same_again(data, run, tmp_path):
    words = []
    config = config_of(data, tmp_path / "out", run=str(run), target="duragel")
    figures = generate_touch(config, words.append, progress=False)
    assert list(figures["rows"]) == ["run", "untrained", NEAREST, MEAN, REST]
    assert sum(word.startswith("epoch") for word in words) == TINY.epochs
    row = figures["rows"]["run"]
    assert row["mse"]["groups"] == figures["objects"] and row["mse"]["low"] < row["mse"]["value"] < row["mse"]["high"]
    less = figures["rows"][REST]["first_minus_this"]["value"]
    np.testing.assert_allclose(less, row["mse"]["value"] - figures["rows"][REST]["mse"]["value"], atol=1e-9)
    assert (tmp_path / "out" / "sheet.png").stat().st_size > 5000
    net = load_generator(tmp_path / "out")
    assert net.config.stills and net.config.kind == "picture"
    split = open_split(open_dataset(data), open_source(str(run)), config, progress=False)
    clips = torch.from_numpy(split.held.clip)
    with torch.inference_mode():
        change = net({"clip": clips, "sensor": torch.full((len(clips),), net.encoder.config.index("digit"))}) * net.spread
    again = errors(split.held, change.numpy())["mse"]
    by_object = [again[split.held.object == name].mean() for name in np.unique(split.held.object)]
    np.testing.assert_allclose(np.mean(by_object), row["mse"]["value"], rtol=1e-3)
    with pytest.raises(RunError, match="finished run"):
        generate_touch(config, words.append, progress=False)
    with pytest.raises(RunError, match="not of `palpate generate`"):
        load_generator(run)
    with pytest.raises(RunError, match="no touch encoder"):
        generate_touch(replace(config, run="imagenet", out=tmp_path / "x"), words.append, progress=False)


def test_the_command_says_how_well_it_does(data, run, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    line = ["generate", run, "--data", data, "--from", "digit", "--to", "tac3d", "--out", tmp_path / "out"]
    assert main([str(word) for word in [*line, "--epochs", 1, "--threads", 1, "--json", figures]]) == 0
    said = capsys.readouterr().out
    assert "net force, N" in said and "nearest touch" in said
    found = json.loads(figures.read_text())
    assert (found["from"], found["to"], found["kind"]) == ("digit", "tac3d", "field")
    assert set(found["rows"]["run"]) == {"mse", "rmse_x_mn", "rmse_y_mn", "rmse_z_mn", "net_force_n", "first_minus_this"}
    assert (tmp_path / "out" / "run.json").exists()
    assert main([str(word) for word in [*line[:-1], tmp_path / "y", "--held-out", "0.9"]]) == 1
    assert "trained on this data" in capsys.readouterr().err


def test_a_small_study_has_every_row_and_goes_on_where_it_was(data, run, tmp_path):
    study = GenerationStudy(
        runs={"stills only": str(run)}, data=data, out=tmp_path / "study", seeds=2, train=replace(TINY, epochs=1),
        directions=(("digit", "tac3d"),),
    )  # fmt: skip
    words = []
    found = run_generation_study(study, words.append)
    assert set(found["rows"]) == {"stills only", "untrained", f"{NEAREST}, stills only", f"{NEAREST}, untrained", MEAN, REST}
    row = found["rows"]["stills only"]["digit to tac3d"]
    assert len(row["by_seed"]) == 2 and row["by_seed"][0] != row["by_seed"][1]
    np.testing.assert_allclose(
        row["less_untrained"]["value"], row["value"]["value"] - found["rows"]["untrained"]["digit to tac3d"]["value"]["value"]
    )
    assert found["rows"]["untrained"]["digit to tac3d"]["less_untrained"] is None
    files = {path: path.stat().st_mtime_ns for path in study.out.rglob("seed-*/*.json")}
    assert len(files) == 4
    assert json.dumps(run_generation_study(study, words.append)) == json.dumps(found)
    assert {path: path.stat().st_mtime_ns for path in study.out.rglob("seed-*/*.json")} == files
    ours, paper = (table.text() for table in generation_study_tables(found))
    assert "stills only" in ours and "0.2159" in paper and "-7.1 %" in paper
    with pytest.raises(RunError, match="other settings"):
        run_generation_study(replace(study, tune=True), words.append)
    large = AnyTouchConfig(
        data=(data,), out=tmp_path / "large", shape=replace(SHAPE, size=40), decoder=DecoderConfig(width=24, depth=1, heads=2),
        train=TrainConfig(epochs=1),
    )  # fmt: skip
    both = {"small": str(run), "large": str(train_touch(large, lambda _: None, progress=False))}
    with pytest.raises(PalpateError, match="several sizes"):
        run_generation_study(replace(study, runs=both), words.append)
    with pytest.raises(PalpateError, match="always added"):
        GenerationStudy(runs={"untrained": "x"}, data=data, out=tmp_path)
