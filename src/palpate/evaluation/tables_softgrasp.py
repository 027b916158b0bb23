"""Tables of the SoftGrasp study: trials by configuration, held against each other and against the paper's tables.

A trial is a success if the object was lifted and held at the end, as in the paper; a good one if nothing was crushed on the way as well.
Trials of one net on one object resemble each other, so intervals resample pairs of net and object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference, wilson
from palpate.evaluation.paper_softgrasp import OBJECTS, PER_OBJECT, rate
from palpate.evaluation.tables import NOTHING, Table, percent, plain, points

KNOWN = tuple(range(1, 7))
"""IDs of the objects that are trained on; the others are new."""
CLASSES = ("soft-plastic", "deformable", "rigid")
MEASURES = ("good", "success", "crushed")


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials of one configuration, by all nets of it. N trials; unknown is NaN."""

    net: np.ndarray
    """(N,) training seed of the net."""
    number: np.ndarray
    """(N,) number of the trial; trials of equal net and number began alike in every configuration."""
    object: np.ndarray
    """(N,) ID, 1 to 12."""
    hardness: np.ndarray
    """(N,) class of the object, one of `CLASSES`."""
    success: np.ndarray
    """(N,) 1 if it was lifted and held at the end, else 0."""
    crushed: np.ndarray
    """(N,) 1 if it was."""
    deformation: np.ndarray
    """(N,) greatest travel of the object's wall [m]."""
    peak_force: np.ndarray
    """(N,) greatest force of a fingertip [N]."""
    stable_torque: np.ndarray
    """(N, 6) mean joint torque in the stable stage [N m]; NaN in trials without one."""

    @property
    def good(self) -> np.ndarray:
        """(N,) 1 if the object was held and not crushed."""
        return self.success * (1.0 - self.crushed)

    @property
    def groups(self) -> np.ndarray:
        """(N,) pair of net and object."""
        return self.net * 100 + self.object

    @property
    def soft(self) -> np.ndarray:
        """(N,) whether a hand can deform the object."""
        return self.hardness != "rigid"

    def chosen(self, rows: np.ndarray) -> "Trials":
        """Return some of the trials, by mask or by number."""
        return Trials(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def mean(self, name: str, rows: np.ndarray | None = None) -> Interval:
        """Return the mean of a column over known values, with its interval."""
        some = self if rows is None else self.chosen(rows)
        return cluster_mean(getattr(some, name), some.groups, generator(0))


def joined(parts: Sequence[Trials]) -> Trials:
    """Return the trials of several nets as one."""
    return Trials(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Trials.__dataclass_fields__})


def gain(a: Trials, b: Trials, name: str = "good") -> Interval:
    """Return the mean of a column in `a` less that in `b`, over trials of both that began alike.

    Raises:
        DataError: there are none.
    """
    keys_a, keys_b = _keys(a), _keys(b)
    _, i, j = np.intersect1d(keys_a, keys_b, return_indices=True)
    if not len(i):
        raise DataError("the two configurations share no trial; run both with the same seeds and objects")
    return paired_difference(getattr(a, name)[i], getattr(b, name)[j], a.groups[i], generator(0))


def _keys(trials: Trials) -> np.ndarray:
    return (trials.net.astype(np.int64) * 100_000 + trials.number) * 100 + trials.object


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One of the paper's tables as found here: configurations that are done, in the paper's order."""

    title: str
    full: str
    """Name of the row that the others are held against."""
    trials: Mapping[str, Trials]
    """By row name."""
    paper: Mapping[str, int | tuple[int, ...]]
    """The paper's successes, by row name: of 120, or of 10 by object; a row of our own has none."""
    note: str = ""


