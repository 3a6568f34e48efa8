"""A time limit for client calls that have none.

kafka-python waits without a limit in commit_transaction(), in send_offsets_to_transaction() and, when a
rebalance goes wrong, in poll(). Nothing inside the process can end such a call, so the process has to end:
the broker aborts what was not committed.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.cli.status import log

HANG_SECONDS = 20.0  # more than any time-out of the clients: max_poll_interval_ms, transaction_timeout_ms
CHECK_EVERY_SECONDS = 0.5
RESTARTED = "RESTARTED_BY_WATCHDOG"  # how often, for the process that takes this one's place


def is_restart() -> bool:
    """Return whether this process replaced one that hung."""
    return restarts() > 0


def restarts() -> int:
    """Return how often restart_process() has replaced this process."""
    return int(os.environ.get(RESTARTED, 0))


def restart_process(hang: str) -> None:
    """Replace this process by a new one, which continues from the committed offsets.

    Args:
        hang: what hangs, for the user.
    """
    log.warning(f"{hang}; restarting this process.")
    os.environ[RESTARTED] = str(restarts() + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Watchdog:
    """Acts when watched calls take longer than the limit.

    It is armed only while client calls run: an idle topic, or a terminal that was stopped with Ctrl-S, is no
    reason to act.
    """

    def __init__(
        self, limit: float, on_hang: Callable[[str], None], ready: Callable[[], bool] = lambda: True
    ) -> None:
        """Start watching.

        Args:
            limit: seconds that the calls in one with block may take together.
            on_hang: called with a sentence that names the calls; ends the process.
            ready: whether to act now, for example because a new process could connect.
        """
        self._limit = limit
        self._on_hang = on_hang
        self._ready = ready
        self._watched: tuple[str, float] | None = None
        threading.Thread(target=self._check, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, calls: str) -> Iterator[None]:
        """Watch the calls inside the with block.

        Args:
            calls: their name, for the line that reports a hang.
        """
        self._watched = (calls, time.monotonic() + self._limit)
        try:
            yield
        finally:
            self._watched = None

    def _check(self) -> None:
        while True:
            time.sleep(CHECK_EVERY_SECONDS)
            watched = self._watched
            if watched and time.monotonic() > watched[1] and self._ready() and self._watched is watched:
                self._on_hang(f"{watched[0]} did not return within {self._limit:.0f} s")
