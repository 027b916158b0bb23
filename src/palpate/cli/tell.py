"""How commands speak: lines on the terminal, figures in a JSON file."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write figures to a file, if one was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
