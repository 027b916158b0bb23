"""Two solvers of others for the same programme, one grasp at a time: clarabel's cones, and IPOPT with smoothed norms."""

import importlib.util
from typing import Any

import clarabel as compiled_clarabel
import numpy as np
import scipy.sparse as sp

from palpate.core.errors import MissingPackageError
from palpate.quality.wrenches import RESIDUAL_WEIGHT

clarabel: Any = compiled_clarabel  # its names come from a compiled module that no type checker reads
SMOOTH = 1e-4
"""IPOPT needs derivatives everywhere: |x| becomes sqrt(|x|^2 + SMOOTH^2)."""
MOST_STEPS = 300
"""Of IPOPT."""


def solve_clarabel(columns: np.ndarray, external: np.ndarray) -> tuple[np.ndarray, str]:
    """Solve one grasp as a second-order cone programme.

    Args:
        columns: (N, 4, 6) as in `WrenchTable`.
        external: (6,).

    Returns:
        Loads x (N, 4) and clarabel's word for how it ended, `Solved` when all is well.
    """
    count = len(columns)
    loads, use = 4 * count, np.arange(count)
    unknowns = loads + count + 7  # x, use |z| of each contact, |residual|, residual
    cost = np.zeros(unknowns)
    cost[loads : loads + count], cost[loads + count] = 1.0, RESIDUAL_WEIGHT
    fixed = np.zeros((7, unknowns))
    fixed[:6, :loads], fixed[:6, -6:] = columns.reshape(loads, 6).T, -np.eye(6)
    fixed[6, :loads:4] = 1.0
    within = np.zeros((count, unknowns))  # use <= f
    within[use, loads + use], within[use, 4 * use] = 1.0, -1.0
    norms = np.zeros((loads, unknowns))  # |z| <= use
    norms[4 * use, loads + use] = -1.0
    for part in (1, 2, 3):
        norms[4 * use + part, 4 * use + part] = -1.0
    residual = np.zeros((7, unknowns))
    residual[:, -7:] = -np.eye(7)
    cones = [
        clarabel.ZeroConeT(7),
        clarabel.NonnegativeConeT(count),
        *[clarabel.SecondOrderConeT(4)] * count,
        clarabel.SecondOrderConeT(7),
    ]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    matrix = sp.csc_matrix(np.vstack([fixed, within, norms, residual]))
    right = np.concatenate([-external, [1.0], np.zeros(count + loads + 7)])
    answer = clarabel.DefaultSolver(sp.csc_matrix((unknowns, unknowns)), cost, matrix, right, cones, settings).solve()
    return np.array(answer.x)[:loads].reshape(count, 4), str(answer.status)


class IpoptSolver:
    """IPOPT through casadi; the programme is built once for each number of contacts.

    Raises:
        MissingPackageError: casadi is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("casadi") is None:
            raise MissingPackageError(
                "casadi is not installed, its wheel carries IPOPT: python -m pip install 'palpate[ipopt]'"
            )
        self._programmes: dict[int, Any] = {}

    def solve(self, columns: np.ndarray, external: np.ndarray) -> tuple[np.ndarray, str]:
        """Solve one grasp from equal normal forces without friction; arguments and results as of `solve_clarabel`.

        The word is IPOPT's, `Solve_Succeeded` when all is well.
        """
        count = len(columns)
        if count not in self._programmes:
            self._programmes[count] = _ipopt_programme(count)
        start = np.zeros((count, 4))
        start[:, 0] = 1.0 / count
        wrench = columns.reshape(4 * count, 6).T @ start.ravel() + external
        lower = np.tile([0.0, -np.inf, -np.inf, -np.inf, 0.0], (count, 1))
        programme = self._programmes[count]
        answer = programme(
            x0=np.concatenate([start.ravel(), np.full(count, 0.5 / count), wrench, [np.linalg.norm(wrench) + 0.01]]),
            p=np.concatenate([columns.ravel(), external]),
            lbx=np.concatenate([lower[:, :4].ravel(), lower[:, 4], np.full(6, -np.inf), [0.0]]),
            lbg=np.concatenate([np.zeros(7), np.full(2 * count + 1, -np.inf)]),
            ubg=0.0,
        )
        return np.array(answer["x"]).ravel()[: 4 * count].reshape(count, 4), str(programme.stats()["return_status"])


def _ipopt_programme(count: int) -> Any:
    import casadi  # noqa: PLC0415 - optional, and slow to load

    loads, use = casadi.SX.sym("x", 4, count), casadi.SX.sym("use", count)
    residual, size = casadi.SX.sym("s", 6), casadi.SX.sym("size")
    columns, external = casadi.SX.sym("columns", 6, 4 * count), casadi.SX.sym("external", 6)
    smooth = [casadi.sqrt(casadi.sumsqr(loads[1:, i]) + SMOOTH**2) - use[i] for i in range(count)]
    limits = [
        columns @ casadi.vec(loads) + external - residual,
        casadi.sum2(loads[0, :]) - 1.0,
        *smooth,
        use - loads[0, :].T,
        casadi.sqrt(casadi.sumsqr(residual) + SMOOTH**2) - size,
    ]
    programme = {
        "x": casadi.vertcat(casadi.vec(loads), use, residual, size),
        "p": casadi.vertcat(casadi.vec(columns), external),
        "f": casadi.sum1(use) + RESIDUAL_WEIGHT * size,
        "g": casadi.vertcat(*limits),
    }
    quiet = {
        "print_time": False,
        "ipopt.print_level": 0,
        "ipopt.sb": "yes",
        "ipopt.max_iter": MOST_STEPS,
        "ipopt.mu_init": 1e-3,
    }
    return casadi.nlpsol("friction_use", "ipopt", programme, quiet)