def rates_table(rows: Rows) -> Table:
    """Return success, crushing, deformation and force by configuration, the paper's success beside."""
    lines = []
    for name, trials in rows.trials.items():
        known = np.isin(trials.object, KNOWN)
        cells = [
            percent(trials.mean("good")),
            percent(_or_none(trials, "good", known)),
            percent(_or_none(trials, "good", ~known)),
        ]
        cells += [
            percent(trials.mean("success")),
            percent(trials.mean("crushed", trials.soft).value if trials.soft.any() else None),
        ]
        cells += [plain(float(1e3 * np.nanmean(trials.deformation[trials.soft])), 1) if trials.soft.any() else NOTHING]
        cells += [plain(float(np.nanmean(trials.peak_force)), 2), percent(_paper(rows, name, trials))]
        lines.append((name, *cells))
    return Table(
        caption=rows.title,
        columns=(
            "configuration", "all", "known (1-6)", "new (7-12)", "held, %", "crushed, %", "soft, mm", "peak, N", "paper, %",
        ),
        heads=(("", 1), ("held and not crushed, %", 3), ("lifted and what it took", 4), ("", 1)),
        rows=tuple(lines),
        strong=tuple(k for k, name in enumerate(rows.trials) if name == rows.full),
        note=(
            "Intervals (95 %) resample pairs of net and object. `crushed`: of soft objects, those that a hand can deform; `soft`: mean of "
            f"their wall's greatest travel. `peak`: mean of the greatest force of a fingertip. `paper`: held. {rows.note}"
        ).strip(),
    )  # fmt: skip


def _or_none(trials: Trials, name: str, rows: np.ndarray) -> Interval | None:
    return trials.mean(name, rows) if rows.any() else None


def _paper(rows: Rows, name: str, trials: Trials) -> float | None:
    """Return the paper's success on the objects that were tried here."""
    return rate(rows.paper.get(name), tuple(int(i) for i in np.unique(trials.object)))


def object_table(rows: Rows) -> Table:
    """Return good trials by object, as the paper's Tables 5 and 6, the paper's rows below ours."""
    lines = []
    for name, trials in rows.trials.items():
        cells = []
        for number in range(1, OBJECTS + 1):
            own = trials.object == number
            lost = int(np.nansum(trials.success[own] - trials.good[own]))
            cells.append(
                f"{int(np.nansum(trials.good[own]))}/{own.sum()}{f' ({lost})' if lost else ''}" if own.any() else NOTHING
            )
        lines.append((name, *cells, percent(float(np.nanmean(trials.good)))))
        printed = rows.paper.get(name, 0)
        if not isinstance(printed, int):
            lines.append(("    paper", *(f"{k}/{PER_OBJECT}" for k in printed), percent(rate(printed))))
    return Table(
        caption=f"{rows.title}: by object, held and not crushed",
        columns=("configuration", *(str(i) for i in range(1, OBJECTS + 1)), "all, %"),
        rows=tuple(lines),
        note="In brackets: trials in which it was held, but crushed. The paper counts success only.",
    )


def order_table(rows: Rows) -> Table | None:
    """Return the differences to the full configuration beside the paper's, and how far both orders agree; None without the full one."""
    if rows.full not in rows.trials or len(rows.trials) < 2:
        return None
    full, lines = rows.trials[rows.full], []
    for name, trials in rows.trials.items():
        if name == rows.full:
            continue
        found, printed = gain(trials, full, "success"), paper_difference(rows, name)
        says = NOTHING if printed is None else agreement(found, printed)
        lines.append((name, points(gain(trials, full)), points(found), points(printed), says))
    tau, tau_good = (rank_agreement(rows, measure) for measure in ("success", "good"))
    return Table(
        caption=f"{rows.title}: differences to {rows.full}, percentage points",
        columns=("configuration", "held and not crushed", "held", "paper, held", "held as in the paper"),
        rows=tuple(lines),
        note=(
            "Paired: every configuration was tried from the same starting states; an interval without width means that all pairs agree. "
            "`no difference found`: the interval holds zero. Kendall's tau of the order of all rows with the paper's: "
            f"{plain(tau, 2)} by held, {plain(tau_good, 2)} by held and not crushed."
        ),
    )


def paper_difference(rows: Rows, name: str) -> float | None:
    """Return the paper's success of a row less that of the full configuration, on the objects that were tried here."""
    one, full = (_paper(rows, row, rows.trials[row]) for row in (name, rows.full))
    return None if one is None or full is None else one - full


def agreement(found: Interval, printed: float) -> str:
    """Say whether a difference has the sign that the paper's has."""
    if not found.excludes_zero:
        return "no difference found"
    return "same sign" if found.value * printed > 0 else "other sign"


def rank_agreement(rows: Rows, measure: str = "success") -> float | None:
    """Return Kendall's tau-b of the rows' mean of a column with the paper's success; None if either is constant."""
    pairs = [(float(np.nanmean(getattr(t, measure))), _paper(rows, name, t)) for name, t in rows.trials.items()]
    ours, printed = [a for a, b in pairs if b is not None], [b for _, b in pairs if b is not None]
    if len(set(ours)) < 2 or len(set(printed)) < 2:
        return None
    return float(np.asarray(kendalltau(ours, printed))[0])


