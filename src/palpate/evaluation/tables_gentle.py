"""The tables of the gentle-grasping report, each with the paper's number beside ours where the paper states one."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from palpate.evaluation import loop, paper
from palpate.evaluation.inputs import OUTCOMES, BaselineRow, ClosingZone, ForceTable, GraspTable
from palpate.evaluation.intervals import Interval, cluster_auc, wilson
from palpate.evaluation.metrics import CLASSES, class_counts, confusion, correct
from palpate.evaluation.scores import FULL, MAJORITY, Study, per_trial
from palpate.evaluation.tables import NOTHING, Table, model_title, percent, plain, points

CONTRASTS = (
    ("touch", FULL, "vision+action"),
    ("vision", FULL, "touch+action"),
    ("vision and touch", FULL, "action"),
    ("action", FULL, "vision+touch"),
)
"""What a modality adds: name, model with it, model without it."""
_MOMENT_NAMES = {"initial": "initial grasp", "release": "after release", "regrasp": "during regrasp"}
_SPLIT_NAMES = {"trial": "held out by trial", "object": "held out by toy", "pose": "held out by pose"}


def split_name(split: str) -> str:
    """Write a split for people."""
    return _SPLIT_NAMES[split]


def label_table(labels: np.ndarray) -> Table:
    """Return Table I from one label pair a trial (N, 2)."""
    ours = class_counts(labels)

    def cells(counts: np.ndarray, row: np.ndarray) -> tuple[str, ...]:
        return tuple(f"{n} ({100 * n / max(counts.sum(), 1):.0f} %)" for n in (*row, row.sum()))

    rows = [
        ("1 (stable)", *cells(ours, ours[0]), *cells(paper.TABLE_I, paper.TABLE_I[0])),
        ("0 (not stable)", *cells(ours, ours[1]), *cells(paper.TABLE_I, paper.TABLE_I[1])),
        ("Total", *cells(ours, ours.sum(axis=0)), *cells(paper.TABLE_I, paper.TABLE_I.sum(axis=0))),
    ]
    unknown = int(np.isnan(labels).any(axis=1).sum())
    return Table(
        caption="Table I: labels of the trials",
        heads=(("", 1), ("this run", 3), ("paper", 3)),
        columns=("stability", *("1 (gentle)", "0 (not gentle)", "total") * 2),
        rows=tuple(rows),
        note=f"{unknown} trials with an unknown label are not counted." if unknown else "",
    )


def accuracy_table(study: Study, split: str, baselines: Sequence[BaselineRow] = ()) -> Table:
    """Return the accuracies behind Fig. 5 at the first moment."""
    rows: list[tuple[str, ...]] = []
    models = study.models(split)
    for model in models:
        tables = study.select(model, split)
        accuracy = study.accuracy(tables)
        seeds = per_trial(tables, "initial", correct).per_seed[:, 2]
        spread = f"{100 * seeds.min():.1f} to {100 * seeds.max():.1f} ({len(seeds)})" if len(seeds) > 1 else f"{NOTHING} (1)"
        rows.append(
            (
                model_title(model),
                *(percent(accuracy[o]) for o in OUTCOMES),
                percent(paper.BOTH.get(model) if split == "trial" else None),
                spread,
            )
        )
    for b in baselines:
        values = (percent(wilson(v * b.trials, b.trials)) for v in (b.stable, b.gentle, b.both))
        rows.append((b.name, *values, NOTHING, NOTHING))
    return Table(
        caption=f"Accuracy [%], prediction from the initial grasp, {split_name(split)}",
        columns=("model", "stable", "gentle", "both right", "paper, both", "both, range over seeds (n)"),
        rows=tuple(rows),
        strong=tuple(i for i, m in enumerate(models) if m == FULL),
        note=f"95 % intervals from resampling {unit_name(study)}. The paper's vision + action is its 88.24 less its stated "
        "gain of 3.27; it mixes both training moments, so compare the order, not the level. "
        "It has one toy, hence no split by toy.",
    )


def unit_name(study: Study) -> str:
    """Write what is resampled."""
    return "whole toys" if study.group == "object" else "trials"


def difference_table(study: Study, split: str) -> Table | None:
    """Return what each modality adds, paired over trials; None if no pair of models is present."""
    rows = []
    for name, with_it, without in CONTRASTS:
        a, b = study.select(with_it, split), study.select(without, split)
        if a and b:
            gain = study.difference(a, b)
            stated = points(paper.TOUCH_GAIN) if (name, split) == ("touch", "trial") else NOTHING
            rows.append((f"{name}: less {model_title(without)}", *(points(gain[o]) for o in OUTCOMES), stated))
    if not rows:
        return None
    return Table(
        caption=f"What a modality adds to {model_title(FULL)} [points], {split_name(split)}",
        columns=("modality", "stable", "gentle", "both right", "paper, both"),
        rows=tuple(rows),
        note=f"Accuracy of the full model less the model without it, on the same trials; 95 % intervals from resampling "
        f"{unit_name(study)}.",
    )


def moment_table(study: Study, split: str) -> Table | None:
    """Return accuracy on both by the moment at which the state was seen; None if only one moment is present."""
    moments = study.moments()
    if len(moments) < 2:
        return None
    rows = []
    for model in study.models(split):
        tables = study.select(model, split)
        here = [m for m in moments if any((t.moment == m).any() for t in tables)]
        rows.append(
            (model_title(model), *(percent(study.accuracy(tables, m)["both"]) if m in here else NOTHING for m in moments))
        )
    return Table(
        caption=f"Both right [%] by the moment of the state, {split_name(split)}",
        columns=("model", *(_MOMENT_NAMES[m] for m in moments)),
        rows=tuple(rows),
        note="Only the initial grasp is prediction before acting. The state during the regrasp already feels the grasp that is "
        "judged, which flatters touch.",
    )


def confusion_table(study: Study, split: str) -> Table | None:
    """Return Table II of the full model's first seed over all folds; None without that model."""
    tables = study.select(FULL, split)
    if not tables:
        return None
    t = min(tables, key=lambda one: one.seed)
    first = t.moment == "initial"
    counts = confusion(t.labels[first], t.probs[first])
    shares = study.class_accuracy(t)
    theirs = np.diag(paper.TABLE_II) / paper.TABLE_II.sum(axis=1)
    names = [str(c).replace(" ", "") for c in CLASSES]
    rows = [
        (names[i], *map(str, counts[i]), str(counts[i].sum()), percent(shares[i]), percent(float(theirs[i]))) for i in range(4)
    ]
    overall = study.accuracy([t])["both"]
    totals = (*map(str, counts.sum(axis=0)), str(counts.sum()))
    rows.append(("total", *totals, percent(overall), percent(paper.BEST_FOLD)))
    return Table(
        caption=f"Table II: confusion of {model_title(FULL)}, (stable, gentle), {split_name(split)}",
        heads=(("actual", 1), ("predicted", 4), ("", 3)),
        columns=("", *names, "total", "right [%]", "paper [%]"),
        rows=tuple(rows),
        strong=(4,),
        note=f"Seed {t.seed}, all folds, initial grasp. The paper shows 1,800 samples of the best of five folds.",
    )


