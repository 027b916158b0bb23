"""The exact solver: a primal-dual interior-point method on the dual of the friction-use programme.

With columns g_i (normal force) and H_i (friction) of contact i, external wrench w and residual weight K, the programme

    min sum |z_i| + K |s|   s.t.   sum (f_i g_i + H_i z_i) + w = s,  sum f_i = 1,  |z_i| <= f_i

has the dual

    max w.p + v   s.t.   v <= p.g_i,   v <= p.g_i + 1 - |H_i p|,   |p| <= K

in wrench prices p (6,) and v: seven unknowns whatever the contacts, and 2 N + 1 second-order cones (a half-line is one, of one
dimension) whose multipliers are the contact forces. Both have a strictly feasible start and steps keep both feasible, so each
iterate bounds the optimum from both sides. Mehrotra's predictor and corrector with Nesterov-Todd scaling, after Vandenberghe,
"The CVXOPT linear and quadratic cone program solvers", 2010; each step factors one 7 x 7 matrix.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

MOST_STEPS = 60
CLOSE = 1e-9
"""Gap over 1 + optimum at which the steps end."""
STAY_INSIDE = 0.99
"""Part of the way to the border that a step goes."""
START = 0.05
"""Slack of the contacts' cones at the start over the one that balances them with the residual's: fewest steps of those tried."""
STUCK = 1e-9
"""Steps shorter than this part of the whole lead nowhere."""

compiled = njit(cache=True, nogil=True, error_model="numpy")  # a division by 0 gives infinity, as in numpy, not an exception
inlined = njit(cache=True, nogil=True, error_model="numpy", inline="always")  # twice as fast where calls outweigh what they do


class Work(NamedTuple):
    """One grasp and how far its solution is; C = 2 N + 1 cones or more rows than that, the contacts' in pairs, the residual's last."""

    external: np.ndarray
    """(6,)."""
    weight: float
    """K."""
    rows: np.ndarray
    """(C, 7, 7): slack of a cone = rows @ (p, v) + its constant."""
    plain: np.ndarray
    """(C, 7, 7) lower half of rows' J rows, J = diag(1, -1, -1, ...)."""
    size: np.ndarray
    """(C,) dimension of each cone: 1, 4, ..., 7."""
    price: np.ndarray
    """(7,) p and v."""
    slack: np.ndarray
    """(C, 7), as all below that are not described."""
    dual: np.ndarray
    """Multipliers."""
    point: np.ndarray
    """Unit point of the scaling W."""
    scale: np.ndarray
    """(C,) size of the scaling W."""
    middle: np.ndarray
    """W dual = W^-1 slack."""
    correction: np.ndarray
    price_move: np.ndarray
    """(7,)."""
    slack_move: np.ndarray
    """W^-1 times the slacks' move."""
    dual_move: np.ndarray
    """W times the multipliers' move."""
    factor: np.ndarray
    """(7, 7) lower Cholesky factor of sum rows' W^-2 rows."""


