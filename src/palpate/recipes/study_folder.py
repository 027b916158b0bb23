"""The folder of a study: finished parts are kept in it, so that an interrupted study goes on where it was."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from palpate.core.errors import RunError


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note a study's settings (JSON values, paths and tuples of them) in its folder.

    Raises:
        RunError: the folder holds a study with other settings.
    """
    path = folder / "settings.json"
    text = json.dumps(settings, indent=1, default=lambda place: str(Path(place).resolve())) + "\n"
    if path.exists() and json.loads(path.read_text()) != json.loads(text):
        raise RunError(f"{folder} holds a study with other settings; choose another folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """Return the JSON value in a file, or make it and keep it there."""
    if path.exists():
        return json.loads(path.read_text())
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(made))
    temporary.replace(path)  # in one move: what exists is complete
    return made


def slug(name: str) -> str:
    """Return the name of a row as that of a file."""
    return "".join(c if c.isalnum() else "-" for c in name)
