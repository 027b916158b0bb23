"""How long the choice of a regrasp takes, and how good it is: 100,000 random actions against the sampling search.

    python benchmarks/plan.py [--run RUN --data DATA] [--states 12] [--out benchmarks/results/plan.json]

With --run, a net that `palpate train outcome` trained plans in the initial grasps of trials of --data. Without, a net of the
paper's size is trained for a few seconds on a synthetic task that can be learned: stability and gentleness depend on squeeze,
height and place relative to an object that the features encode. All on one CPU thread.
Every chosen action is judged by the same float32 net, whatever net chose it.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from palpate.core.actions import ActionSpace
from palpate.core.units import DEG, MM
from palpate.data.reader import open_dataset
from palpate.learning.batches import Arrays
from palpate.learning.checkpoint import load_run, versions
from palpate.learning.features import FeatureConfig, extract_features
from palpate.learning.loop import TrainConfig, evaluate, fit
from palpate.models.backbones import build_backbone
from palpate.models.outcome import NetScorer, OutcomeNet, OutcomeNetConfig
from palpate.planning.search import ExhaustiveSearch, Objective, Plan, SamplingSearch, Search
from palpate.recipes.outcome_data import MOMENTS, EpisodeViews
from palpate.worlds.hand import action_space

SPACE = ActionSpace(
    motion_low=(-10 * MM, -10 * MM, -10 * MM, -15 * DEG),
    motion_high=(10 * MM, 10 * MM, 10 * MM, 15 * DEG),
    joints=tuple(np.linspace(0.2, 1.1, 16).tolist()),
    active=(5, 6, 7, 13, 14),
    joint_low=(0.6, 0.7, 0.8, 0.5, 0.6),
    joint_high=(0.9, 1.0, 1.1, 0.8, 0.9),
)
IMAGES = ("vision", "touch.thumb", "touch.middle")


def synthetic(rng: np.random.Generator, n: int, mixing: np.ndarray) -> Arrays:
    """Draw n samples whose features mix six hidden numbers: object place (3), yaw, width and fragility."""
    hidden = rng.uniform(-1.0, 1.0, (n, 6))
    features = np.tanh(hidden @ mixing / 2.0) + 0.3 * rng.standard_normal((n, mixing.shape[1]))
    free = rng.uniform(-1.0, 1.0, (n, SPACE.n_free))
    actions = SPACE.vectors(free)
    miss = np.square(free[:, :4] - 0.7 * hidden[:, :4]) @ np.array([0.5, 0.5, 1.0, 0.4])
    squeeze = free[:, 4:] @ np.array([0.9, 0.7, 0.5, 0.8, 0.6]) + 0.8 * hidden[:, 4]
    uneven = np.abs(free[:, 4] - free[:, 7] + 0.5 * hidden[:, 0])
    stable = 2.5 * squeeze - 2.5 * miss - uneven + 0.5
    gentle = 2.5 - 2.5 * squeeze - 1.0 * hidden[:, 5] - 0.8 * miss
    logits = np.stack([stable, gentle], axis=1)
    labels = (rng.random((n, 2)) < 1.0 / (1.0 + np.exp(-1.5 * logits))).astype(np.float32)
    parts = np.split(features.astype(np.float16), 3, axis=1)
    inputs = dict(zip(IMAGES, parts, strict=True)) | {"motion": actions[:, :4], "joints": actions[:, 4:]}
    return Arrays(inputs=inputs, labels=labels)


def real(run: Path, data: Path, n: int) -> tuple[OutcomeNet, list[dict[str, np.ndarray]]]:
    """Return the net of a run and the image features of n initial grasps of a data set."""
    saved = load_run(run)
    net = OutcomeNetConfig.from_dict(saved.net).build()
    net.load_state_dict(dict(saved.weights))
    reader = open_dataset(data)
    inputs = tuple(name for name in net.state_inputs)
    with tempfile.TemporaryDirectory() as folder:  # features of these trials only; the cache of the data set stays as it is
        positions = np.linspace(0, len(reader) - 1, min(n, len(reader))).astype(int)
        views = EpisodeViews(reader, positions, inputs)
        backbone = build_backbone(saved.extra["backbone"])
        features = extract_features(backbone, views, FeatureConfig(size=saved.extra["image_size"]), cache=Path(folder))[0]
    initial = features.reshape(len(positions), len(MOMENTS), len(inputs), -1)[:, MOMENTS.index("initial")]
    return net.eval(), [{name: row[None, i].astype(np.float32) for i, name in enumerate(inputs)} for row in initial]


def trained() -> tuple[OutcomeNet, list[dict[str, np.ndarray]], dict[str, float]]:
    """Return a net trained on the synthetic task, states to plan in, and how well the net predicts held-out samples."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, 3 * 1280))
    train, test = synthetic(rng, 6000, mixing), synthetic(rng, 1000, mixing)
    torch.manual_seed(0)
    net = OutcomeNetConfig().build()
    net.fit_normalisation(train.inputs)
    fit(net, train, TrainConfig(epochs=8, threads=1), progress=True)
    states = [{name: test.inputs[name][i : i + 1] for name in IMAGES} for i in range(len(test))]
    return net, states, evaluate(net, test)


