"""Start, stop and failure of every script: Ctrl-C, one clear line for an error, exit codes."""

import codecs
import gc
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pipeline.cli.status import log, set_up_logging
from pipeline.text import json_escape, printable

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
STOP_SECONDS = 4.0
LAST_LINE_SECONDS = 0.5
MANY_OBJECTS = 200_000  # a batch of 5,000 records has some 60,000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal was closed


class PipelineError(Exception):
    """An error that a user can fix; the message says in one line what was tried and what to do next."""


class Stopped(Exception):
    """The work ended early because a stop was requested."""


class Stop:
    """Ctrl-C, SIGTERM or a closed terminal, as a flag that a loop checks between two steps.

    It is a flag because an exception raised inside a client call would leave the client in an undefined
    state. Some client calls never return (kafka-python waits for a broker without a limit in some places), so
    the process ends by itself a little later: the broker then aborts what was not committed.
    """

    def __init__(self, seconds: float = STOP_SECONDS) -> None:
        """Listen for signals from now on.

        Args:
            seconds: the time the process may take to end after the request.
        """
        self._requested = threading.Event()
        self._seconds = seconds
        # A signal may interrupt the main thread while it holds a lock that a handler would wait for. So the
        # handler does nothing: Python writes a byte to a pipe, and a thread waits for it.
        alarm, self._ring = os.pipe()
        os.set_blocking(self._ring, False)
        threading.Thread(target=self._wait_for, args=(alarm,), name="stop", daemon=True).start()
        threading.Thread(target=self._end_unheard, name="end", daemon=True).start()
        signal.set_wakeup_fd(self._ring)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, lambda *_: None)

    @property
    def requested(self) -> bool:
        """Whether to stop now."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until a stop is requested; return whether it is."""
        return self._requested.wait(seconds)

    def request(self) -> None:
        """Request a stop; the process ends within its time limit."""
        self._requested.set()
        with suppress(BlockingIOError):  # the pipe is full of earlier requests
            os.write(self._ring, b"!")

    def end(self, last_line: str) -> NoReturn:
        """End the process at once, without closing any client.

        Args:
            last_line: a status line that says what was not done.
        """
        log.warning(last_line)
        os._exit(EXIT_DONE)

    def _wait_for(self, alarm: int) -> None:
        os.read(alarm, 1)
        self._requested.set()
        time.sleep(self._seconds)
        self.end("Stopped without waiting any longer.")

    def _end_unheard(self) -> None:
        """End the process also where its last line waits for a terminal that was stopped with Ctrl-S."""
        self._requested.wait()
        time.sleep(self._seconds + LAST_LINE_SECONDS)
        os._exit(EXIT_DONE)


def run(main: Callable[[], None], name: str | None = None) -> None:
    """Call a script's `main` and exit: 0 when done or stopped, 1 with one line on stderr when it failed.

    Args:
        main: does the work.
        name: the command that the user typed, where that is not the file that runs.
    """
    name = name or os.path.basename(sys.argv[0])
    _make_printable()
    set_up_logging()
    # The process ends inside the handlers, by os._exit(): destructors of the clients that main() created
    # would call a broker that is unreachable, and print tracebacks.
    try:
        main()
        sys.stdout.flush()
    except PipelineError as error:
        _fail(name, str(error))
    except KeyboardInterrupt:  # in a command without a Stop
        os._exit(EXIT_INTERRUPTED)
    except (Stopped, BrokenPipeError):  # the latter: `consumer_analytics.py | head`
        with suppress(OSError):
            sys.stdout.flush()
    except OSError as error:  # such as stdout on a full disk
        _fail(name, str(error))
    os._exit(EXIT_DONE)


def nobody_reads() -> bool:
    """Return whether stdout is a pipe whose reader has left, as `head` does; a write would say so, too."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))
    except (OSError, ValueError):  # no file at all
        return False


def collect_garbage_seldom() -> None:
    """Run Python's garbage collector only when far more objects are alive than a batch has.

    By default it scans all records of a batch again and again while the batch grows, and finds nothing:
    records are freed by reference counting, as most objects are. That scan took 10 % of the processor's time.
    """
    gc.freeze()  # imported modules stay
    gc.set_threshold(MANY_OBJECTS)


def _make_printable() -> None:
    """Make any text printable: on a terminal without Korean, and where stdout or stderr was closed."""
    codecs.register_error("escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escape")
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, it stays open
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what the encoding of a terminal lacks, so that JSON stays JSON."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(json_escape, error.object[error.start : error.end])), error.end


def _fail(name: str, message: str) -> NoReturn:
    log.error(printable(f"{name}: {' '.join(message.split())}"))
    with suppress(OSError):  # of earlier lines; a terminal that was stopped takes them later
        sys.stdout.flush()
    os._exit(EXIT_FAILED)
