"""The headline of the gentle report in plain words, made from the numbers: it says so when a run shows nothing."""

from palpate.evaluation import loop, paper
from palpate.evaluation.intervals import Interval
from palpate.evaluation.material import Material
from palpate.evaluation.scores import FULL
from palpate.evaluation.tables import model_title, percent, points

_VISION = "vision+action"


def summary_lines(material: Material) -> tuple[str, ...]:
    """Return what a reader should take away, one sentence or two each."""
    lines = [*_prediction_lines(material), *_loop_lines(material), *_look_lines(material)]
    return tuple(lines) or ("This run holds no predictions and no grasps; there is nothing to sum up.",)


def summary_cards(material: Material) -> tuple[tuple[str, str, str], ...]:
    """Return key numbers: (number, what it is, small print)."""
    made = []
    study, split = material.study, material.split
    full = study.select(FULL, split) if split else ()
    vision = study.select(_VISION, split) if split else ()
    if full:
        both = study.accuracy(full)["both"]
        made.append((_number(both), "both labels predicted right, before the regrasp", f"{_range(both)}; paper 88.24 %"))
    if full and vision:
        gain = study.difference(full, vision)["both"]
        small = f"{_range(gain, signed=True)}; paper {100 * paper.TOUCH_GAIN:+.2f}"
        made.append((f"{100 * gain.value:+.1f} points", "what touch adds to that", small))
    policies = {g.policy: g for g in material.grasps}
    if FULL in policies:
        g = policies[FULL]
        rate = loop.rate(g, loop.events(g)["both"], study.rng(), resamples=material.study.resamples)
        made.append((_number(rate), "of chosen grasps stable and gentle", f"{_range(rate)}; {rate.n} trials"))
    if FULL in policies and _VISION in policies:
        pair = loop.difference(
            policies[FULL], policies[_VISION], "both", study.rng(), resamples=material.study.resamples
        ).interval
        stated = 100 * paper.LOOP_GAIN[(FULL, _VISION)]
        made.append(
            (
                f"{100 * pair.value:+.1f} points",
                "over vision alone, closed loop",
                f"{_range(pair, signed=True)}; paper {stated:+.0f}",
            )
        )
    return tuple(made)


def _number(value: Interval) -> str:
    return f"{100 * value.value:.1f} %"


def _range(value: Interval, *, signed: bool = False) -> str:
    """Write the interval alone."""
    text = points(value) if signed else percent(value)
    return f"95 % interval {text.partition(' ')[2]}"


def _prediction_lines(material: Material) -> list[str]:
    study, split = material.study, material.split
    if split is None or not study.select(FULL, split):
        return []
    both = study.accuracy(study.select(FULL, split))["both"]
    lines = [
        f"From the initial grasp alone, {model_title(FULL)} predicts both labels of the regrasp right in "
        f"{percent(both)} % of {both.n} trials (paper: 88.24 % over a mix of moments)."
    ]
    for s in study.splits():
        full, vision = study.select(FULL, s), study.select(_VISION, s)
        if full and vision:
            gain = study.difference(full, vision)["both"]
            held = {"trial": "With trials held out", "object": "With whole toys held out", "pose": "With a pose held out"}[s]
            lines.append(f"{held}, {_verdict('touch', gain)}")
    return lines


def _verdict(what: str, gain: Interval) -> str:
    """Say what a difference shows, and that it shows nothing when its interval includes zero."""
    if not gain.excludes_zero:
        return f"the run does not show that {what} changes the result: {points(gain)} points, and the interval includes zero."
    verb = "adds" if gain.value > 0 else "costs"
    return f"{what} {verb} {points(abs_interval(gain))} points on both labels together."


def abs_interval(gain: Interval) -> Interval:
    """Return an interval that excludes zero as a positive one."""
    if gain.value >= 0:
        return gain
    return Interval(value=-gain.value, low=-gain.high, high=-gain.low, n=gain.n, groups=gain.groups)


def _loop_lines(material: Material) -> list[str]:
    policies = {g.policy: g for g in material.grasps}
    if FULL not in policies:
        return []
    rng = material.study.rng
    g = policies[FULL]
    rate = loop.rate(g, loop.events(g)["both"], rng(), resamples=material.study.resamples)
    lines = [f"In the closed loop, {percent(rate)} % of {rate.n} grasps chosen with all modalities were stable and gentle."]
    for other, name in ((_VISION, "vision alone"), ("random", "random regrasps")):
        if other in policies:
            pair = loop.difference(g, policies[other], "both", rng(), resamples=material.study.resamples)
            stated = 100 * paper.LOOP_GAIN[(FULL, other)]
            shown = "" if pair.interval.excludes_zero else " The interval includes zero: these trials do not separate the two."
            lines.append(
                f"Against {name} on the same starting states that is {points(pair.interval)} points "
                f"(paper: {stated:+.0f}).{shown}"
            )
    return lines


def _look_lines(material: Material) -> list[str]:
    policies = {g.policy: g for g in material.grasps}
    if FULL not in policies:
        return []
    g = policies[FULL]
    rng = material.study.rng
    harsh = loop.rate(g, g.damage_while_looking.astype(float), rng(), resamples=material.study.resamples)
    clean = loop.rate(g, loop.events(g)["clean"], rng(), resamples=material.study.resamples)
    return [
        f"Only the final grasp is scored above. While looking, {percent(harsh)} % of these trials had already squeezed "
        f"too hard; {percent(clean)} % were stable, gentle, and never harsh."
    ]
