"""The four scripts as child processes, their lines in one terminal."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from pipeline.cli.process import Stop
from pipeline.cli.status import BARE_LINES_VARIABLE
from pipeline.local import PROJECT

PROCESSOR, CONSUMER = "stream_processor", "consumer_analytics"
PRODUCERS = ("producer_web", "producer_purchase")
COLORS = {"producer_web": 36, "producer_purchase": 35, PROCESSOR: 33, CONSUMER: 32}
NAME_WIDTH = max(map(len, COLORS))

CHILD_STOP_SECONDS = 6.0
HURRIED_STOP_SECONDS = 2.3  # after Ctrl-C

_terminal = threading.Lock()


class Script:
    """One of the four scripts as a child process, its lines printed under its name."""

    def __init__(self, stop: Stop, name: str, *arguments: str, line_of: Callable[[str], str] = str) -> None:
        """Start it.

        Args:
            stop: requested when nobody reads the output any more.
            name: the script's name without .py.
            arguments: its options.
            line_of: makes the line to show of a line on its stdout.
        """
        self.name = name
        self._stop = stop
        self.process = subprocess.Popen(
            [sys.executable, f"{name}.py", *arguments],
            cwd=PROJECT,
            env=os.environ | {BARE_LINES_VARIABLE: "yes"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; we stop the scripts in order
        )
        assert self.process.stdout
        assert self.process.stderr
        self._readers = [
            threading.Thread(target=self._show, args=(self.process.stdout, line_of)),
            threading.Thread(target=self._show, args=(self.process.stderr, str)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def join(self) -> None:
        """Wait for its end and its last line."""
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def _show(self, stream: IO[bytes], line_of: Callable[[str], str]) -> None:
        prefix = f"{self.name:<{NAME_WIDTH}} │"
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            prefix = f"\033[{COLORS[self.name]}m{prefix}\033[0m"
        for raw in stream:
            line = line_of(raw.decode(errors="backslashreplace").rstrip("\n"))
            try:
                with _terminal:
                    print(f"{prefix} {line}", flush=True)
            except OSError:  # `./run.sh | head`; go on reading, or the script could not end
                self._stop.request()


def stop_scripts(scripts: Sequence[Script], seconds: float) -> None:
    """Stop scripts, and wait so long for their end and their last lines."""
    for script in scripts:
        if script.running:
            script.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for script in scripts:
        with suppress(subprocess.TimeoutExpired):
            script.process.wait(max(0.0, deadline - time.monotonic()))
            script.join()


@contextmanager
def stopped_at_the_end(scripts: Sequence[Script], stop: Stop) -> Iterator[None]:
    """Stop all scripts at the end of the with block, whatever happened in it.

    Args:
        scripts: those that run at its end.
        stop: where it is requested, there is less time for it.
    """
    try:
        yield
    finally:
        stop_scripts(scripts, HURRIED_STOP_SECONDS if stop.requested else CHILD_STOP_SECONDS)
        for script in scripts:
            if script.running:
                script.process.kill()
        for script in scripts:
            script.join()
