"""Errors: what happened, what was given, what is allowed, how to fix it."""

from collections.abc import Iterable


class PalpateError(Exception):
    """Root of every error that a user of palpate can cause or meet."""


class UnknownNameError(PalpateError):
    """A name that is not in a closed list; the message lists the allowed ones."""

    def __init__(self, what: str, given: str, allowed: Iterable[str]) -> None:
        """Build the message from the kind of thing, the given name and the allowed names."""
        super().__init__(f"unknown {what} {given!r}; allowed: {', '.join(sorted(allowed))}")


class RecordError(PalpateError):
    """A record (observation, stream, episode, action) that contradicts itself."""


class DataError(PalpateError):
    """A data set or file that cannot be read as what it claims to be; names the file."""


class SchemaError(DataError):
    """A data folder written with another schema version, or no data folder at all."""


class SimulationError(PalpateError):
    """The simulation became invalid (NaN, exploding state)."""


class RunError(PalpateError):
    """A training run folder that is incomplete or does not fit its use."""


class MissingPackageError(PalpateError):
    """An optional package is not installed; the message holds the install line."""
