"""Reading pickles from strangers: plain values and NumPy arrays only, so that no code of theirs runs."""

import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import DataError

ALLOWED = frozenset(
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
)
"""What a pickle may name. NumPy 1 wrote `numpy.core`, NumPy 2 writes `numpy._core`."""


class RestrictedReader(pickle.Unpickler):
    """An unpickler that makes nothing but what `ALLOWED` names."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse everything but what makes NumPy arrays."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run any code")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def load_pickle(path: Path) -> Any:
    """Return the content of a pickle of numbers, text, lists, dicts and NumPy arrays.

    Raises:
        DataError: The file is absent or damaged, or holds anything else; names the file and what it asked for.
    """
    try:
        with path.open("rb") as file:
            return RestrictedReader(file).load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except Exception as error:  # damaged pickles raise nearly anything
        raise DataError(
            f"{path} is refused: {error}. Only numbers, text, lists, dicts and NumPy arrays are read; "
            "if the file is to be trusted, save its arrays again with numpy.save"
        ) from error


def load_series(path: Path) -> np.ndarray:
    """Return a pickled 1-D array of finite numbers as (T,) float64.

    Raises:
        DataError: As `load_pickle`, or the content is something else.
    """
    content = load_pickle(path)
    values = np.asarray(content) if isinstance(content, list | np.ndarray) else np.zeros(())
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise DataError(
            f"{path} holds {type(content).__name__} {values.shape} {values.dtype}; one row of finite numbers is needed"
        )
    return values.astype(np.float64)
