"""Lines about the work, on stderr: stdout is for data."""

import sys
import time
from contextlib import suppress

REFRESH_SECONDS = 0.5


def say(line: str) -> None:
    """Print a line on stderr at once; a terminal that was closed is no reason to fail."""
    with suppress(OSError):  # the line's end is no write of its own: other threads say things, too
        print(f"{line}\n", end="", file=sys.stderr, flush=True)


class Progress:
    """A counter on a line of its own, where stderr is a terminal and stdout, which shows it all, is not."""

    def __init__(self, what: str) -> None:
        """Start at zero.

        Args:
            what: the words behind the number, such as "events sent".
        """
        self.count = 0
        self._what = what
        self._shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._next = 0.0

    def add(self, number: int = 1) -> None:
        """Count."""
        self.count += number
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + REFRESH_SECONDS
            print(f"\r{self.count:,} {self._what}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the line; what is said next stands alone."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
