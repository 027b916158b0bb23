"""The workers of `palpate.recipes.workers` on a Ray cluster: one actor a core, replaced before its memory grows."""

import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeVar

from palpate.core.errors import MissingPackageError, PalpateError
from palpate.recipes.workers import DEATHS, LIFETIME

Result = TypeVar("Result")


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5.0).close()


class _Worker:
    """Lives in an actor."""

    def __init__(self, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        start(*arguments)

    def call(self, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        return function(*task)


class RayWorkers:
    """Actors on the cluster at `address` that each call `start(*arguments)` once."""

    def __init__(
        self,
        address: str,
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        count: int | None = None,
        lifetime: int = LIFETIME,
    ) -> None:
        """Connect.

        Args:
            address: of the cluster, as `ray.init` takes it: `auto`, `local` or `HOST:PORT`.
            start: called once in each actor; palpate must be installed on every node.
            arguments: of `start`.
            count: actors; None is one for each CPU of the cluster.
            lifetime: tasks after which an actor is replaced.

        Raises:
            MissingPackageError: Ray is not installed.
            PalpateError: there is no cluster at that address.
        """
        try:
            self._ray: Any = import_module("ray")
        except ImportError as error:
            raise MissingPackageError("--ray needs the package ray: pip install 'palpate[ray]'") from error
        self._connected = not self._ray.is_initialized()
        if self._connected:
            try:
                _knock(address)
                self._ray.init(address=address, log_to_driver=False, configure_logging=False)
            except (OSError, ValueError, RuntimeError) as error:
                raise PalpateError(
                    f"--ray {address}: no Ray cluster answers there ({error}); start one with `ray start --head`, or give auto or HOST:PORT"
                ) from error
        self._make = self._ray.remote(num_cpus=1)(_Worker)
        self._given, self._lifetime = (start, arguments), lifetime
        self._count = count or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._actors: list[Any] = [None] * self._count
        self._done = [0] * self._count

    def run(self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Call `function(*task)` for every task and yield the results in order.

        Raises:
            PalpateError: actors died again and again over the same task.
        """
        waiting: deque[tuple[int, int, Any]] = deque()  # task, actor, promise
        ahead = 2 * self._count
        following = 0
        while waiting or following < len(tasks):
            while following < len(tasks) and len(waiting) < ahead:
                waiting.append((following, *self._give(following % self._count, function, tasks[following])))
                following += 1
            number, actor, promise = waiting.popleft()
            yield self._fetch(actor, promise, function, tasks[number])

    def _fetch(self, actor: int, promise: Any, function: Callable[..., Result], task: tuple[Any, ...]) -> Result:
        for _ in range(DEATHS):
            try:
                return self._ray.get(promise)
            except self._ray.exceptions.RayActorError:
                self._actors[actor] = None
                actor, promise = self._give(actor, function, task)
        raise PalpateError(
            f"Ray actors died {DEATHS} times over one task (killed, or out of memory); what is finished is on disk. "
            "Run the same command with --resume"
        )

    def _give(self, actor: int, function: Callable[..., Any], task: tuple[Any, ...]) -> tuple[int, Any]:
        """Return the actor's number and its promise of the result."""
        if self._actors[actor] is None or self._done[actor] >= self._lifetime:
            self._actors[actor] = self._make.remote(*self._given)  # the old one ends with its last promise
            self._done[actor] = 0
        self._done[actor] += 1
        return actor, self._actors[actor].call.remote(function, task)

    def __enter__(self) -> Self:
        """Return the workers themselves."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Let the actors go, and the cluster if it was reached here."""
        self._actors = [None] * self._count
        if self._connected:
            self._ray.shutdown()