class Naive:
    """Tiles the state over the candidates and runs the whole net, as in the paper."""

    def __init__(self, net: OutcomeNet, batch: int = 5000) -> None:
        self.net, self.batch, self.outcomes = net, batch, net.config.outcomes

    def encode_features(self, arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(value) for name, value in arrays.items()}

    @torch.inference_mode()
    def score(self, state: dict[str, torch.Tensor], actions: np.ndarray) -> np.ndarray:
        out = []
        for start in range(0, len(actions), self.batch):
            part = torch.from_numpy(actions[start : start + self.batch])
            inputs = {name: value.expand(len(part), -1) for name, value in state.items()} | self.net.split(part)
            out.append(torch.sigmoid(self.net(inputs)))
        return torch.cat(out).numpy()


def measure(scorer, search: Search, states: list[dict[str, np.ndarray]], judge: Callable, space: ActionSpace) -> dict:
    """Plan once in each state; times include the encoding of the features."""
    wall, cpu, plans = [], [], []
    if len(states) > 3:
        search(scorer, scorer.encode_features(states[0]), space, np.random.default_rng(99), Objective())
    for i, arrays in enumerate(states):
        start, start_cpu = time.perf_counter(), time.process_time()
        plan = search(scorer, scorer.encode_features(arrays), space, np.random.default_rng(i), Objective())
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        plans.append(judge(arrays, plan))
    return {
        "wall_s": statistics.median(wall),
        "cpu_s": statistics.median(cpu),
        "evaluations": plans[0][2],
        "stable": [p[0] for p in plans],
        "gentle": [p[1] for p in plans],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder of a trained net")
    parser.add_argument("--data", type=Path, help="data set whose initial grasps are the states; with --run")
    parser.add_argument("--states", type=int, default=12)
    parser.add_argument("--naive-states", type=int, default=2, help="the naive method only scores the same candidates, slowly")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "plan.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run and options.data:
        (net, pool), accuracy, space = real(options.run, options.data, 4 * options.states), {}, action_space()
    else:
        (net, pool, accuracy), space = trained(), SPACE
    fp32, bf16 = NetScorer(net), NetScorer(net, "bf16")

    def judge(arrays: dict[str, np.ndarray], plan: Plan) -> tuple[float, float, int]:
        scores = dict(
            zip(net.config.outcomes, fp32.score(fp32.encode_features(arrays), plan.action[None])[0].tolist(), strict=True)
        )
        return scores["stable"], scores["gentle"], plan.n_evaluations

    def can_be_gentle(arrays: dict[str, np.ndarray]) -> bool:
        return SamplingSearch()(fp32, fp32.encode_features(arrays), space, np.random.default_rng(7), Objective()).feasible

    states = [arrays for arrays in pool if can_be_gentle(arrays)][: options.states]
    if not states:
        raise SystemExit("none of the drawn states has an action that is gentle enough; give more --states")
    methods = {
        "naive tiling fp32, 100,000": (Naive(net), ExhaustiveSearch(), states[: options.naive_states]),
        "state once fp32, 100,000": (fp32, ExhaustiveSearch(), states),
        "state once bf16, 100,000": (bf16, ExhaustiveSearch(), states),
        "sampling search fp32": (fp32, SamplingSearch(), states),
        "sampling search bf16": (bf16, SamplingSearch(), states),
    }
    rows = {name: measure(*arguments, judge, space) for name, arguments in methods.items()}
    base = rows["state once fp32, 100,000"]
    print("gain: f_s minus that of the exhaustive fp32 search in the same state, judged by the fp32 net")
    print(f"{'method':30s} {'wall':>9s} {'cpu':>9s} {'scored':>8s} {'speed-up':>9s}   gain mean, sd, min          f_g min")
    for name, row in rows.items():
        gain = np.array(row["stable"]) - np.array(base["stable"])[: len(row["stable"])]
        row |= {"gain_mean": gain.mean(), "gain_sd": gain.std(), "gain_min": gain.min(), "gentle_min": min(row["gentle"])}
        row["speed_up"] = rows["naive tiling fp32, 100,000"]["cpu_s"] / row["cpu_s"]
        print(
            f"{name:30s} {row['wall_s']:8.4f}s {row['cpu_s']:8.4f}s {row['evaluations']:8d} {row['speed_up']:8.1f}x   "
            f"{gain.mean():+.5f} {row['gain_sd']:.5f} {gain.min():+.5f}   {row['gentle_min']:.4f}"
        )
    print(f"f_s of the exhaustive fp32 search: {np.mean(base['stable']):.4f}; held-out {accuracy}")
    processor = next((s.split(":")[1].strip() for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s), "")
    result = {
        "methods": rows,
        "held_out": accuracy,
        "states": len(states),
        "run": str(options.run or "synthetic task"),
        "processor": processor or platform.processor(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result | {"versions": versions()}, indent=2, default=float) + "\n")


if __name__ == "__main__":
    main()
