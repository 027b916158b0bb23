"""Worker processes that make trials: one thread each, results in order, replaced before their memory grows.

A simulator does not give all memory back while its process lives, so a worker lives for a bounded number of tasks ("use a shell script to
execute the python script", Sim2real Multimodal Learning for Dexterous Gripper, Section 3.3: here the pool does that). A worker that dies
takes nothing along: its tasks are done again, and as a task depends on its arguments only, with the same result.
"""

import gc
import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import cv2
from threadpoolctl import threadpool_limits

from palpate.core.errors import PalpateError

Result = TypeVar("Result")

LIFETIME = 500
"""Tasks that a worker does before another process takes its place."""

DEATHS = 3
"""So often may workers die over one task before the collection gives up."""


class Workers(Protocol):
    """Whoever does tasks: processes of this machine or of a cluster."""

    def run(self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Call `function(*task)` for every task and yield the results in order."""
        ...

    def __enter__(self) -> Self:
        """Return the workers themselves."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Dismiss them."""
        ...


def prepare_worker() -> None:
    """Make this process a good worker: one thread, no needless garbage collection, Ctrl-C left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the workers share the cores already; threads of their own make each trial half as slow again
    threadpool_limits(1)
    # A trial makes thousands of small arrays, none in a cycle: looking through them again and again costs 4 % of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _begin(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Begin a worker process, which ends with the process that hired it: after a kill -9 nothing goes on beside a resumed one."""
    parent = mp.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    start(*arguments)


class LocalWorkers:
    """Processes of this machine that each call `start(*arguments)` once; with one worker this process does the work itself."""

    def __init__(self, count: int, start: Callable[..., None], arguments: tuple[Any, ...], lifetime: int | None = None) -> None:
        """Prepare; processes start at the first task.

        Args:
            count: processes.
            start: called once in each.
            arguments: of `start`.
            lifetime: tasks after which a process is replaced; None is never. With one worker nothing is replaced unless it is given.

        Raises:
            PalpateError: fewer than one worker.
        """
        if count < 1:
            raise PalpateError(f"--workers {count}: at least 1 is needed")
        self._count, self._start, self._arguments, self._lifetime = count, start, arguments, lifetime
        self._pool: ProcessPoolExecutor | None = None
        self._done = 0
        self._here = count == 1 and lifetime is None
        if self._here:
            handler = signal.getsignal(signal.SIGINT)
            start(*arguments)
            signal.signal(signal.SIGINT, handler)

    def run(self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Call `function(*task)` for every task and yield the results in order.

        Raises:
            PalpateError: worker processes died again and again over the same task.
        """
        if self._here:
            for task in tasks:
                yield function(*task)
            return
        finished, deaths = 0, 0
        while finished < len(tasks):
            batch = tasks[finished:][: self._room()]
            try:
                for result in self._ready().map(function, *zip(*batch, strict=True)):
                    finished, deaths, self._done = finished + 1, 0, self._done + 1
                    yield result
            except BrokenProcessPool as error:
                deaths += 1
                self._dismiss()
                if deaths == DEATHS:
                    raise PalpateError(
                        f"a worker process died {deaths} times over one task (killed, or out of memory); what is finished is on "
                        "disk. Run the same command with --resume, with fewer --workers if memory is short"
                    ) from error

    def __enter__(self) -> Self:
        """Return the workers themselves."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Dismiss them; tasks that wait are forgotten."""
        self._dismiss()

    def _room(self) -> int | None:
        """Return how many tasks the present processes may still do; None is any number."""
        if self._lifetime is None:
            return None
        whole = self._lifetime * self._count
        if self._done >= whole:
            self._dismiss()
        return whole - self._done

    def _ready(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._done = 0
            self._pool = ProcessPoolExecutor(
                self._count, mp_context=mp.get_context("spawn"), initializer=_begin, initargs=(self._start, self._arguments)
            )
        return self._pool

    def _dismiss(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._done = None, 0


def hire(
    count: int, start: Callable[..., None], arguments: tuple[Any, ...], *, lifetime: int | None = None, ray: str | None = None
) -> Workers:
    """Return workers of this machine, or of the Ray cluster at the address `ray`; see `LocalWorkers` and `RayWorkers`."""
    if ray is None:
        return LocalWorkers(count, start, arguments, lifetime)
    from palpate.recipes.workers_ray import RayWorkers  # noqa: PLC0415 - an optional package behind it

    return RayWorkers(ray, start, arguments, lifetime=lifetime or LIFETIME)
