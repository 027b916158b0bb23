"""Friction-use quality of a grasp: how little friction its contacts need at their best to balance what acts on the object.

Normal and friction forces are chosen at their best, with the sum of the normal forces fixed: q = exp(-(u + K |s|)), with u the use of
friction, a mean weighted by normal force, s the wrench left over (lengths in object radii, forces in parts of that sum) and K = 100.
This is the convex form of the measure in the slides "Dexterous sim-to-real": q is above 0 and at most 1, and a grasp that cannot be
balanced has a low one instead of none.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from palpate.core.contacts import GraspContacts
from palpate.core.errors import UnknownNameError
from palpate.quality.interior import solve
from palpate.quality.reference import IpoptSolver, solve_clarabel
from palpate.quality.wrenches import RESIDUAL_WEIGHT, WrenchTable, wrench_table

Solver = Literal["exact", "clarabel", "ipopt"]
SUCCESS = 0.5
"""q above it, with two fingers or more, is a success."""
CERTIFIED = 1e-5
"""Gap over 1 + value up to which the exact solver's answer counts: q is then at most this share below the optimum."""
CHUNK = 512
"""Grasps that one thread solves at a time."""
SOLVED = {"Solved", "Solve_Succeeded"}


@dataclass(frozen=True, kw_only=True)
class GraspQuality:
    """Quality of one grasp of N contacts. The forces are always allowed by friction, so q is reached whatever the solver said."""

    q: float
    """exp(-(friction_use + 100 residual)), 0 to 1."""
    friction_use: float
    """u, mean of tangential force and torsion over the most that friction allows, weighted by normal force, 0 to 1; 0 without contact."""
    residual: float
    """|s|, norm of the wrench that stays unbalanced; infinite without contact. Up to 0.01 the grasp counts as balanced."""
    success: bool
    """q above 0.5 and at least two fingers."""
    forces: np.ndarray
    """(N, 3) force on the object at each contact in parts of the sum of normal forces, frame of the contacts."""
    torsion: np.ndarray
    """(N,) moment on the object about each normal over the sum of normal forces [m]."""
    gap: float | None
    """No forces bring friction_use + 100 residual lower by more than this; None from solvers that prove nothing."""
    status: str
    """`solved`, or what happened instead."""


def grasp_quality(contacts: GraspContacts, solver: Solver = "exact") -> GraspQuality:
    """Judge one grasp; `grasp_qualities` says more."""
    return grasp_qualities([contacts], solver)[0]


def grasp_qualities(
    grasps: Sequence[GraspContacts], solver: Solver = "exact", *, workers: int = 1, progress: bool = False
) -> list[GraspQuality]:
    """Judge many grasps, in their order; the same grasp has the same quality in any company.

    Args:
        grasps: any number of contacts each. One contact or none is judged too: its residual is large, its q about 0.
        solver: `exact`, whose every answer is certified by its duality gap (a grasp where that fails goes to clarabel, and `status`
            says so); `clarabel`; or `ipopt`, with smoothed norms.
        workers: threads, of use to `exact` only: it releases the interpreter's lock.
        progress: show a bar.

    Raises:
        UnknownNameError: for another solver.
        MissingPackageError: `ipopt` without casadi.
        RecordError: a grasp with numbers that mean nothing (NaN, friction or radius not above 0, normals not of unit length).
    """
    if solver not in get_args(Solver):
        raise UnknownNameError("solver of grasp quality", solver, get_args(Solver))
    touching = [g for g in grasps if len(g.positions)]
    chunks = [touching[i : i + CHUNK] for i in range(0, len(touching), CHUNK)]
    judge = _judge_exact if solver == "exact" else _judge_reference(solver)
    threads = workers if solver == "exact" else 1  # casadi's functions are no good in two threads
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(grasps), desc="quality", unit="grasp", disable=not progress) as bar,
    ):
        judged = []
        for part in pool.map(judge, chunks):
            judged += part
            bar.update(len(part))
    ordered = iter(judged)
    return [next(ordered) if len(g.positions) else _untouched() for g in grasps]


def _untouched() -> GraspQuality:
    return GraspQuality(
        q=0.0,
        friction_use=0.0,
        residual=np.inf,
        success=False,
        forces=np.zeros((0, 3)),
        torsion=np.zeros(0),
        gap=None,
        status="no contact",
    )


def _judge_exact(grasps: Sequence[GraspContacts]) -> list[GraspQuality]:
    table = wrench_table(grasps)
    loads, bound, steps = solve(table.columns, table.starts, table.external, RESIDUAL_WEIGHT)
    loads = table.allowed(loads)
    use, residual = table.measure(loads)
    value = use + RESIDUAL_WEIGHT * residual
    status = ["solved"] * len(grasps)
    for grasp in np.flatnonzero(~(value - bound <= CERTIFIED * (1.0 + value))):
        answer, word = solve_clarabel(*table.one(int(grasp)))
        loads[table.starts[grasp] : table.starts[grasp + 1]] = answer
        status[grasp] = (
            f"clarabel: {word}; the exact solver left a gap of {value[grasp] - bound[grasp]:.1e} after {steps[grasp]} steps"
        )
    return _gather(table, loads, grasps, status, bound)


def _judge_reference(solver: Solver) -> Callable[[Sequence[GraspContacts]], list[GraspQuality]]:
    one = solve_clarabel if solver == "clarabel" else IpoptSolver().solve

    def judge(grasps: Sequence[GraspContacts]) -> list[GraspQuality]:
        table = wrench_table(grasps)
        answers = [one(*table.one(i)) for i in range(len(grasps))]
        status = ["solved" if word in SOLVED else f"{solver}: {word}" for _, word in answers]
        return _gather(table, np.concatenate([loads for loads, _ in answers]), grasps, status)

    return judge


def _gather(
    table: WrenchTable, loads: np.ndarray, grasps: Sequence[GraspContacts], status: list[str], bound: np.ndarray | None = None
) -> list[GraspQuality]:
    loads = table.allowed(loads)
    use, residual = table.measure(loads)
    value = use + RESIDUAL_WEIGHT * residual
    q = np.exp(-value)
    forces = np.einsum("mk,mkc->mc", loads, table.columns[:, :, :3])
    torsion = loads[:, 3] * table.torsion
    return [
        GraspQuality(
            q=float(q[i]),
            friction_use=float(use[i]),
            residual=float(residual[i]),
            success=bool(q[i] > SUCCESS) and grasps[i].finger_count >= 2,
            forces=forces[table.starts[i] : table.starts[i + 1]],
            torsion=torsion[table.starts[i] : table.starts[i + 1]],
            gap=None if bound is None else float(value[i] - bound[i]),
            status=status[i],
        )
        for i in range(len(grasps))
    ]
