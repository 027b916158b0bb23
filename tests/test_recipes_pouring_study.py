"""Table 4 of AnyTouch in our setting: policies that feel nothing, and a very small study from end to end."""

import json
from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.core.records import Observation
from palpate.core.units import DEG
from palpate.data.reader import open_dataset
from palpate.evaluation.report_pouring import PERSON, STEPS, TILT, paper_error, pouring_tables, write_pouring
from palpate.learning.checkpoint import Run, save_run
from palpate.learning.loop import TrainConfig
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.recipes.pouring import PouringTraining
from palpate.recipes.pouring_blind import BlindStart, FixedSteps, FixedTilt, best_number, blind_start
from palpate.recipes.pouring_collection import PouringCollection, collect_pouring
from palpate.recipes.pouring_study import PLAIN, PouringStudy, run_pouring_study
from palpate.worlds.pouring import STEP, PouringConfig

WORLD = PouringConfig(cups="same", picture=32, start=84 * DEG, start_spread=0.0, time_limit=4.0)
SHORT = TrainConfig(epochs=1, batch_size=32, learning_rate=1e-3, precision="fp32")


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    out = tmp_path_factory.mktemp("pouring") / "demos"
    return collect_pouring(PouringCollection(out=out, demos=2, world=WORLD, workers=1))


@pytest.fixture(scope="module")
def study(demos, tmp_path_factory):
    config = TouchEncoderConfig(size=16, width=16, depth=1, heads=2, embed=8, view="change")
    weights = {f"encoder.{name}": tensor for name, tensor in TouchEncoder(config).state_dict().items()}
    folder = tmp_path_factory.mktemp("study")
    save_run(folder / "touch", Run(net={"encoder": config.to_dict()}, train={}, metrics={}, weights=weights))
    return PouringStudy(
        demos=demos,
        runs={"AnyTouch": str(folder / "touch")},
        out=folder / "study",
        seeds=1,
        trials=2,
        fitting=1,
        plain=("pixels",),
        training=PouringTraining(validation=0.5, penalties=(0.1,), keys=SHORT, tune=SHORT),
        world=WORLD,
        workers=1,
    )


def done(controller, tilts):
    controller.reset(np.random.default_rng(0))
    return [round(float(controller.act(Observation(joint_position=np.array([t]))).joints[0] / STEP)) for t in tilts]


def test_policies_that_feel_nothing_count_steps_or_read_the_tilt():
    assert done(FixedSteps(2.4), [0.0] * 5) == [1, 1, -1, -1, -1]
    assert done(FixedTilt(1.3), [1.2, 1.29, 1.31, 1.29, 1.2]) == [1, 1, -1, -1, -1]


def test_the_best_number_of_a_blind_policy_is_searched_along_its_slope():
    tried = []

    def errors(number):
        tried.append(number)
        return 0.8 * (number - 70.0) + np.array([-1.0, 0.0, 1.0])

    assert best_number(BlindStart(number=60.0, slope=1.0), errors, tries=3) == pytest.approx(69.6, abs=0.1)
    np.testing.assert_allclose(tried, [60.0, 68.0, 69.6])


def test_the_search_begins_where_people_tilted_back(demos):
    reader = open_dataset(demos)
    steps, tilt = blind_start(reader, "steps"), blind_start(reader, "tilt")
    assert 84 * DEG <= tilt.number < 95 * DEG
    assert steps.number == round(steps.number * len(reader)) / len(reader) >= 0
    assert steps.slope == pytest.approx(tilt.slope * STEP)
    half = replace(reader[0], streams={"scale": reader[0].streams["scale"]})
    with pytest.raises(DataError, match="half of the target"):
        blind_start(Shelf([half]), "tilt")


class Shelf(list):
    """Episodes in place of a data set."""

    root = "a shelf"


@pytest.mark.slow
def test_a_small_study_runs_from_end_to_end_and_goes_on_where_it_was(study, demos, tmp_path):
    with pytest.raises(DataError, match="another world"):
        run_pouring_study(replace(study, world=PouringConfig(cups="same")), print)
    told = []
    figures = run_pouring_study(study, told.append)
    names = ["pixels", "AnyTouch, frozen", "untrained, frozen", "AnyTouch, tuned", "untrained, tuned"]
    assert list(figures["rows"]) == [PERSON, STEPS, TILT, *names]
    for row in figures["rows"].values():
        errors = np.array(row["errors_g"])
        assert errors.shape == (1, 2)
        np.testing.assert_allclose(row["mean_error_g"]["value"], np.abs(errors).mean(), atol=0.01)
    apart = np.abs(figures["rows"]["pixels"]["errors_g"]).mean() - np.abs(figures["rows"][STEPS]["errors_g"]).mean()
    assert figures["rows"]["pixels"]["less_steps_g"]["value"] == pytest.approx(apart, abs=0.02)
    assert str(demos) not in json.dumps(figures)  # a result names no folder of a machine
    (study.out / "pixels" / "seed-0" / "errors.json").unlink()
    assert run_pouring_study(study, told.append) == figures
    with pytest.raises(RunError, match="other settings"):
        run_pouring_study(replace(study, trials=3), told.append)
    ours, paper = pouring_tables(figures)
    assert [row[0] for row in ours.rows] == list(figures["rows"])
    assert ours.rows[-2][-1] == "1.56 (AnyTouch)" and paper.rows[0] == ("CLIP", "5.22", "49.10")
    more = run_pouring_study(replace(study, seeds=2, tuned_seeds=1), told.append)
    assert [len(row["by_seed"]) for row in more["rows"].values()] == [1, 1, 1, 2, 2, 2, 1, 1]
    assert pouring_tables(more)[0].rows[-1][0] == "untrained, tuned (seeds: 1)"
    assert "Pouring" in write_pouring(tmp_path / "page.html", figures, {"study": "python ..."}).read_text()


def test_the_paper_stands_beside_the_rows_that_it_has():
    assert paper_error("stills only, frozen") == "9.60 (AnyTouch, stills only)"
    assert paper_error("ImageNet, frozen") == "49.10 (CLIP)"
    assert [paper_error(name) for name in ("pixels", PERSON, TILT, "untrained, tuned")] == ["-"] * 4


def test_a_study_of_nothing_is_refused(study):
    assert list(replace(study, plain=tuple(PLAIN), modes=("frozen",)).rows)[1] == "ImageNet, frozen"
    with pytest.raises(PalpateError, match="one seed"):
        replace(study, trials=0)
    with pytest.raises(PalpateError, match="got 1, 0, 2, 1"):
        replace(study, tuned_seeds=0)
    with pytest.raises(UnknownNameError, match="pixels"):
        replace(study, plain=("CLIP",))
    with pytest.raises(PalpateError, match="got untrained"):
        replace(study, runs={"untrained": "x"})
