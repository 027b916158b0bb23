"""What an import has to say, and the one loop that writes what a reader of strangers' episodes yields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data.external.video import Imported
from palpate.data.writer import EpisodeWriter


@dataclass(kw_only=True)
class Findings:
    """Filled while episodes are read."""

    left_out: list[str] = field(default_factory=list)
    """One line for each recording that could not be read, with the reason."""
    notes: list[str] = field(default_factory=list)
    """What is odd about recordings that were read, and what was assumed."""


def write_episodes(
    out: Path, task: str, config: Mapping[str, Any], episodes: Iterable[Episode], findings: Findings
) -> Imported:
    """Write episodes to a new data folder and return what was done and found.

    Raises:
        DataError: The folder cannot be written, or the reader found nothing it can read.
    """
    done = 0
    with EpisodeWriter.create(out, task=task, config=config) as writer:
        for episode in episodes:
            writer.write(episode)
            done += 1
    return Imported(out=Path(out), episodes=done, left_out=tuple(findings.left_out), unlabelled=(), notes=tuple(findings.notes))


def nothing_read(folder: Path, findings: Findings, hint: str) -> DataError:
    """Return the error for a folder of which nothing could be read."""
    reasons = "\n  ".join(findings.left_out or [hint])
    return DataError(f"{folder}: nothing could be imported:\n  {reasons}")
