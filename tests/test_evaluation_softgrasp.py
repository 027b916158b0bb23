from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.core.recording import series
from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.evaluation import figures_softgrasp as figures
from palpate.evaluation import paper_softgrasp as paper
from palpate.evaluation.report_softgrasp import LastPicture, SoftgraspResults, headline, summary_text, write_report
from palpate.evaluation.tables_softgrasp import (
    Rows,
    Trials,
    agreement,
    feedback_table,
    figures_of,
    gain,
    joined,
    object_table,
    order_table,
    paired,
    rank_agreement,
    rates_table,
)

JOINTS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_swing")
HARDNESS = ("soft-plastic", "soft-plastic", "deformable", "deformable", "deformable", "rigid") * 2


def trials(success, crushed=0.0, nets=2, per_object=2, objects=range(1, 13), force=2.0):
    """Every net tries every object so often; `success` and `crushed` are a number, or one by object."""
    objects = np.array(list(objects))
    net = np.repeat(np.arange(nets), per_object * len(objects))
    number = np.tile(np.arange(per_object * len(objects)), nets)
    thing = objects[number % len(objects)]
    by_object = [np.broadcast_to(value, 12)[thing - 1].astype(float) for value in (success, crushed)]
    rng = np.random.default_rng(0)
    return Trials(
        net=net,
        number=number,
        object=thing,
        hardness=np.array(HARDNESS)[thing - 1],
        success=by_object[0],
        crushed=by_object[1],
        deformation=np.full(len(net), 0.003),
        peak_force=force + 0.1 * rng.normal(size=len(net)),
        stable_torque=0.1 + 0.01 * rng.normal(size=(len(net), 6)),
    )


def rows(**named):
    titles = {"full": "image + angle + torque", "blind": "angle + torque", "felt": "torque"}
    printed = {name.replace("+", " + "): values for name, values in paper.TABLE_5.items()}
    return Rows(
        title="Table 5: modalities",
        full=titles["full"],
        trials={titles[k]: t for k, t in named.items()},
        paper=printed,
        note="Small.",
    )


def steered(absent=()):
    """A grasp with all streams, pictures and five stages; straight lines."""
    times = np.arange(31) / 10
    wide = {
        "hand.joint_position": JOINTS,
        "hand.command": JOINTS,
        "hand.joint_torque": JOINTS,
        "hand.fingertip_force": JOINTS[:5],
        "glove.torque": JOINTS,
        "predicted.attention": ("image", "angle", "torque"),
    }
    streams = {
        name: series(name, np.linspace(1, 0, 31)[:, None] * np.ones(len(names)), "", names, times, 10.0)
        for name, names in wide.items()
    }
    states = np.repeat([0.0, 1.0, 2.0], [10, 10, 11])[:, None] * np.ones(6)
    streams["glove.contact"] = series("glove.contact", states, "", JOINTS, times, 10.0)
    spec = StreamSpec(name="camera.rgb", kind="rgb", shape=(12, 16, 3), dtype="uint8", rate_hz=10.0)
    streams["camera.rgb"] = Stream(spec=spec, times=times, values=np.full((31, 12, 16, 3), 90, np.uint8))
    begins = zip(figures.STAGES, (0.0, 0.5, 1.0, 2.0, 2.5), strict=True)
    return Episode(
        index=0,
        seed=0,
        task="softgrasp",
        streams={name: stream for name, stream in streams.items() if name not in absent},
        events=(*(Event(name=name, time=time) for name, time in begins), Event(name="lift", time=2.0)),
        truth={"success": 1.0, "crushed": 1.0, "peak_force": 3.0, "deformation": 0.004, "stiffness": 100.0},
    )


def test_the_papers_successes_by_object_sum_to_its_printed_averages():
    printed = {"image": 46, "angle": 34, "torque": 0, "image+angle": 33, "image+torque": 43, "angle+torque": 28}
    for name, percent in printed.items():
        assert round(100 * paper.rate(paper.TABLE_5[name])) == percent
    assert [round(100 * paper.rate(paper.TABLE_6[name])) for name in ("softgrasp", "direct", "act", "timesformer")] == [
        98,
        13,
        91,
        79,
    ]
    np.testing.assert_allclose(paper.rate(paper.TABLE_4[0.5]), 46 / 120)
    np.testing.assert_allclose(paper.rate(paper.TABLE_5["image"], (1, 2)), 14 / 20)
    assert paper.rate(paper.TABLE_4[0.5], (1, 2)) is None


def test_a_grasp_that_crushes_is_no_good_grasp_but_counts_as_held():
    crushed = np.zeros(12)
    crushed[2] = 1.0
    found = rows(full=trials(1.0, crushed))
    line = rates_table(found).rows[0]
    assert line[1].startswith("91.7 [") and line[2].startswith("83.3 [") and line[3].startswith("100.0 [")
    assert line[4].startswith("100.0 [") and line[5] == "10.0" and line[8] == "98.3"
    cells = object_table(found).rows
    assert cells[0][3] == "0/4 (4)" and cells[0][1] == "4/4" and cells[1][3] == "10/10"


