"""Hardness, roughness and stiffness of real things by touch, on recordings that are no part of the project.

    python benchmarks/hardness_real.py [--shared ../shared/data] [--work DIR] [--only wedge|octopi]

Imports the GelSight Wedge squeezes and the PhysiCLeAR clips into --work (kept and read again next time; by default a folder that is
removed), then runs the experiments of `palpate.recipes.hardness_real` and `hardness_real_wedge`. A set that is absent is left out,
with the reason.
"""

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palpate.data.external.octopi import import_octopi
from palpate.data.external.video import Imported
from palpate.data.external.wedge import import_wedge
from palpate.data.layout import HEAD
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.recipes import hardness_real as real
from palpate.recipes import hardness_real_wedge as squeezes

RESULTS = Path(__file__).resolve().parent / "results" / "hardness_real.json"
SETS = {"wedge": ("gelsight_wedge_compliance", import_wedge), "octopi": ("octopi_physiclear", import_octopi)}


def opened(name: str, shared: Path, work: Path) -> EpisodeReader:
    """The imported set; imports it where that was not done yet."""
    folder, out = shared / SETS[name][0], work / name
    if not (out / HEAD).exists():
        done: Imported = SETS[name][1](folder, out)
        print(f"{name}: {done.episodes} presses; left out {list(done.left_out)}; unlabelled {list(done.unlabelled)}")
    return open_dataset(out)


def wedge(data: EpisodeReader) -> dict[str, Any]:
    found = squeezes.read_squeezes(data)
    onsets, softness = squeezes.onset_rows(found), squeezes.softness_rows(found)
    print("\nContact onset from video against force")
    for row in onsets:
        print(
            f"  {row.reference:38s} {row.within:4.0%} of {row.trials} within {squeezes.NEAR} frames, worst {row.worst} {row.off}"
        )
    print("\nStiffness of gel and object in series [N/mm], median over trials")
    stiffness = squeezes.object_stiffness(found)
    for name, (value, low, high) in sorted(stiffness.items(), key=lambda item: item[1]):
        print(f"  {name:22s} {value / 1e3:5.2f}  ({low / 1e3:.2f} to {high / 1e3:.2f})")
    print("  no number:", {s.take: s.stiffness.reason for s in found if s.stiffness.reason})
    print("\nOrder by an index and by stiffness: Spearman")
    for row in softness:
        o = row.objects
        print(
            f"  {row.index:38s} trials {row.trials:.2f} ({row.n_trials}), objects {o.value:.2f} ({o.low:.2f} to {o.high:.2f}), "
            f"left out in turn {row.left_out:.2f}, {row.separated:.0%} of {row.pairs} separable pairs in order"
        )
    return {
        "onset": [asdict(row) for row in onsets],
        "stiffness_newton_per_metre": stiffness,
        "softness": [asdict(row) for row in softness],
        "trials": [asdict(s) for s in found],
    }


def octopi(data: EpisodeReader) -> dict[str, Any]:
    table = real.read_presses(data)
    print(
        f"\nPhysiCLeAR: {len(table.objects)} clips used; left out: {list(table.left_out)}; unlabelled: {list(table.unlabelled)}"
    )
    problems = Counter(problem for line in table.problems for problem in line.partition(": ")[2].split(", "))
    print("  odd:", dict(problems))
    rows = real.rank_rows(table)
    for row in rows:
        s, a = row.spearman, row.accuracy
        print(
            f"  {row.label:15s} {row.input:20s} Spearman {s.value:5.2f} ({s.low:5.2f} to {s.high:5.2f}), "
            f"accuracy {a.value:.2f} ({a.low:.2f} to {a.high:.2f}), majority {row.majority:.2f}"
        )
    choices = {f"{row.label}, {row.input}": Counter(row.choices).most_common(3) for row in rows}
    print("  chosen most often:", choices)
    return {
        "rows": [asdict(row) for row in rows],
        "clips": len(table.objects),
        "left_out": table.left_out,
        "problems": table.problems,
        "unlabelled": table.unlabelled,
    }


def plain(value: Any) -> Any:
    """JSON has no nan: what is not known becomes null."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared" / "data")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", choices=sorted(SETS))
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, run in {"wedge": wedge, "octopi": octopi}.items():
            if args.only not in (None, name):
                continue
            if not (args.shared / SETS[name][0]).is_dir():
                print(f"{name}: left out, no folder {args.shared / SETS[name][0]}")
                continue
            begun = time.perf_counter()
            results[name] = run(opened(name, args.shared, args.work or Path(temporary)))
            print(f"  {time.perf_counter() - begun:.0f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
