"""Calls that can't be interrupted, such as reading stdin: they are left behind when a stop is requested."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from pipeline.cli.process import Stop, Stopped

LOOK_SECONDS = 0.1

Result = TypeVar("Result")


class Patience:
    """Waits for calls, until a stop is requested."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._worker = ThreadPoolExecutor(1)  # run() ends the process without waiting for it

    def call(self, work: Callable[[], Result]) -> Result:
        """Return what a call returns, or raise what it raises.

        Raises:
            Stopped: a stop was requested. The call goes on in the background; call nothing after it.
        """
        future = self._worker.submit(work)
        while not wait({future}, LOOK_SECONDS).done:
            if self._stop.requested:
                raise Stopped
        return future.result()
