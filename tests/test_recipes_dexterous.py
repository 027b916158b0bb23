"""Two-stage training of the dexterous networks on made-up episodes, the model in use, the table, and real touch."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dexterous_fakes import fake_grasp, write_grasps
from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.core.records import CameraFrame, Episode, Observation, TactileFrame
from palpate.data.external.bts3 import read_bts3
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.learning.checkpoint import load_run
from palpate.learning.loop import TrainConfig
from palpate.recipes import dexterous_bts3
from palpate.recipes.dexterous import DexterousConfig, object_folds, train_dexterous
from palpate.recipes.dexterous_data import ViewSettings, depth_view, load_samples, net_inputs, observation_at, read_grasps
from palpate.recipes.dexterous_model import load_dexterous
from palpate.recipes.dexterous_study import PAPER, StudyConfig, angle, run_study, study_table
from palpate.worlds.shadow import FINGERS, RANGES, check_joints

N = 96
VIEWS = ViewSettings(window_px=64, size=28)
CONFIG = DexterousConfig(
    folds=2,
    views=VIEWS,
    image_size=24,
    width=32,
    layers=1,
    dropout=0.0,
    drop_rate=0.0,
    hypotheses=2,
    train=TrainConfig(epochs=14, batch_size=16, learning_rate=3e-3, lr_decay=0.9, precision="fp32", threads=1),
)
SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "bts3_biotac_shadow"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_grasps(tmp_path_factory.mktemp("dexterous") / "data", N, objects=6, dead="touch.mf")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    lines = []
    folder = train_dexterous(data, tmp_path_factory.mktemp("run") / "run", CONFIG, tell=lines.append)
    assert len(lines) == 3
    return folder


def test_touch_tells_what_the_picture_before_cannot(run):
    measured = load_run(run).metrics
    assert measured["after"]["status_accuracy"] > 0.9 > 0.75 > measured["before"]["status_accuracy"]
    assert measured["after"]["quality_error"] < 0.2 < 0.25 < measured["before"]["quality_error"]


def test_objects_of_a_fold_are_never_trained_on(data, run):
    grasps = read_grasps(open_dataset(data))
    fold = object_folds(grasps, CONFIG)
    assert not set(grasps.object[fold == 0]) & set(grasps.object[fold == 1])
    told = load_run(run).extra["folds"]
    assert {name: int(k) for name, k in zip(grasps.object, fold, strict=True)} == told


def test_the_model_gives_both_estimates_from_live_observations(run):
    model = load_dexterous(run)
    right = []
    for index in range(200, 216):
        episode = fake_grasp(index)
        first = model.first(observation_at(episode, "before"))
        second = model.second(observation_at(episode, "contact"))
        right.append((second.status > 0.5) == (episode.labels["stable"] == 1.0))
        assert first.hand_pose.shape == (6,) and len(first.alternatives) == 2
        assert first.alternatives[0].probability >= first.alternatives[1].probability
        np.testing.assert_array_equal(first.alternatives[0].hand_pose, first.hand_pose)
        for joints in (first.joints, second.joints, first.alternatives[1].joints):
            np.testing.assert_allclose(check_joints(joints, repair=False)[0], joints, atol=1e-6)
        assert np.linalg.norm(first.hand_pose[:3] - episode.arrays["action"][:3]) < 0.06
        assert 0 < first.status < 1 and 0 < first.quality < 1
    assert np.mean(right) > 0.85


def test_the_hand_follows_where_the_object_was_found_and_without_it_there_is_no_first_estimate(run):
    model = load_dexterous(run)
    seen = observation_at(fake_grasp(300), "before")
    expected = model.first(replace(seen, object_size=None)).hand_pose
    moved = model.first(replace(seen, object_size=None, object_position=seen.object_position + [0.1, -0.2, 0.3])).hand_pose
    np.testing.assert_allclose(moved - expected, [0.1, -0.2, 0.3, 0, 0, 0], atol=1e-6)
    with pytest.raises(PalpateError, match="object_position"):
        model.first(replace(seen, object_position=None))
    with pytest.raises(PalpateError, match="nothing to look at"):
        model.first(Observation(object_position=np.zeros(3)))


def test_the_second_estimate_works_with_dead_fingers_blind_or_numb(run):
    model, episode = load_dexterous(run), fake_grasp(301)
    felt = observation_at(episode, "contact")
    expected = model.second(felt).status
    without = model.second(replace(felt, touch={f: felt.touch[f] for f in ("ff", "th")})).status
    assert without != expected
    for less in (replace(felt, camera=None), replace(felt, touch={}), replace(felt, joint_position=None)):
        assert 0 < model.second(less).status < 1


def test_stage_after_goes_on_from_a_run_of_stage_before(data, run, tmp_path):
    with pytest.raises(RunError, match="complete run"):
        train_dexterous(data, tmp_path / "none", CONFIG, stage="after", tell=lambda _: None)
    out = tmp_path / "steps"
    shutil.copytree(run / "folds", out / "folds", ignore=shutil.ignore_patterns("after*"))
    train_dexterous(data, out, CONFIG, stage="before", tell=lambda _: None)
    with pytest.raises(RunError, match="--stage after"):
        load_dexterous(out).second(observation_at(fake_grasp(1), "contact"))
    with pytest.raises(RunError, match="finished run"):
        train_dexterous(data, out, CONFIG, tell=lambda _: None)
    train_dexterous(data, out, CONFIG, stage="after", tell=lambda _: None)
    whole, steps = load_run(run), load_run(out)
    assert whole.metrics == steps.metrics and set(whole.weights) == set(steps.weights)
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(steps.weights[name], tensor, rtol=0, atol=0)
    other = replace(CONFIG, width=16, resume=True)
    with pytest.raises(RunError, match="net, width"):
        train_dexterous(data, out, other, tell=lambda _: None)


def test_bad_stages_and_data_are_explained(data, tmp_path):
    with pytest.raises(UnknownNameError, match="allowed: after, before, both"):
        train_dexterous(data, tmp_path / "run", CONFIG, stage="during")
    with EpisodeWriter.create(tmp_path / "other", task="gentle") as out:
        out.write(Episode(index=0, seed=0, task="gentle"))
    with pytest.raises(DataError, match="collect dexterous"):
        read_grasps(open_dataset(tmp_path / "other"))
    one = write_grasps(tmp_path / "one", 3, objects=1)
    with pytest.raises(PalpateError, match="at least 2 objects"):
        train_dexterous(one, tmp_path / "run", CONFIG, tell=lambda _: None)


def test_only_successful_grasps_are_imitated_and_unknown_labels_stay_unknown(tmp_path):
    with EpisodeWriter.create(tmp_path / "data", task="dexterous") as out:
        for index in range(8):
            out.write(fake_grasp(index) if index else fake_grasp(0).with_labels({"stable": None, "quality": None}))
    reader = open_dataset(tmp_path / "data")
    grasps = read_grasps(reader)
    targets = grasps.targets()
    good = grasps.status == 1
    assert 0 < good.sum() < 7 and np.isnan(grasps.status[0]) and np.isnan(targets["quality"][0])
    for name in ("position", "rotation", "joints"):
        whole = np.isfinite(targets[name]).reshape(8, -1)
        np.testing.assert_array_equal(whole.all(axis=1), good)
        np.testing.assert_array_equal(whole.any(axis=1), good)
    assert np.isfinite(read_grasps(reader, "status").status[0])
    episode = reader.episode(1)
    np.testing.assert_allclose(
        grasps.hand_position[1] + episode.arrays["object_position"], episode.arrays["action"][:3], atol=1e-12
    )


def test_training_and_use_see_the_same_inputs(data):
    reader = open_dataset(data)
    grasps = read_grasps(reader)
    for stage, event in (("before", "before"), ("after", "contact")):
        samples = load_samples(reader, grasps, stage, VIEWS)
        batch = samples.batch(np.arange(4))
        for row in range(4):
            live = net_inputs(observation_at(reader.episode(row), event), VIEWS)
            present = {name for name, mask in batch.presence.items() if mask[row]}
            wanted = set(live) if stage == "after" else set(live) & {"rgb", "depth", "place"}
            assert present == wanted and ("touch.mf" in present) == (stage == "after" and row % 3 != 0)
            for name in present:
                np.testing.assert_array_equal(batch.inputs[name][row], live[name])


def test_inputs_are_called_absent_in_training_now_and_then_and_never_in_prediction(data):
    reader = open_dataset(data)
    samples = replace(load_samples(reader, read_grasps(reader), "after", VIEWS), drop_rate=0.3)
    (batch,) = samples.epoch(np.random.default_rng(0), N)
    assert all(0.1 < 1 - mask.mean() < 0.5 for name, mask in batch.presence.items() if name != "touch.mf")
    assert all(mask.all() for name, mask in samples.batch(np.arange(N)).presence.items() if name != "touch.mf")


def test_touch_is_the_change_since_rest_and_is_not_made_up_before_contact():
    rest, now = np.full((24, 3), 0.2), np.full((24, 3), 0.5)
    seen = Observation(touch={"ff": TactileFrame(taxels=now)}, touch_rest={"ff": TactileFrame(taxels=rest)})
    np.testing.assert_allclose(net_inputs(seen, VIEWS)["touch.ff"], 0.3, atol=1e-6)
    assert set(net_inputs(seen, VIEWS)) == {"touch.ff"}
    felt = net_inputs(observation_at(fake_grasp(5, absent=("touch.th",)), "contact"), VIEWS)
    assert "touch.th" not in felt and abs(felt["touch.rf"][0].mean()) < 0.01  # the offset of 0.05 N is gone


def test_depth_is_relative_to_the_object_and_has_holes():
    depth = np.full((60, 80), 0.9, np.float32)
    depth[20:40, 30:50] = 0.8
    depth[10:14] = 0.0
    view = depth_view(depth, np.array([40.0, 30.0]), ViewSettings(window_px=40, size=40))
    assert view.shape == (40, 40) and view.dtype == np.float16
    np.testing.assert_allclose(view[15:25, 15:25], 0.0, atol=1e-3)
    np.testing.assert_allclose(view[5:9, :5], 0.1, atol=1e-3)
    assert np.isnan(view[0:4]).all() and np.isfinite(view[4:]).all()
    corner = depth_view(depth, np.array([79.0, 59.0]), ViewSettings(window_px=40, size=20))
    assert np.isfinite(corner).all()
    assert np.isnan(depth_view(0 * depth, np.array([40.0, 30.0]), ViewSettings(window_px=40, size=20))).all()
    no_depth = Observation(camera=CameraFrame(rgb=np.zeros((60, 80, 3), np.uint8)), object_pixel=np.array([40, 30]))
    assert set(net_inputs(no_depth, VIEWS)) == {"rgb"}


def test_angles_between_rotations():
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(angle(np.stack([np.eye(3), turn, turn @ turn]), np.eye(3)), [0, np.pi / 2, np.pi], atol=1e-7)


@pytest.mark.slow
def test_the_table_sets_second_against_first_and_says_what_touch_adds(data, tmp_path):
    base = replace(CONFIG, train=replace(CONFIG.train, epochs=10))
    config = StudyConfig(data=data, out=tmp_path / "study", seeds=1, workers=1, base=base)
    found = run_study(config, lambda line: None)
    rows = {name: {m: v["value"] for m, v in row.items()} for name, row in found["rows"].items()}
    assert len(rows) == 6 and found["grasps"] == N
    for name, least in (
        ("second: RGB-D + joints + touch", 0.75),
        ("second without vision", 0.85),
        ("second, touch alone", 0.85),
    ):
        assert rows[name]["status"] > least, name
        assert "rotation_rad" not in rows[name]
    assert rows["second without touch"]["status"] < 0.75
    gained = found["differences"]["with - without touch"]["status"]
    assert gained["low"] > 0 and gained["groups"] == 6
    assert found["differences"]["second - first"]["quality"]["high"] < 0
    constant, first = rows["no net: mean, median, majority"], rows["first: RGB-D"]
    assert first["joints_rad"] < constant["joints_rad"] and first["nearest_rotation_rad"] <= first["rotation_rad"]
    text = study_table(found).text()
    assert "slides, second" in text and f"{PAPER['second: RGB-D + joints + touch']['status']:.2f}" in text
    again = run_study(config, lambda line: None)  # from the weights that are there
    assert again == found


def write_csv(path, seed, objects=4, per_object=25):
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(9).normal(size=72) * 60
    lines = ["object,slipped," + ",".join(f"{f}_biotac_{i}" for f in dexterous_bts3.FINGERS for i in range(1, 25))]
    for k in range(objects):
        offset = 2500 + np.repeat(rng.normal(0, 100, 3), 24)
        for _ in range(per_object):
            firm = rng.normal()
            taxels = np.rint(offset + firm * pattern + rng.normal(0, 25, 72)).astype(int)
            lines.append(f"thing{k},{int(firm < 0)}," + ",".join(map(str, taxels)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_status_net_reads_biotac_counts_beside_the_outcome_model(tmp_path):
    file = write_csv(tmp_path / "set_palm_down.csv", 0)
    with EpisodeWriter.create(tmp_path / "data", task="bts3") as out:
        for episode in read_bts3(file):
            out.write(episode)
    found = dexterous_bts3.bts3_figures(tmp_path / "data", 1, lambda line: None, folds=2)
    assert found["grasps"] == 100 and found["rows"]["Status-Net|0"]["groups"] == 4
    assert found["rows"]["Status-Net|10"]["value"] > 0.85
    assert "outcome model" in dexterous_bts3.bts3_text(found)


@pytest.mark.slow
def test_status_net_on_real_touch_is_far_better_than_chance():
    if not SHARED.is_dir():
        pytest.skip(f"no real BioTac grasps in {SHARED}")
    episodes = [e for e in read_bts3(SHARED) if e.groups["pose"] == "palm_down"]
    names = [f"touch.{f}" for f in dexterous_bts3.FINGERS]
    objects = np.array([e.groups["object"] for e in episodes])
    grasps = dexterous_bts3.Grasps(
        taxels=np.array([np.concatenate([e.streams[n].values.ravel() for n in names]) for e in episodes], float),
        stable=np.array([e.labels["stable"] for e in episodes], float),
        object=objects,
        pose=np.full(len(objects), "palm_down"),
        recording=objects,
        fingers=3,
    )
    held_out = np.isin(objects, np.unique(objects)[::5])
    predictor = dexterous_bts3.train_status(grasps.take(np.flatnonzero(~held_out)), seed=0)
    right = (predictor(grasps.taxels[held_out], None) > 0.5) == (grasps.stable[held_out] > 0.5)
    assert right.mean() > 0.7


def test_made_up_hands_are_hands():
    action = fake_grasp(0).arrays["action"]
    assert len(FINGERS) == 5 and np.all((action[6:] >= RANGES[:, 0] - 1e-9) & (action[6:] <= RANGES[:, 1] + 1e-9))
