"""Does a loop make progress, and if not, should it? Knows no Kafka."""

import os
import time
from collections.abc import Callable

CARRIED = "LIVENESS_BEFORE_RESTART"  # over a restart by the watchdog
RECENT_SECONDS = 15.0


class Liveness:
    """Judges a loop that reads and processes events.

    It is stuck when one of its calls does not return, or when there are events to read and none is processed.
    While it waits for a service that is unreachable, it is not stuck: a new process could do no more.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now, or where the process stood that this one replaced.

        Args:
            limit: seconds after which a loop counts as stuck.
            clock: the same for a process that replaces this one, as time.monotonic() is.
        """
        self._limit, self._clock = limit, clock
        now = clock()
        carried = [float(text) for text in os.environ.pop(CARRIED, "").split()]
        self._progress_at, self._excused_at = carried or (now, now - limit)
        self._step_at = self._progress_at
        self._excuse = ""

    @property
    def seconds_since_progress(self) -> float:
        """Seconds since events were processed, or there were none."""
        return self._clock() - self._progress_at

    def step(self) -> None:
        """One of the loop's calls returned."""
        self._step_at = self._clock()

    def progress(self) -> None:
        """Events were processed, or there are none."""
        self._progress_at = self._clock()

    def excuse(self, reason: str) -> None:
        """The loop can do nothing now.

        Args:
            reason: for a person.
        """
        self._excused_at, self._excuse = self._clock(), reason

    def stuck(self) -> str:
        """Return what the loop fails to do, in words; nothing while it works or has to wait."""
        now = self._clock()
        if now - self._excused_at <= self._limit:
            return ""
        if now - self._step_at > self._limit:
            return f"a call has not returned for {now - self._step_at:.0f} s"
        if now - self._progress_at > self._limit:
            return f"no event was processed for {now - self._progress_at:.0f} s, and there are some to read"
        return ""

    def summary(self) -> str:
        """Return what the loop does, in words."""
        stuck = self.stuck()
        if stuck:
            return f"stuck: {stuck}"
        if self._excused_at > max(self._progress_at, self._clock() - RECENT_SECONDS):
            return f"waiting: {self._excuse}"
        return f"working: last progress {self.seconds_since_progress:.0f} s ago"

    def carry_over(self) -> None:
        """Keep the times for the process that replaces this one."""
        os.environ[CARRIED] = f"{self._progress_at!r} {self._excused_at!r}"
