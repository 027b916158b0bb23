"""The report, made from seeded inputs that look like a run but are not one."""

import base64
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError
from palpate.core.randomness import generator
from palpate.evaluation import page
from palpate.evaluation.inputs import (
    BaselineRow,
    ClosingZone,
    ForceTable,
    GainCurve,
    GraspTable,
    PredictionTable,
    RunInfo,
    TrialPicture,
)
from palpate.evaluation.report_gentle import GentleResults, gentle_page, summary_text, write_report
from palpate.evaluation.scores import Study
from palpate.evaluation.tables import Table
from palpate.evaluation.tables_gentle import ablation_table, zone_table

TRIALS, TOYS = 400, 20
SKILL = {
    "vision+touch": 0.8,
    "action": 1.3,
    "touch+action": 2.0,
    "vision+action": 1.8,
    "vision+touch+action": 2.6,
    "oracle": 5.0,
}


def fake_truth(n=TRIALS):
    """Force, closing and labels of trials that squeeze from too little to too much."""
    rng = generator(1, 0)
    toy = np.arange(n) % TOYS
    stiffness = rng.normal(0.0, 0.5, TOYS)[toy]
    closing = rng.uniform(0.016, 0.042, n)
    force = (closing - 0.027) / 0.006 + stiffness
    labels = np.column_stack([force + rng.normal(0, 0.6, n) > 0, force + rng.normal(0, 0.6, n) < 0.8]).astype(float)
    return toy, closing, force, labels


