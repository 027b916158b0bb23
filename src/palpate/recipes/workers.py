"""Worker processes that make trials: started once, one thread each, results in order."""

import gc
import multiprocessing as mp
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2
from threadpoolctl import threadpool_limits

from palpate.core.errors import PalpateError

Result = TypeVar("Result")


def prepare_worker() -> None:
    """Make this process a good worker: one thread, no needless garbage collection, Ctrl-C left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the workers share the cores already; threads of their own make each trial half as slow again
    threadpool_limits(1)
    # A trial makes thousands of small arrays, none in a cycle: looking through them again and again costs 4 % of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def make_pool(workers: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> ProcessPoolExecutor | None:
    """Return a pool whose processes each call `start(*arguments)` once; with one worker None, and this process is the worker.

    Raises:
        PalpateError: fewer than one worker.
    """
    if workers < 1:
        raise PalpateError(f"--workers {workers}: at least 1 is needed")
    if workers == 1:
        handler = signal.getsignal(signal.SIGINT)
        start(*arguments)
        signal.signal(signal.SIGINT, handler)
        return None
    return ProcessPoolExecutor(workers, mp_context=mp.get_context("spawn"), initializer=start, initargs=arguments)


def run_in_order(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], pool: ProcessPoolExecutor | None
) -> Iterator[Result]:
    """Call `function(*task)` for every task, in the pool or here if there is none, and yield the results in order.

    Raises:
        PalpateError: a worker process died.
    """
    if pool is None:
        for task in tasks:
            yield function(*task)
        return
    try:
        yield from pool.map(function, *zip(*tasks, strict=True))
    except BrokenProcessPool as error:
        raise PalpateError(
            "a worker process died (killed, or out of memory); what is finished is on disk. "
            "Run the same command with --resume, with fewer --workers if memory is short"
        ) from error
