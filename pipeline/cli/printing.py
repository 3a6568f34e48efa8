"""Lines on stdout that hold nothing up: they are printed in a thread of their own."""

import threading
from collections.abc import Sequence

from pipeline.cli.process import Stop

MOST_CHARACTERS = 256 * 1024  # may wait to be printed; print() waits where there are more
LAST_LINES_SECONDS = 1.0


class Printer:
    """Prints lines in order; leaving it as a context manager waits for the last one.

    A terminal that was stopped with Ctrl-S, or a slow reader of a pipe, takes no more lines: a loop that
    prints by itself would miss its deadlines in its consumer group. Lines that still wait when the process is
    ended by force are not printed.
    """

    def __init__(self, stop: Stop) -> None:
        """Start the thread.

        Args:
            stop: requested when nothing can be printed any more: the reader left, or the disk is full.
        """
        self._stop = stop
        self._waiting: list[str] = []
        self._characters = 0
        self._closed = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="print", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Printer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # An error has to be reported, also where nothing can be printed.
        self._thread.join(None if kind is None else LAST_LINES_SECONDS)
        if self._error is not None and kind is None:
            raise self._error

    def print(self, lines: Sequence[str]) -> None:
        """Print lines, soon."""
        if not lines:
            return
        text = "\n".join(lines)
        with self._changed:
            self._changed.wait_for(lambda: self._characters < MOST_CHARACTERS)
            self._waiting.append(text)
            self._characters += len(text)
            self._changed.notify_all()

    def _work(self) -> None:
        while (text := self._next()) is not None:
            try:
                print(text, flush=True)
            except OSError as error:
                self._error = error
                self._stop.request()

    def _next(self) -> str | None:
        """Take all that waits; None when that was all."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            text = "\n".join(self._waiting)
            self._waiting, self._characters = [], 0
            self._changed.notify_all()
            return text
