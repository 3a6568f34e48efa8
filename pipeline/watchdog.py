"""A limit for client calls that have none.

kafka-python waits without a limit in commit_transaction(), in send_offsets_to_transaction() and, when a
rebalance goes wrong, in poll(). Nothing inside of the process can end such a call, so the process replaces
itself: what was not committed is aborted by the broker, and the new one begins at the committed offsets.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.status import say

LOOK_EVERY_SECONDS = 0.5
RESTARTED = "RESTARTED_BY_WATCHDOG"


def is_restart() -> bool:
    """Tell whether this process replaced one that hung."""
    return RESTARTED in os.environ


class Watchdog:
    """Restarts the process when a watched call takes longer than the limit.

    It is armed only while a client call runs: an idle topic or a terminal that was stopped with Ctrl-S are
    no reason to restart.
    """

    def __init__(self, limit: float, ready: Callable[[], bool]) -> None:
        """Start watching.

        Args:
            limit: seconds that a call may take.
            ready: whether a new process could connect; it is not started before.
        """
        self._limit = limit
        self._ready = ready
        self._watched: tuple[str, float] | None = None
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """Watch the calls inside of the with block.

        Args:
            call: their name, for the line that is printed when they hang.
        """
        self._watched = (call, time.monotonic() + self._limit)
        try:
            yield
        finally:
            self._watched = None

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            watched = self._watched
            if watched and time.monotonic() > watched[1] and self._ready() and self._watched is watched:
                say(f"{watched[0]} did not return within {self._limit:.0f} s, starting this process anew.")
                os.environ[RESTARTED] = "yes"
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