@compiled
def solve(
    columns: np.ndarray, starts: np.ndarray, external: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve B grasps; releases the interpreter's lock.

    Args:
        columns: (M, 4, 6) as in `WrenchTable`, float64.
        starts: (B + 1,) int64.
        external: (B, 6).
        weight: K of the residual.

    Returns:
        Loads x (M, 4), allowed but for round-off; a bound (B,) below which no loads bring friction use plus weighted residual,
        which holds whether or not the steps converged; and the steps taken (B,).
    """
    loads, bound, steps = np.empty((columns.shape[0], 4)), np.empty(external.shape[0]), np.empty(external.shape[0], np.int64)
    most = 0
    for b in range(bound.size):
        most = max(most, 2 * (starts[b + 1] - starts[b]) + 1)
    square, state, line = np.empty((2, most, 7, 7)), np.empty((7, most, 7)), np.empty((3, 7))
    size, scale, factor = np.empty(most, np.int64), np.empty(most), np.empty((7, 7))
    for b in range(bound.size):
        mine = columns[starts[b] : starts[b + 1]]
        work = Work(
            external[b], weight, square[0], square[1], size[: 2 * mine.shape[0] + 1], line[0], state[0], state[1], state[2],
            scale, state[3], state[4], line[1], state[5], state[6], factor,
        )  # fmt: skip
        _fill_rows(work, mine)
        _start(work)
        steps[b] = _iterate(work)
        for i in range(mine.shape[0]):
            for d in range(4):
                loads[starts[b] + i, d] = work.dual[2 * i + 1, d]
            loads[starts[b] + i, 0] += work.dual[2 * i, 0]
        bound[b] = _lower_bound(work, mine)
    return loads, bound, steps


@compiled
def _fill_rows(work: Work, columns: np.ndarray) -> None:
    last = work.size.size - 1
    for cone in range(last + 1):
        work.size[cone] = 7 if cone == last else 1 + 3 * (cone % 2)
        for d in range(work.size[cone]):
            for k in range(6):
                work.rows[cone, d, k] = (1.0 if d == k + 1 else 0.0) if cone == last else columns[cone // 2, d, k]
            work.rows[cone, d, 6] = -1.0 if d == 0 and cone < last else 0.0
        for i in range(7):
            for j in range(i + 1):
                work.plain[cone, i, j] = _form(work.rows[cone, :, i], work.rows[cone, :, j], work.size[cone])


@compiled
def _start(work: Work) -> None:
    """No price on wrenches, equal normal forces without friction: strictly feasible, and not far from the middle of all cones."""
    last = work.size.size - 1
    for cone in range(last):
        work.dual[cone, 0] = 1.0 / last
        for d in range(1, work.size[cone]):
            work.dual[cone, d] = 0.0
    residual = 0.0
    for k in range(6):
        total = work.external[k]
        for cone in range(last):
            total += work.rows[cone, 0, k] / last
        work.dual[last, k + 1] = -total
        residual += total * total
        work.price[k] = 0.0
    work.dual[last, 0] = 1.5 * np.sqrt(residual) + 0.01
    work.price[6] = -START * work.weight * work.dual[last, 0] * last
    _fill_slacks(work)


@compiled
def _fill_slacks(work: Work) -> None:
    last = work.size.size - 1
    for cone in range(last + 1):
        for d in range(work.size[cone]):
            work.slack[cone, d] = _dot(work.rows[cone, d], work.price, 7)
        if cone == last:
            work.slack[cone, 0] = work.weight
        elif cone % 2 == 1:
            work.slack[cone, 0] += 1.0


@compiled
def _iterate(work: Work) -> int:
    """Step until the gap closes or no step is left; returns the steps."""
    for step in range(MOST_STEPS):
        gap = _fill_scaling(work)
        value = _dot(work.external, work.price, 6) + work.price[6]
        if not gap > CLOSE * (1.0 + abs(value)) or not _fill_factor(work):
            return step
        for rounds in (1, 2):
            if rounds == 2:
                _fill_correction(work, (1.0 - min(1.0, _reach(work))) ** 3 * gap / work.size.size)
            _clear_moves(work)
            for _ in range(
                rounds
            ):  # a second time takes out the round-off of the first, near the optimum a force out of balance
                _add_moves(work)
        reach = min(1.0, STAY_INSIDE * _reach(work))
        if not reach > STUCK:
            return step
        for k in range(7):
            work.price[k] += reach * work.price_move[k]
        for cone in range(work.size.size):
            _unscale(work, cone, work.dual_move[cone])
            for d in range(work.size[cone]):
                work.dual[cone, d] += reach * work.dual_move[cone, d]
        _fill_slacks(work)
    return MOST_STEPS


@inlined
def _dot(a: np.ndarray, b: np.ndarray, size: int) -> float:
    total = 0.0
    for d in range(size):
        total += a[d] * b[d]
    return total


@inlined
def _form(a: np.ndarray, b: np.ndarray, size: int) -> float:
    """Return a' J b."""
    total = a[0] * b[0]
    for d in range(1, size):
        total -= a[d] * b[d]
    return total


@compiled
def _fill_scaling(work: Work) -> float:
    """Nesterov-Todd scaling of each cone, no correction yet; returns the gap. All is NaN where a point has left its cone."""
    gap = 0.0
    for cone in range(work.size.size):
        slack, dual, point, middle, size = (
            work.slack[cone],
            work.dual[cone],
            work.point[cone],
            work.middle[cone],
            work.size[cone],
        )
        slack_form, dual_form = np.sqrt(_form(slack, slack, size)), np.sqrt(_form(dual, dual, size))
        half = 0.5 / np.sqrt(0.5 * (1.0 + _dot(slack, dual, size) / (slack_form * dual_form)))
        point[0] = half * (slack[0] / slack_form + dual[0] / dual_form)
        for d in range(1, size):
            point[d] = half * (slack[d] / slack_form - dual[d] / dual_form)
        work.scale[cone] = np.sqrt(slack_form / dual_form)
        along = _dot(point, dual, size)
        pull = (along - point[0] * dual[0]) / (1.0 + point[0]) + dual[0]
        middle[0] = work.scale[cone] * along
        for d in range(1, size):
            middle[d] = work.scale[cone] * (dual[d] + pull * point[d])
        for d in range(size):
            work.correction[cone, d] = 0.0
        gap += _dot(middle, middle, size)
    return gap


@compiled
def _unscale(work: Work, cone: int, value: np.ndarray) -> None:
    """Replace `value` by W^-1 value."""
    point, scale, size = work.point[cone], work.scale[cone], work.size[cone]
    across = _dot(point, value, size) - point[0] * value[0]
    pull = across / (1.0 + point[0]) - value[0]
    value[0] = (point[0] * value[0] - across) / scale
    for d in range(1, size):
        value[d] = (value[d] + pull * point[d]) / scale


@compiled
def _fill_factor(work: Work) -> bool:
    """Factor sum rows' W^-2 rows; False where round-off has left it without one."""
    system = work.factor
    direction = np.empty(7)
    for i in range(7):
        for j in range(i + 1):
            system[i, j] = 0.0
    for cone in range(work.size.size):
        inverse = 1.0 / (work.scale[cone] * work.scale[cone])
        for k in range(7):
            direction[k] = _form(work.rows[cone, :, k], work.point[cone], work.size[cone])
        for i in range(7):
            for j in range(i + 1):
                system[i, j] += inverse * (2.0 * direction[i] * direction[j] - work.plain[cone, i, j])
    for i in range(7):
        for j in range(i):
            system[i, j] = (system[i, j] - _dot(system[i], system[j], j)) / system[j, j]
        pivot = system[i, i] - _dot(system[i], system[i], i)
        if not pivot > 0.0:
            return False
        system[i, i] = np.sqrt(pivot)
    return True


@compiled
def _clear_moves(work: Work) -> None:
    """No price moves; the multipliers alone go to where the scaling and the correction want them."""
    for k in range(7):
        work.price_move[k] = 0.0
    for cone in range(work.size.size):
        for d in range(work.size[cone]):
            work.slack_move[cone, d] = 0.0
            work.dual_move[cone, d] = work.correction[cone, d] - work.middle[cone, d]


@compiled
def _add_moves(work: Work) -> None:
    """Change the moves so that the moved multipliers balance: sum rows' multipliers = -(external, 1)."""
    value = np.empty(7)
    change = _imbalance(work, value)
    _solve_system(work.factor, change)
    for k in range(7):
        work.price_move[k] += change[k]
    for cone in range(work.size.size):
        for d in range(work.size[cone]):
            value[d] = _dot(work.rows[cone, d], change, 7)
        _unscale(work, cone, value)
        for d in range(work.size[cone]):
            work.slack_move[cone, d] += value[d]
            work.dual_move[cone, d] -= value[d]


@compiled
def _imbalance(work: Work, value: np.ndarray) -> np.ndarray:
    total = np.empty(7)
    for k in range(7):
        total[k] = work.external[k] if k < 6 else 1.0
    for cone in range(work.size.size):
        for d in range(work.size[cone]):
            value[d] = work.dual_move[cone, d]
        _unscale(work, cone, value)
        for d in range(work.size[cone]):
            for k in range(7):
                total[k] += work.rows[cone, d, k] * (value[d] + work.dual[cone, d])
    return total


@compiled
def _solve_system(factor: np.ndarray, aim: np.ndarray) -> None:
    """Replace `aim` by the solution."""
    for i in range(7):
        aim[i] = (aim[i] - _dot(factor[i], aim, i)) / factor[i, i]
    for i in range(6, -1, -1):
        for j in range(i + 1, 7):
            aim[i] -= factor[j, i] * aim[j]
        aim[i] /= factor[i, i]


@compiled
def _fill_correction(work: Work, target: float) -> None:
    """Mehrotra's second-order term: solves middle o correction = target e - slack_move o dual_move, o the cones' Jordan product."""
    for cone in range(work.size.size):
        size = work.size[cone]
        at, s, z, out = work.middle[cone], work.slack_move[cone], work.dual_move[cone], work.correction[cone]
        out[0] = target - _dot(s, z, size)
        for d in range(1, size):
            out[d] = -(s[0] * z[d] + z[0] * s[d])
        head = _form(at, out, size) / _form(at, at, size)
        for d in range(1, size):
            out[d] = (out[d] - head * at[d]) / at[0]
        out[0] = head


@compiled
def _reach(work: Work) -> float:
    """Return the largest step that leaves the scaled slacks and multipliers in their cones."""
    most = 1e-30
    for cone in range(work.size.size):
        at, size = work.middle[cone], work.size[cone]
        length = np.sqrt(_form(at, at, size))
        for move in (work.slack_move[cone], work.dual_move[cone]):
            # the move as seen from the cone's axis, by the cone's own turn that brings `at` there
            head = _form(at, move, size) / length
            pull = (head + move[0]) / (at[0] + length)
            side = 0.0
            for d in range(1, size):
                side += (move[d] - pull * at[d]) ** 2
            most = max(most, (np.sqrt(side) - head) / length)
    return 1.0 / most


@compiled
def _lower_bound(work: Work, columns: np.ndarray) -> float:
    """Value of the dual at the nearest prices that it allows."""
    shrink = work.weight / max(work.weight, np.sqrt(_dot(work.price, work.price, 6)))
    least = 1e30
    for i in range(columns.shape[0]):
        across = 0.0
        for d in range(1, 4):
            across += (shrink * _dot(columns[i, d], work.price, 6)) ** 2
        least = min(least, shrink * _dot(columns[i, 0], work.price, 6) - max(np.sqrt(across) - 1.0, 0.0))
    return shrink * _dot(work.external, work.price, 6) + least