def fake_predictions(model, split, seed, ablation="none", skill=None, n=TRIALS, backbone="small"):
    """Probabilities that follow the labels the better, the higher the skill."""
    toy, _, force, labels = fake_truth(n)
    rng = generator(2, seed, len(model), len(split), len(ablation))
    skill = SKILL[model] if skill is None else skill
    score = np.column_stack([force, 0.8 - force])
    tables = []
    for moment, bonus in (("initial", 0.0), ("regrasp", 0.8 if "touch" in model else 0.0)):
        noise = rng.normal(0.0, 3.0 / (skill + bonus), (n, 2))
        tables.append((moment, 1.0 / (1.0 + np.exp(-1.6 * (score + noise)))))
    fold = np.arange(n) % 5 if split == "trial" else toy % 5
    return PredictionTable(
        model=model,
        split=split,
        seed=seed,
        fold=np.tile(fold, 2),
        trial=np.tile(np.arange(n), 2),
        object=np.tile(np.char.add("toy", toy.astype(str)), 2),
        pose=np.tile(np.where(np.arange(n) // 50 % 2 == 0, "upright", "lying"), 2),
        moment=np.repeat([moment for moment, _ in tables], n),
        labels=np.tile(labels, (2, 1)),
        probs=np.concatenate([p for _, p in tables]),
        ablation=ablation,
        backbone="" if model == "oracle" else backbone,
    )


def fake_grasps(policy, stable, gentle, n=200, first_harsh=0.33):
    rng = generator(3, len(policy))
    luck = generator(3, 0).random((n, 2))  # shared by all policies: the same starting states
    labels = (0.7 * luck + 0.3 * rng.random((n, 2)) < np.array([stable, gentle])).astype(float)
    looks = rng.integers(1, 4, n)
    harsh = luck[:, 1] > 1 - first_harsh
    return GraspTable(
        policy=policy,
        trial=np.arange(n),
        pose=np.where(np.arange(n) < n // 2, "upright", "lying"),
        labels=labels,
        truth=np.where(rng.random((n, 2)) < 0.02, 1 - labels, labels),
        looks=looks,
        damage_while_looking=harsh | ((looks > 2) & (rng.random(n) < 0.3)),
        first_look_harsh=harsh,
        object=np.char.add("toy", (np.arange(n) % 40).astype(str)),
    )


def fake_forces(n=TRIALS):
    rng = generator(4, 0)
    _, closing, force, labels = fake_truth(n)
    return ForceTable(
        trial=np.arange(n),
        displacement=2 * closing + rng.normal(0, 0.002, n),
        position_error=np.maximum(0.0, 0.006 + 0.004 * force + rng.normal(0, 0.001, n)),
        touch_difference=np.maximum(3e4, 2.2e5 + 6e4 * force + rng.normal(0, 7e4, n)),
        labels=labels,
        probs=fake_predictions("vision+touch+action", "trial", 0, n=n).probs[:n],
    )


def fake_picture(index, *, sound=True, middle=True):
    rng = generator(5, index)
    rows, columns = np.mgrid[0:240, 0:320]
    camera = np.full((240, 320, 3), (196, 200, 205), np.uint8)
    camera[(rows - 150) ** 2 / 70**2 + (columns - 160) ** 2 / 45**2 < 1] = (226, 172, 58)
    camera = (camera + rng.integers(0, 8, camera.shape)).astype(np.uint8)
    y, x = np.mgrid[0:160, 0:120]
    gel = np.stack([60 + 0.5 * x, 70 + 0.3 * y, 150 - 0.4 * x], axis=-1)
    press = 55 * np.exp(-((x - 60) ** 2 / 500 + (y - 80) ** 2 / 900))[..., None] * np.array([1.0, 0.4, -0.5])
    fingers = ("thumb", "middle") if middle else ("thumb",)
    time, frequency = np.linspace(0, 3, 94), np.geomspace(60, 20000, 64)
    level = -70 + 6 * rng.random((64, 94))
    level[20:45, 40:52] += 45 * np.hanning(12)
    return TrialPicture(
        index=index,
        title="stable and gentle <grasp>",
        camera=camera,
        touch_before={f: gel.astype(np.uint8) for f in fingers},
        touch_after={f: np.clip(gel + press, 0, 255).astype(np.uint8) for f in fingers},
        spectrogram=level if sound else None,
        frequency_hz=frequency if sound else None,
        time=time if sound else None,
        action="dx +4.1 mm, dy -2.0 mm, dz +1.3 mm, yaw +6 deg, closing 29 mm",
        labels="stable yes, gentle yes (peak -31 dB)",
        predicted="stable 0.96, gentle 0.93",
    )


def fake_run():
    return RunInfo(
        name="seeded stand-in & no real run",
        data="400 invented trials with 20 invented toys.",
        world=("Two fingers, soft toys that squeak.", "Toy sizes vary by 25 %, stiffness from 20 to 200 kPa."),
        seeds=(0, 1),
        versions={"palpate": "0.0", "numpy": np.__version__},
        device="2 CPU cores",
        commands=("palpate gentle collect --trials 400", "palpate gentle report > out.html"),
        config={"trials": TRIALS, "threshold": 0.5},
        notes=("Labels are by <sound> & joint angles.",),
        differences=("Simulated, with toys that vary.", "Two fingers without the two unused ones."),
        baselines=(BaselineRow(name="oracle (simulator's truth)", stable=0.95, gentle=0.94, both=0.9, trials=TRIALS),),
        created="2026-01-01 12:00",
    )


def fake_results():
    predictions = [fake_predictions(m, s, seed) for m in SKILL if m != "oracle" for s in ("trial", "object") for seed in (0, 1)]
    for ablation, skill in (("touch:zero", 1.6), ("touch:shuffle", 1.5), ("vision:zero", 1.2), ("vision:shuffle", 1.1)):
        predictions.append(fake_predictions("vision+touch+action", "trial", 0, ablation, skill))
    predictions.append(fake_predictions("vision+touch+action", "trial", 0, skill=2.2, backbone="large"))
    error = np.array([0.5, 1.0, 2.0, 3.0, 4.0])
    gain = np.array([0.010, 0.016, 0.026, 0.031, 0.044])
    return GentleResults(
        run=fake_run(),
        predictions=predictions,
        grasps=[
            fake_grasps("vision+touch+action", 0.9, 0.85),
            fake_grasps("random", 0.5, 0.6),
            fake_grasps("vision+action", 0.86, 0.72),
        ],
        forces=fake_forces(),
        pictures=[fake_picture(3), fake_picture(11, sound=False, middle=False)],
        gain=GainCurve(size_error_mm=error, gain=gain, low=gain - 0.012, high=gain + 0.012, camera_error_mm=2.4),
        zone=ClosingZone(low=0.024, high=0.036, trial=np.arange(TRIALS), closing=fake_truth()[1]),
        first_press_harsh=(generator(6, 0).random(TRIALS) < 0.31).astype(float),
    )


@pytest.fixture(scope="module")
def results():
    return fake_results()


@pytest.fixture(scope="module")
def whole(results, tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("report") / "deep" / "report.html", results, resamples=200)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_anywhere(whole):
    addresses = re.findall(r"(?:src|href)\s*=\s*['\"]([^'\"]*)", whole)
    assert addresses
    assert all(a.startswith(("#", "data:image/")) for a in addresses)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", whole)
    assert "@import" not in whole
    assert "<script" not in whole


def test_figures_load_nothing_either_and_follow_the_dark_setting(whole):
    svgs = [base64.b64decode(b).decode() for b in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", whole)]
    assert svgs
    for svg in svgs:
        assert "prefers-color-scheme:dark" in svg
        assert "<metadata" not in svg
        links = re.findall(r"href=\"([^\"]*)\"", svg)
        assert all(link.startswith(("#", "data:image/png")) for link in links)


def test_a_full_run_shows_every_figure_and_misses_nothing(whole):
    figures = [f"Fig. {n})" for n in (5, 6, 7, 8, 9)]
    assert all(name in whole for name in figures)
    # Fig. 5 by trial and by toy, 6, 7, 8, 9, gain, reliability; then five, and three, pictures of two trials and one sound.
    assert len(re.findall(r"<figure><img src='data:image/svg", whole)) == 8
    assert len(re.findall(r"<figure class='picture'><img src='data:image/jpeg", whole)) == 8
    assert len(re.findall(r"<figure class='picture'><img src='data:image/svg", whole)) == 1
    missing = re.findall(r"class='missing'>([^<]*)", whole)
    assert missing == ["The oracle baseline held out by toy: not part of this run."]
    assert "not recorded" in whole


def test_text_from_a_run_is_escaped(whole):
    assert "&lt;sound&gt; &amp; joint angles" in whole
    assert "stable and gentle &lt;grasp&gt;" in whole
    assert "report &gt; out.html" in whole
    assert "<sound>" not in whole


def test_the_papers_numbers_stand_beside_ours(whole):
    for stated in ("88.24 %", "+3.27", ">88.2<", ">85.0<", "364 (24 %)", ">76.2<", ">+17.0<", ">+44.0<"):
        assert stated in whole, stated


def test_every_part_that_a_run_does_not_have_is_named():
    text = gentle_page(GentleResults(run=RunInfo(name="empty"))).html()
    parts = ("Fig. 5", "Fig. 6", "Fig. 7", "Fig. 8", "Fig. 9", "Table I,", "Table II", "hard closing zone", "size error")
    parts += (
        "first look",
        "Zeroing",
        "Calibration",
        "single trials",
        "Versions",
        "Command lines",
        "Configuration",
        "differences",
    )
    named = " ".join(re.findall(r"class='missing'>([^<]*)", text))
    for part in parts:
        assert part in named, part
    assert "nothing to sum up" in text
    assert "<img" not in text


def test_a_single_split_without_touch_names_what_is_absent():
    only = fake_predictions("vision+action", "trial", 0)
    text = gentle_page(GentleResults(run=RunInfo(name="small"), predictions=[only]), resamples=50).html()
    named = " ".join(re.findall(r"class='missing'>([^<]*)", text))
    for part in ("held out by toy", "oracle baseline", "Differences between modalities", "Table II"):
        assert part in named, part


def test_forces_without_touch_say_so():
    forces = fake_forces()
    blind = replace(forces, touch_difference=np.full(TRIALS, np.nan), probs=np.full((TRIALS, 2), np.nan))
    text = gentle_page(GentleResults(run=RunInfo(name="blind"), forces=blind), resamples=50).html()
    named = " ".join(re.findall(r"class='missing'>([^<]*)", text))
    assert "The touch difference" in named
    assert "Fig. 8" in named
    assert "Fig. 7" not in named


def test_the_summary_admits_a_difference_that_shows_nothing():
    one = fake_predictions("vision+action", "trial", 0)
    same = replace(one, model="vision+touch+action")
    text = summary_text(GentleResults(run=RunInfo(name="tie"), predictions=[one, same]), resamples=100)
    assert "does not show that touch changes the result: +0.0 [+0.0, +0.0] points" in text


def test_the_terminal_summary_holds_the_main_tables(results):
    text = summary_text(results, resamples=100)
    assert "held out by trial" in text
    assert "held out by toy" in text
    assert "vision + touch + action less random" in text
    row = next(line for line in text.splitlines() if line.startswith("oracle"))
    assert "95.0 [" in row


def test_a_report_is_the_same_every_time(results, whole):
    assert gentle_page(results, resamples=200).html() == whole


def test_a_table_in_text_lines_up_and_in_html_is_escaped():
    table = Table(
        caption="c", columns=("name", "x"), rows=(("a<b", "1.0 [0.5, 1.5]"), ("longer", "2")), note="n & m", strong=(1,)
    )
    lines = table.text().splitlines()
    assert lines[1:] == [
        "name                 x",
        "----------------------",
        "a<b     1.0 [0.5, 1.5]",
        "longer               2",
        "n & m",
    ]
    assert "a&lt;b" in table.html()
    assert "1.0 <span class='ci'>[0.5, 1.5]</span>" in table.html()
    assert "n &amp; m" in table.html()
    with pytest.raises(RecordError, match="2 columns"):
        Table(caption="c", columns=("name", "x"), rows=(("a",),))


def test_a_picture_from_an_address_is_refused():
    with pytest.raises(RecordError, match="data URI"):
        page.figure("https://example.org/a.png", "caption", "alt")
    with pytest.raises(RecordError, match="data URI"):
        page.picture("data:image/png;base64,AAAA' onload='x", "label", "alt")
    with pytest.raises(RecordError, match="uint8"):
        page.picture_uri(np.zeros((4, 4), np.uint8))


def test_pictures_shrink_to_the_asked_width():
    uri = page.picture_uri(np.full((100, 400, 3), (250, 10, 10), np.uint8), width=40)
    raw = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    assert decoded.shape == (10, 40, 3)
    np.testing.assert_allclose(decoded[5, 20, ::-1], (250, 10, 10), atol=6)


def test_a_page_that_is_too_large_names_its_largest_section(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_BYTES", 10_000)
    small = page.Section(title="small", parts=(page.paragraph("x"),))
    large = page.Section(title="large", parts=(page.paragraph("x" * 20_000),))
    with pytest.raises(DataError, match="largest section is 'large'"):
        page.Page(title="t", subtitle="s", sections=(small, large)).write(tmp_path / "p.html")
    with pytest.raises(RecordError, match="titles must differ"):
        page.Page(title="t", subtitle="s", sections=(small, small))


def test_configuration_is_shown_as_readable_json(whole):
    block = re.search(r"<summary>Configuration</summary><pre><code>(.*?)</code>", whole, re.DOTALL)
    assert block is not None
    assert json.loads(block.group(1).replace("&quot;", '"')) == {"trials": TRIALS, "threshold": 0.5}


def test_intervals_over_trials_carry_a_caution(results):
    few = GentleResults(run=RunInfo(name="few"), predictions=results.predictions[:1])
    assert "say little about new ones" in gentle_page(few, group="trial", resamples=50).html()
    assert "say little about new ones" not in gentle_page(few, group="object", resamples=50).html()


def test_an_empty_zone_and_unpredicted_trials_do_not_break_the_zone_table(results):
    shut = ClosingZone(low=0.5, high=0.6, trial=np.arange(TRIALS + 9), closing=np.full(TRIALS + 9, 0.03))
    made = zone_table(Study(results.predictions, resamples=50), "trial", shut)
    assert made.columns[1:] == ("closing 500 to 600 mm (0 trials)", f"other closings ({TRIALS} trials)")
    assert {row[1] for row in made.rows} == {"-"}
    assert "-" not in {row[2] for row in made.rows}


def test_an_ablation_is_compared_with_the_same_seeds(results):
    study = Study(results.predictions, resamples=50)
    made = ablation_table(study, "trial")
    assert made is not None
    seed_0 = [t for t in study.select("vision+touch+action", "trial") if t.seed == 0]
    before = f"{100 * study.accuracy(seed_0)['both'].value:.1f} ["
    assert all(row[2].startswith(before) for row in made.rows)
    assert [row[:2] for row in made.rows] == [
        ("touch", "shuffle"),
        ("touch", "zero"),
        ("vision", "shuffle"),
        ("vision", "zero"),
    ]