def zone_table(study: Study, split: str, zone: ClosingZone) -> Table:
    """Return accuracy on both inside and outside the hard closing zone."""
    predicted = {int(t) for table in study.tables if table.split == split for t in table.trial}
    known = np.isin(zone.trial, list(predicted))
    hard = (zone.closing >= zone.low) & (zone.closing < zone.high)
    inside, outside = zone.trial[known & hard], zone.trial[known & ~hard]
    parts = (inside, outside)
    models = study.models(split)
    rows = []
    for model in models:
        tables = study.select(model, split)
        rows.append((model_title(model), *(percent(study.accuracy(tables, trials=part)["both"]) for part in parts)))
    a, b = study.select(FULL, split), study.select("vision+action", split)
    if a and b:
        gains = (points(study.difference(a, b, trials=part)["both"]) if len(part) else NOTHING for part in parts)
        rows.append(("touch adds [points]", *gains))
    within = f"{1e3 * zone.low:.0f} to {1e3 * zone.high:.0f} mm"
    return Table(
        caption=f"Both right [%] inside and outside the hard closing zone, {split_name(split)}",
        columns=("model", f"closing {within} ({len(inside)} trials)", f"other closings ({len(outside)} trials)"),
        rows=tuple(rows),
        strong=tuple(range(len(models), len(rows))),
        note="Outside the zone the closing alone nearly decides the outcome. The paper does not report this split.",
    )


def ablation_table(study: Study, split: str) -> Table | None:
    """Return what the full model loses when a modality is zeroed or shuffled at test time; None without ablations."""
    rows = []
    for ablation in study.ablations(split):
        cut = study.select(FULL, split, ablation=ablation)
        # The same trained networks with and without the disturbance, so that seeds do not add to the difference.
        seeds = {t.seed for t in cut}
        whole = [t for t in study.select(FULL, split) if t.seed in seeds]
        if whole:
            modality, _, kind = ablation.partition(":")
            change = study.difference(cut, whole)
            before, after = (percent(study.accuracy(tables)["both"]) for tables in (whole, cut))
            rows.append((modality, kind or NOTHING, before, after, *(points(change[o]) for o in OUTCOMES)))
    if not rows:
        return None
    return Table(
        caption=f"{model_title(FULL)} with one modality disturbed at test time, {split_name(split)}",
        heads=(("", 2), ("both right [%]", 2), ("change [points]", 3)),
        columns=("modality", "replaced by", "as sensed", "disturbed", "stable", "gentle", "both right"),
        rows=tuple(rows),
        note="zero: the input of a trial without contact or picture; shuffle: the input of another trial. No loss means that "
        "the model does not use the modality. The paper retrains without a modality instead.",
    )


