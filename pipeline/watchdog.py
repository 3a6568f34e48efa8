"""A limit for client calls that have none.

kafka-python waits without a limit in commit_transaction(), in send_offsets_to_transaction() and, when a
rebalance goes wrong, in poll(). Nothing inside of the process can end such a call, so the process has to end:
what was not committed is aborted by the broker.
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


def restart_process(hang: str) -> None:
    """Let a new process take this one's place; it begins at the committed offsets.

    Args:
        hang: what hangs, for the user.
    """
    say(f"{hang}, starting this process anew.")
    os.environ[RESTARTED] = "yes"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Watchdog:
    """Acts when a watched call takes longer than the limit.

    It is armed only while a client call runs: an idle topic or a terminal that was stopped with Ctrl-S are
    no reason to act.
    """

    def __init__(
        self, limit: float, on_hang: Callable[[str], None], ready: Callable[[], bool] = lambda: True
    ) -> None:
        """Start watching.

        Args:
            limit: seconds that a call may take.
            on_hang: told which call hangs; ends the process.
            ready: whether to act now, such as when a new process could connect.
        """
        self._limit = limit
        self._on_hang = on_hang
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
                self._on_hang(f"{watched[0]} did not return within {self._limit:.0f} s")