def test_differences_pair_trials_that_began_alike_and_ignore_the_others():
    full, fewer = trials(1.0, nets=2), trials(0.0, nets=1)
    found = gain(fewer, full)
    assert found.n == 24
    np.testing.assert_allclose((found.value, found.low, found.high), (-1.0, -1.0, -1.0))
    with pytest.raises(DataError, match="share no trial"):
        gain(trials(1.0, objects=(1,)), trials(1.0, objects=(2,)))


def test_the_order_is_held_against_the_papers_with_signs_and_rank():
    half = np.array([1, 0] * 6)
    table = order_table(rows(blind=trials(1.0), felt=trials(half), full=trials(1.0)))
    says = {line[0]: line[-1] for line in table.rows}
    assert says == {"angle + torque": "no difference found", "torque": "same sign"}
    assert agreement(replace(trials(1.0).mean("success"), value=0.2, low=0.1, high=0.3), -0.5) == "other sign"
    assert rank_agreement(rows(blind=trials(1.0), full=trials(1.0))) is None
    np.testing.assert_allclose(rank_agreement(rows(felt=trials(0.0), blind=trials(half), full=trials(1.0))), 1.0)
    assert order_table(rows(blind=trials(1.0))) is None


def test_trials_on_some_objects_are_held_against_the_paper_on_the_same_objects():
    line = rates_table(rows(blind=trials(1.0, objects=(1, 4)))).rows[0]
    assert line[8] == "65.0" and line[3] == "-"


def test_the_feedback_table_pairs_demonstrations_of_equal_number():
    felt = trials(1.0, nets=1, objects=range(1, 7))
    unfelt = trials(1.0, 1.0, nets=1, objects=range(1, 7), force=4.0)
    table = feedback_table(felt, unfelt)
    lines = {line[0]: line for line in table.rows}
    assert lines["deformable: torque felt"][3].startswith("0.0 [") and lines["deformable: no torque"][3].startswith("100.0 [")
    assert [line for line in table.rows if line[0].strip() == "without - with"][-1][3].startswith("+100.0 [")
    np.testing.assert_allclose(paired(unfelt, felt, "peak_force").value, 2.0, atol=1e-9)


def test_figures_for_the_file_are_plain_numbers_and_unknown_is_none():
    found = figures_of([rows(full=trials(1.0, objects=(1, 2)), blind=trials(0.0, objects=(1, 2)))])["Table 5: modalities"]
    assert found["image + angle + torque"]["good_new"] is None
    assert found["image + angle + torque"]["good_by_object"] == {"1": [4, 4], "2": [4, 4]}
    np.testing.assert_allclose(found["angle + torque"]["difference"]["good"]["value"], -1.0)
    np.testing.assert_allclose(found["angle + torque"]["paper_difference"], 3 / 20 - 1.0)


def test_stages_last_until_the_next_begins_and_the_last_until_the_end():
    assert figures.stages(steered())[-2:] == [("re-clutching", 2.0, 2.5), ("stable", 2.5, 3.0)]


def test_a_grasp_is_drawn_with_whatever_it_recorded():
    assert figures.grasp_figure(steered(("camera.rgb", "hand.command"))).startswith("data:image/svg+xml;base64,")


def test_the_report_has_a_section_for_each_thing_that_was_found(tmp_path):
    found = rows(full=trials(1.0), blind=trials(np.array([0, 1] * 6)))
    shown = {6: "Object 6"}
    felt = trials(1.0, nets=1)
    results = SoftgraspResults(
        tables=(found,),
        grasps={"cup": steered()},
        attention={"rigid": {"closing": np.array([0.1, 0.3, 0.6])}},
        shown=shown,
        last={"SoftGrasp": [LastPicture(object=1, rgb=np.zeros((12, 16, 3), np.uint8), verdict="held")]},
        feedback=(felt, trials(1.0, 1.0, nets=1)),
        config={"trials": 2},
    )
    text = write_report(tmp_path / "report.html", results, "test", {"again": "palpate demo softgrasp"}).read_text()
    for title in ("The policy at work", "Table 5: modalities", "force feedback", "1: held"):
        assert title in text
    assert text.count("<figure>") == 4 and "The glove" not in text
    assert len(headline(results)) == 2 and "0.60" in summary_text(results)
    assert "Demonstrations" not in write_report(tmp_path / "small.html", SoftgraspResults(), "test", {}).read_text()


def test_nets_are_joined_in_order():
    both = joined([trials(1.0, nets=1), trials(0.0, nets=1)])
    assert len(both.success) == 48 and both.success[:24].all() and not both.success[24:].any()
