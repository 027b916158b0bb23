import json
from pathlib import Path

import numpy as np
import pytest
import torch

from palpate.cli.main import main
from palpate.core.errors import DataError, UnknownNameError
from palpate.data.reader import open_dataset
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.recipes import touch_felt
from palpate.recipes.touch_embedding import encode, token_indices, untrained
from palpate.recipes.touch_felt import cut_clips, felt_touches
from palpate.recipes.touch_probe import Goal, ProbeConfig, difference, majority, probe, probe_table, read_goal, run_probe
from touch_fakes import write_touches

OBJECTS, EACH = 30, 4
SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "octopi_physiclear"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of made-up touches; its clips are cut once, for all tests."""
    patch = pytest.MonkeyPatch()
    patch.setattr(touch_felt, "IMAGENET_SIZE", 32)
    torch.set_num_threads(1)
    yield write_touches(tmp_path_factory.mktemp("touches") / "data", touches=12, sensors=("digit", "gelsight"))
    patch.undo()


def goal_of(kind, rng):
    truth = np.arange(OBJECTS) % 3
    values = np.repeat(truth, EACH).astype(float) if kind == "rank" else np.repeat(np.array(["x", "y", "z"])[truth], EACH)
    group = np.repeat(np.array([f"object-{i:02d}" for i in range(OBJECTS)]), EACH)
    signal = np.eye(3)[np.repeat(truth, EACH)] @ rng.normal(size=(3, 8))
    return Goal(kind=kind, values=values, group=group, source="made up"), signal


@pytest.mark.parametrize("kind", ["rank", "class"])
def test_a_head_finds_what_is_there_and_nothing_where_there_is_nothing(kind):
    rng = np.random.default_rng(0)
    goal, signal = goal_of(kind, rng)
    noise = rng.normal(size=(OBJECTS * EACH, 8))
    found, nothing = (probe(x, goal, seeds=(0, 1)) for x in (signal + 0.3 * noise, noise))
    assert found.value.value > 0.9
    assert nothing.value.low < (0.0 if kind == "rank" else 0.4)
    assert nothing.value.value < (0.35 if kind == "rank" else 0.55)
    gain = difference(found, nothing)
    assert gain.low > 0.2
    np.testing.assert_allclose(gain.value, found.value.value - nothing.value.value, atol=1e-9)


def test_an_input_that_names_the_object_tells_nothing_of_objects_held_out():
    goal, _ = goal_of("rank", np.random.default_rng(0))
    names = (goal.group[:, None] == np.unique(goal.group)).astype(float)
    assert abs(probe(names, goal, seeds=(0, 1, 2)).value.value) < 0.35


def test_touches_without_features_are_left_out_and_too_few_objects_are_refused():
    rng = np.random.default_rng(0)
    goal, signal = goal_of("rank", rng)
    signal[: 5 * EACH] = np.nan
    found = probe(signal, goal, seeds=(0,))
    assert found.group.tolist() == [f"object-{i:02d}" for i in range(5, OBJECTS)]
    assert found.scores.shape == (1, OBJECTS - 5)
    signal[3 * EACH :] = np.nan
    with pytest.raises(DataError, match="too few"):
        probe(signal, goal, seeds=(0,))


def test_majority_says_the_most_frequent_class_of_the_training_objects():
    group = np.repeat(np.array([f"{i:02d}" for i in range(20)]), 3)
    values = np.where(np.arange(60) < 42, "often", "seldom")
    found = majority(Goal(kind="class", values=values, group=group, source="made up"), seeds=(0,))
    np.testing.assert_allclose(found.value.value, 0.7)


def test_targets_come_from_labels_or_annotation_and_a_rigid_thing_is_the_hardest(data):
    reader = open_dataset(data)
    at = np.arange(len(reader))
    hardness = read_goal(reader, at, "hardness")
    assert (hardness.kind, hardness.source) == ("rank", "truth.young")
    assert hardness.values[0] > hardness.values[5]
    assert set(read_goal(reader, at, "material").values) == {"foam", "rubber", "steel"}
    with pytest.raises(DataError, match="'grasp'"):
        read_goal(reader, at, "grasp")
    with pytest.raises(UnknownNameError, match="'colour'"):
        read_goal(reader, at, "colour")


def test_clips_are_cut_in_seconds_whatever_the_rate():
    pictures = np.repeat(np.arange(40, dtype=np.uint8), 24 * 32 * 3).reshape(40, 24, 32, 3)
    fast = cut_clips(pictures, np.arange(40) / 60, np.array([20, 1]), 3, 16)
    slow = cut_clips(pictures, np.arange(40) / 30, np.array([20]), 3, 16)
    assert fast.shape == (2, 3, 16, 16, 3)
    assert fast[:, :, 0, 0, 0].tolist() == [[16, 18, 20], [0, 0, 1]]
    assert slow[0, :, 0, 0, 0].tolist() == [18, 19, 20]


def test_an_encoder_uses_the_tokens_that_are_asked_for(data):
    shape = TouchEncoderConfig(size=32, width=16, depth=1, heads=1, embed=8, sensors=("digit",))
    felt = felt_touches(open_dataset(data), size=32, frames=3, progress=False)
    names = np.array(["digit", "gelsight"])
    assert token_indices(shape, names, "own").tolist() == [0, -1]
    assert token_indices(shape, names, "universal").tolist() == [-1, -1]
    assert token_indices(shape, names, "digit").tolist() == [0, 0]
    with pytest.raises(UnknownNameError, match="'gelsight'"):
        token_indices(shape, names, "gelsight")
    net = untrained(shape, 0)
    own, universal = (encode(net, felt, tokens).pooled for tokens in ("own", "universal"))
    differ = np.abs(own - universal).max(axis=1) > 1e-6
    np.testing.assert_array_equal(differ, felt.sensor == "digit")
    first = net(torch.from_numpy(felt.clips("clip", np.array([3]))[0]), torch.zeros(4, dtype=torch.int64) - 1)
    np.testing.assert_allclose(universal[3], first.pooled.detach().mean(dim=0).numpy(), atol=1e-5)
    assert first.patches.shape == (4, 32)
    torch.testing.assert_close(first.patches, torch.cat([first.tokens.mean(dim=1), first.tokens.max(dim=1).values], dim=1))
    patches = encode(net, felt, "universal").patches[3]
    np.testing.assert_allclose(patches, first.patches.detach().mean(dim=0).numpy(), atol=1e-5)


def test_an_untrained_encoder_is_the_same_again_and_leaves_the_random_state_alone():
    shape = TouchEncoderConfig(size=32, width=16, depth=1, heads=1)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, other = (untrained(shape, seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.patches.weight, b.patches.weight)
    assert not torch.equal(a.patches.weight, other.patches.weight)
    assert isinstance(a, TouchEncoder) and not a.training


def test_the_whole_probe_has_its_baselines_on_the_same_objects(data):
    words = []
    found = run_probe(
        ProbeConfig(run="imagenet", data=data, target="hardness", folds=3, seeds=(0,)), words.append, progress=False
    )
    plain = ["imagenet", "untrained", "untrained, less rest", "untrained, patches less rest", "hand-made"]
    assert list(found["rows"]) == plain
    assert {row["groups"] for row in found["rows"].values()} == {12}
    assert found["measure"] == "Spearman" and found["touches"] == 24 and not found["held_out_only"]
    assert found["rows"]["imagenet"]["value"] > 0.5
    text = probe_table(found).text()
    assert "imagenet less this" in text and "hand-made" in text
    with pytest.raises(DataError, match="asked for: tac3d"):
        run_probe(ProbeConfig(run="imagenet", data=data, target="hardness", sensors=("tac3d",)), words.append, progress=False)


def test_embeddings_are_written_with_their_names_and_compared(data, tmp_path, capsys):
    out, plot, figures = tmp_path / "out" / "e.npz", tmp_path / "map.svg", tmp_path / "e.json"
    line = ["embed", "untrained", "--data", data, "--out", out, "--plot", plot, "--json", figures]
    assert main([str(word) for word in line]) == 0
    assert "same touch, %" in capsys.readouterr().out
    found = json.loads(figures.read_text())
    with np.load(out) as file:
        assert file["embedding"].shape == (found["felt"], 128)
        assert set(file["sensor"]) == {"digit", "gelsight"}
        assert set(file["object"]) <= {f"object-{i:04d}" for i in range(12)}
        assert len(set(file["touch"])) == found["touches"]
    assert list(found["neighbours"]) == ["untrained", "imagenet"]
    assert found["neighbours"]["untrained"]["chance_touch"] < 0.1
    assert plot.stat().st_size > 1000


def test_a_folder_that_is_no_run_is_refused(data, tmp_path, capsys):
    assert main(["probe", str(tmp_path), "--data", str(data), "--target", "hardness"]) == 1
    assert "run.json is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_features_of_real_presses_are_there_for_contact_and_for_the_control(tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    from palpate.data.external.octopi import import_octopi

    some = tmp_path / "some"
    some.mkdir()
    for name in ("labels.csv", "baseball_0.mov", "sponge_soft_0.mov"):
        if not (SHARED / name).exists():
            pytest.skip(f"{SHARED} has no {name}")
        (some / name).symlink_to(SHARED / name)
    reader = open_dataset(import_octopi(some, tmp_path / "data").out)
    felt = felt_touches(reader, size=32, frames=3, progress=False)
    assert felt.sensor.tolist() == ["gelsight-mini"] * 2
    assert felt.present("still").all()
    assert np.isfinite(felt.kept("imagenet")).all() and np.isfinite(felt.kept("press_still")).all()
