"""Grasp quality on 300 random grasps of 2-5 fingers: agreement of the solvers, rank beside epsilon, grasps per second of each.

Usage: python benchmarks/quality.py [--seed 0] [--batch 20000]. Writes results/quality.json. Grasps per second are by the clock, which
other work on the machine slows, and per second of processor time, which it slows less; the best of some runs.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from palpate.core.randomness import generator
from palpate.quality.epsilon import epsilon
from palpate.quality.friction import grasp_qualities
from palpate.quality.samples import random_grasp

GRASPS = 300
PROJECTED = 500_000
RUNS = 6


def random_grasps(seed, count):
    rng = generator(seed)
    return [random_grasp(rng, 2 + i % 4) for i in range(count)]


def timed(call, grasps, runs=1):
    """The answer, and grasps per second by the clock and by processor time, the best of some runs."""
    clock, processor = [], []
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        answer = call(grasps)
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return answer, {"per_second": len(grasps) / min(clock), "per_processor_second": len(grasps) / min(processor)}


def differences(qualities, exact, chosen):
    q, u = (
        np.array([abs(getattr(a, part) - getattr(b, part)) for a, b in zip(qualities, exact, strict=True)])[chosen]
        for part in ("q", "friction_use")
    )
    return {
        "grasps": len(q),
        "q_max": q.max(),
        "q_p95": np.quantile(q, 0.95),
        "friction_use_max": u.max(),
        "friction_use_p95": np.quantile(u, 0.95),
        "success_agrees": float(
            np.mean([a.success == b.success for a, b, c in zip(qualities, exact, chosen, strict=True) if c])
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=20_000)
    options = parser.parse_args()
    threadpool_limits(1)
    grasps, many = random_grasps(options.seed, GRASPS), random_grasps(options.seed + 1, options.batch)
    for solver in ("exact", "clarabel", "ipopt"):
        grasp_qualities(grasps[:8], solver)  # compiled, loaded, programmes built
    speed = {}
    batch, speed["exact, 1 thread"] = timed(grasp_qualities, many, RUNS)
    _, speed["exact, 2 threads"] = timed(lambda g: grasp_qualities(g, workers=2), many, RUNS)
    exact = grasp_qualities(grasps)
    clarabel, speed["clarabel"] = timed(lambda g: grasp_qualities(g, "clarabel"), grasps, RUNS)
    ipopt, speed["ipopt"] = timed(lambda g: grasp_qualities(g, "ipopt"), grasps)
    epsilons, speed["epsilon"] = timed(lambda g: np.array([epsilon(one) for one in g]), grasps)
    q, closed = np.array([one.q for one in exact]), epsilons > 0
    converged = np.array([one.status == "solved" for one in ipopt])
    balanced = np.array([one.residual <= 1e-2 for one in exact])
    results = {
        "seed": options.seed,
        "grasps": GRASPS,
        "batch": options.batch,
        "certified": float(np.mean([one.status == "solved" for one in batch])),
        "gap_max": max(one.gap for one in batch if one.gap is not None),
        "success": float(np.mean([one.success for one in exact])),
        "balanced": float(balanced.mean()),
        "clarabel": differences(clarabel, exact, np.array([one.status == "solved" for one in clarabel])),
        "ipopt": {**differences(ipopt, exact, converged), "converged": float(converged.mean())},
        "spearman_epsilon": spearmanr(q, epsilons).statistic,
        "spearman_epsilon_force_closure": spearmanr(q[closed], epsilons[closed]).statistic,
        "force_closure": float(closed.mean()),
        "speed": {
            name: {**rate, f"minutes_for_{PROJECTED}": PROJECTED / rate["per_second"] / 60} for name, rate in speed.items()
        },
    }
    path = Path(__file__).parent / "results" / "quality.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
