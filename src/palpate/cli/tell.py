"""How commands speak: lines on the terminal, figures in a JSON file."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palpate.data.external.video import Imported
from palpate.data.reader import open_dataset


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write figures to a file, if one was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


def data_summary(folder: Path) -> str:
    """Return what a data set holds, as lines."""
    summary = open_dataset(folder).summary()
    lines = [
        f"{summary['episodes']} episodes, task {summary['task']}, {summary['size_bytes'] / 1e6:.0f} MB, schema {summary['schema_version']}"
    ]
    for name, stream in summary["streams"].items():
        rate = "single moments" if stream["rate_hz"] is None else f"{stream['rate_hz']:g} Hz"
        lines.append(
            f"  {name:22s} {stream['kind']:7s} {tuple(stream['shape'])!s:16s} {rate}, in {stream['present_in']} episodes"
        )
    for name, label in summary["labels"].items():
        counts = ", ".join(f"{value} {count}" for value, count in label.items())
        lines.append(f"  label {name:20s} {counts}")
    for kind, count in summary["groups"].items():
        lines.append(f"  group {kind:20s} {count} different")
    lines += [f"  {key}: {summary[key]}" for key in ("missing", "damaged", "duplicates") if summary[key] not in ([], "none")]
    return "\n".join(lines)


def tell_import(imported: Imported) -> None:
    """Say what was imported, and what was not."""
    say(data_summary(imported.out))
    for line in imported.left_out:
        say(f"  left out: {line}")
    if imported.unlabelled:
        say(f"  without label, and never scored: {', '.join(imported.unlabelled)}")
    for note in imported.notes:
        say(f"  note: {note}")
