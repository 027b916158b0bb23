from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import RunError
from palpate.core.randomness import generator
from palpate.core.recording import series
from palpate.core.records import Episode, Event
from palpate.data.reader import open_dataset
from palpate.evaluation.report_softgrasp import summary_text, write_report
from palpate.recipes.softgrasp import SoftgraspTraining
from palpate.recipes.softgrasp_story import SHOWN, gather, mapping_fits
from palpate.recipes.softgrasp_study import (
    FULL,
    OURS,
    PAPER,
    SUBSETS,
    TABLES,
    Configuration,
    StudyConfig,
    read_study,
    run_feedback,
    run_study,
    stable_torque,
)
from palpate.robots.glove_mapping import JOINTS, SOFTGRASP_TABLE_1

TINY = SoftgraspTraining(frame_dim=16, hidden=32)
TINY = replace(TINY, train=replace(TINY.train, epochs=1, batch_size=64, device="cpu"))
BLIND = {5: {"angle + torque": SUBSETS["angle + torque"]}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One demonstration with torque and one without, one net, one trial of it."""
    root = tmp_path_factory.mktemp("softgrasp-study")
    feedback = run_feedback(root, objects=(1,), demos=1, workers=1)
    config = StudyConfig(
        data=root / "felt", out=root / "study", tables=BLIND, objects=(6,), trials=1, seeds=1, workers=1, base=TINY
    )
    said: list[str] = []
    return config, run_study(config, said.append), feedback, said


def test_configurations_that_tables_share_are_made_once_and_short_ones_first(tmp_path):
    jobs = StudyConfig(data=tmp_path, out=tmp_path, seeds=2).jobs()
    assert len(jobs) == 34 and len({job.name for job in jobs}) == 34
    assert [job.configuration.strategy for job in jobs[-4:]] == ["act"] * 2 + ["timesformer"] * 2
    assert all(FULL in table.values() for table in TABLES.values())
    printed = {number: [row for row in table if row not in OURS] for number, table in TABLES.items()}
    assert printed == {number: list(rows) for number, rows in PAPER.items()}
    noisy = next(iter(OURS.values())).training(SoftgraspTraining(history_noise=0.0), 0)
    assert noisy.history_noise > 0.0 and FULL.training(SoftgraspTraining(history_noise=0.0), 0).history_noise == 0.0


def test_costly_strategies_get_fewer_epochs_over_which_the_rate_falls_as_far():
    base = SoftgraspTraining()
    act = Configuration(strategy="act", modalities=("image", "angle")).training(base, 3)
    assert act.train.epochs == 16 and act.frame_dim == 32 and act.train.seed == 3
    np.testing.assert_allclose(act.train.lr_decay**act.train.epochs, base.train.lr_decay**base.train.epochs, rtol=1e-9)
    heavy = Configuration(loss_factor=0.5).training(base, 0)
    assert heavy.objective.loss_factor == 0.5 and heavy.train.epochs == 40 and heavy.frame_dim == base.frame_dim
    assert heavy.net(1280).width == 192 and act.net(1280).width == 96


def test_the_stable_torque_is_the_mean_after_the_stage_has_begun_and_unknown_without_one():
    times = np.arange(10) / 10
    torque = series("hand.joint_torque", np.arange(10.0)[:, None] * np.ones(6), "N m", JOINTS, times, 10.0)
    episode = Episode(index=0, seed=0, task="softgrasp", streams={"hand.joint_torque": torque})
    assert np.isnan(stable_torque(episode)).all()
    stable = replace(episode, events=(Event(name="stable", time=0.8),))
    np.testing.assert_allclose(stable_torque(stable), np.full(6, 8.5))


def test_the_papers_mapping_comes_back_from_samples_with_its_noise():
    for fit, printed in zip(mapping_fits(generator(3)), SOFTGRASP_TABLE_1, strict=True):
        np.testing.assert_allclose(fit.fitted_deviation, printed.deviation, rtol=0.15)
        np.testing.assert_allclose(fit.fitted, fit.printed, atol=printed.deviation)


@pytest.mark.slow
def test_a_study_trains_tries_and_tells_and_does_nothing_the_second_time(study):
    config, tables, _, said = study
    assert len(said) == 1 and said[0].startswith("[1/1] softgrasp-angle-torque-0.1-seed0")
    (rows,) = tables
    trials = rows.trials["angle + torque"]
    assert trials.object.tolist() == [6] and trials.hardness.tolist() == ["rigid"]
    assert np.isfinite(trials.peak_force).all() and set(trials.success) <= {0.0, 1.0}
    again = run_study(config, said.append)
    assert len(said) == 1 and again[0].trials["angle + torque"].number.tolist() == [0]
    assert (config.out / "logs" / "softgrasp-angle-torque-0.1-seed0.txt").stat().st_size > 0


@pytest.mark.slow
def test_a_row_that_lacks_a_net_says_so_and_one_without_any_is_absent(study):
    config, *_ = study
    assert not replace(config, seeds=2).finished()[1:]
    (rows,) = read_study(replace(config, seeds=2))
    assert list(rows.trials) == ["angle + torque"] and rows.note.endswith("angle + torque: 1 only.")
    assert not replace(config, trials=2).finished()


@pytest.mark.slow
def test_nets_of_other_settings_do_not_mix(study):
    config, *_ = study
    with pytest.raises(RunError, match="other training"):
        run_study(replace(config, base=replace(TINY, frame_dim=24)), print)
    with pytest.raises(RunError, match="other objects"):
        run_study(replace(config, objects=(1,)), print)


@pytest.mark.slow
def test_feedback_demonstrations_begin_alike_and_go_on_differently(study):
    config, _, (felt, unfelt), _ = study
    assert felt.object.tolist() == unfelt.object.tolist() == [1] and felt.number.tolist() == unfelt.number.tolist()
    assert felt.peak_force[0] != unfelt.peak_force[0]
    first, second = (open_dataset(config.data.parent / name).episode(0) for name in ("felt", "unfelt"))
    np.testing.assert_array_equal(first.streams["camera.rgb"].values[0], second.streams["camera.rgb"].values[0])


@pytest.mark.slow
def test_the_report_of_a_tiny_study_shows_the_demonstration_and_the_glove(study, tmp_path):
    config, tables, feedback, _ = study
    results = gather(config, tables, feedback)
    assert list(results.demonstrations) == [SHOWN[1]] and not results.grasps
    touched, clutched, early = results.glove.order
    assert 2 <= clutched <= touched <= 6 and early == 0
    assert max(results.glove.tracking.values()) < 0.02
    text = write_report(tmp_path / "report.html", results, "test", {"this": "again"}).read_text()
    assert "Table 5: modalities" in text and "The glove: Table 1 and Eq. 1" in text
    assert "angle + torque" in summary_text(results)