def feedback_table(felt: Trials, unfelt: Trials) -> Table:
    """Return demonstrations with and without the glove's torque, by class of hardness, from the same starting states."""
    lines = []
    for name in (*CLASSES, "all"):
        pair = [t if name == "all" else t.chosen(t.hardness == name) for t in (felt, unfelt)]
        if not all(len(t.good) for t in pair):
            continue
        for title, trials in zip(("torque felt", "no torque"), pair, strict=True):
            n = int(np.isfinite(trials.good).sum())
            rates = (percent(wilson(float(np.nansum(getattr(trials, m))), n)) for m in MEASURES)
            lines.append((f"{name}: {title}", *rates, plain(each(trials, "peak_force"), 2), str(n)))
        differences = [points(paired(pair[1], pair[0], m)) for m in MEASURES]
        lines.append(("    without - with", *differences, plain(paired(pair[1], pair[0], "peak_force"), 2), ""))
    return Table(
        caption="Demonstrations of the scripted person, with the glove's torque and without",
        columns=("objects", "held and not crushed, %", "held, %", "crushed, %", "peak force, N", "n"),
        rows=tuple(lines),
        note=(
            "The same seeds: object, place and the person's variation are those of the other row. Rates with Wilson's intervals, forces "
            "and differences (percentage points, N) with intervals over demonstrations."
        ),
    )


def each(trials: Trials, name: str) -> Interval:
    """Return the mean of a column with an interval over single trials, for demonstrations: there is no net."""
    return cluster_mean(getattr(trials, name), trials.number, generator(0))


def paired(a: Trials, b: Trials, name: str) -> Interval:
    """Return the mean of a column in `a` less that in `b` over demonstrations that began alike, with an interval over them."""
    _, i, j = np.intersect1d(_keys(a), _keys(b), return_indices=True)
    return paired_difference(getattr(a, name)[i], getattr(b, name)[j], a.number[i], generator(0))


def feedback_figures(felt: Trials, unfelt: Trials) -> dict[str, Any]:
    """Return the figures of `feedback_table` as plain values."""
    out: dict[str, Any] = {}
    for name in (*CLASSES, "all"):
        pair = [t if name == "all" else t.chosen(t.hardness == name) for t in (felt, unfelt)]
        if all(len(t.good) for t in pair):
            measures = (*MEASURES, "peak_force")
            out[name] = {
                title: {m: _plain(each(trials, m)) for m in measures}
                for title, trials in zip(("felt", "unfelt"), pair, strict=True)
            } | {"unfelt - felt": {m: _plain(paired(pair[1], pair[0], m)) for m in measures}}
    return out


def figures_of(tables: Iterable[Rows]) -> dict[str, Any]:
    """Return all figures of the tables as plain values, for a JSON file."""
    return {rows.title: {name: _row(rows, name, trials) for name, trials in rows.trials.items()} for rows in tables}


def _row(rows: Rows, name: str, trials: Trials) -> dict[str, Any]:
    known = np.isin(trials.object, KNOWN)
    out: dict[str, Any] = {m: _plain(trials.mean(m)) for m in MEASURES}
    out |= {f"good_{side}": _plain(_or_none(trials, "good", mask)) for side, mask in (("known", known), ("new", ~known))}
    out |= {"soft_crushed": _plain(_or_none(trials, "crushed", trials.soft)), "peak_force_n": _plain(trials.mean("peak_force"))}
    out["soft_deformation_m"] = _plain(_or_none(trials, "deformation", trials.soft))
    out["paper"] = _paper(rows, name, trials)
    for measure in MEASURES:
        by_object = {str(i): getattr(trials, measure)[trials.object == i] for i in np.unique(trials.object)}
        out[f"{measure}_by_object"] = {i: [int(np.nansum(values)), len(values)] for i, values in by_object.items()}
    if name != rows.full and rows.full in rows.trials:
        out["difference"] = {m: _plain(gain(trials, rows.trials[rows.full], m)) for m in MEASURES}
        out["paper_difference"] = paper_difference(rows, name)
    return out


def _plain(value: Interval | None) -> dict[str, float | None] | None:
    if value is None:
        return None
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    return {name: round(x, 5) if np.isfinite(x) else None for name, x in numbers.items()} | {"n": value.n}