def calibration_table(study: Study, split: str) -> Table:
    """Return Brier score, calibration error and ranking by model and outcome."""
    rows = []
    for model in study.models(split):
        if model == MAJORITY:
            continue
        tables = study.select(model, split)
        cells: list[str] = []
        for outcome in (0, 1):
            c = study.calibration(tables, outcome)
            cells += [plain(c.brier), plain(c.error), plain(c.auc)]
        rows.append((model_title(model), *cells))
    return Table(
        caption=f"Calibration and ranking, prediction from the initial grasp, {split_name(split)}",
        heads=(("", 1), ("stable", 3), ("gentle", 3)),
        columns=("model", *("Brier", "ECE", "AUC") * 2),
        rows=tuple(rows),
        note="Brier and ECE (10 bins): lower is better; AUC: 0.5 is chance. Means over seeds. ECE has no interval because "
        "resampling biases it upward. The paper reports none of these.",
    )


def force_table(study: Study, table: ForceTable) -> Table:
    """Return how well each force proxy alone ranks the outcomes, and how it goes with the position error."""
    proxies = {
        "fingertip displacement": table.displacement,
        "fingertip position error": table.position_error,
        "touch difference": table.touch_difference,
    }
    rows = []
    for name, values in proxies.items():
        both = ~(np.isnan(values) | np.isnan(table.position_error))
        rank = _rank_correlation(values[both], table.position_error[both])
        areas = [
            plain(cluster_auc(label, values, table.trial, study.rng(), resamples=study.resamples))
            for label in (table.labels[:, 0], 1.0 - table.labels[:, 1])
        ]
        rows.append((name, *areas, NOTHING if values is table.position_error else plain(rank, 2)))
    return Table(
        caption="How well one force proxy alone tells the outcomes apart",
        columns=("proxy", "AUC, stable", "AUC, not gentle", "rank correlation with position error"),
        rows=tuple(rows),
        note="AUC: 0.5 is chance, 1 ranks perfectly; 95 % intervals from resampling trials. The paper judges by eye: position "
        "error best, touch difference unsuitable.",
    )


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation of (N,) and (N,); nan where one does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def look_table(study: Study, grasps: Sequence[GraspTable], first_press_harsh: np.ndarray | None) -> Table:
    """Return how often looking itself squeezed too hard."""
    rows = []
    if first_press_harsh is not None:
        known = first_press_harsh[~np.isnan(first_press_harsh)]
        rows.append(("data collection", percent(wilson(float(known.sum()), len(known))), NOTHING, NOTHING, str(len(known))))
    for t in grasps:
        first = loop.rate(t, t.first_look_harsh.astype(float), study.rng(), resamples=study.resamples)
        any_look = loop.rate(t, t.damage_while_looking.astype(float), study.rng(), resamples=study.resamples)
        rows.append(
            (
                f"closed loop, {model_title(t.policy)}",
                percent(first),
                percent(any_look),
                f"{t.looks.mean():.2f}",
                str(len(t.trial)),
            )
        )
    return Table(
        caption="How often looking itself squeezes too hard [%]",
        columns=("where", "initial grasp harsh", "any look before the last harsh", "looks, mean", "trials"),
        rows=tuple(rows),
        note="Judged like the final grasp. The paper scores the final grasp only.",
    )


def loop_table(rates: dict[str, dict[str, Interval]], truth: dict[str, Interval | None]) -> Table:
    """Return closed-loop rates of all poses; `truth` holds `both` by the simulator's state where known."""
    rows = tuple(
        (model_title(name), *(percent(one[k]) for k in loop.RATES), percent(truth.get(name)), str(one["both"].n))
        for name, one in rates.items()
    )
    return Table(
        caption="Closed loop: what the chosen grasps achieved [%]",
        columns=(
            "policy",
            "stable",
            "gentle",
            "both",
            "harsh while looking",
            "both, never harsh",
            "both by the truth",
            "trials",
        ),
        rows=rows,
        note="95 % intervals: toys resampled where toys repeat, else Wilson. The first five columns are judged by the sensors. "
        "The paper gives its absolute rates as bars only.",
    )


def loop_difference_table(study: Study, grasps: Sequence[GraspTable]) -> Table | None:
    """Return paired differences of every two policies, full model first; None with fewer than two policies."""
    rows = []
    for i in reversed(range(len(grasps))):
        for j in reversed(range(i)):
            a, b = grasps[i], grasps[j]
            stable, gentle, both = (loop.difference(a, b, of, study.rng(), resamples=study.resamples) for of in OUTCOMES)
            cells = [points(one.interval) for one in (stable, gentle)]
            stated = points(paper.LOOP_GAIN.get((a.policy, b.policy)))
            name = f"{model_title(a.policy)} less {model_title(b.policy)}"
            p = "< 0.001" if both.p < 0.001 else f"{both.p:.3f}"
            rows.append((name, *cells, points(both.interval), p, stated, str(both.interval.n)))
    if not rows:
        return None
    return Table(
        caption="Closed loop: paired differences on the same starting states [points]",
        columns=("policies", "stable", "gentle", "both", "p, both", "paper, both", "trials"),
        rows=tuple(rows),
        note=f"p: exact McNemar test, trials taken as independent. The paper made {paper.LOOP_TRIALS} trials a policy.",
    )
