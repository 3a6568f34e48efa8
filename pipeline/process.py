"""How every script starts, stops and fails: Ctrl-C, one clear line for an error, exit codes."""

import codecs
import gc
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from kafka.errors import KafkaError

from pipeline.status import say
from pipeline.text import json_escape, printable

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
STOP_SECONDS = 4.0
TELL_SECONDS = 0.5
MANY_OBJECTS = 200_000  # a batch of 5,000 records has some 60,000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal was closed


class PipelineError(Exception):
    """Something a user can mend; the message says in one line what was tried and what to do."""


class Stopped(Exception):
    """A stop was requested, and what was going on has ended because of it."""


class Stop:
    """Ctrl-C, SIGTERM or a closed terminal, as a flag that a loop looks at between two steps.

    A flag, because an exception raised inside of a client call would leave the client in a state that nobody
    planned. For the call that never returns (kafka-python waits for a broker without a limit in some places)
    the process ends by itself a little later: the broker then aborts what was not committed.
    """

    def __init__(self, seconds: float = STOP_SECONDS) -> None:
        """Listen for signals from now on.

        Args:
            seconds: how long the process may take to end once it is asked to.
        """
        self._requested = threading.Event()
        self._seconds = seconds
        # A signal interrupts the main thread anywhere, also where it holds a lock that whatever a handler
        # calls would wait for. So the handler does nothing: Python writes a byte, and a thread waits for it.
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
        """Sleep, but no longer than until a stop is requested; give back whether it is."""
        return self._requested.wait(seconds)

    def request(self) -> None:
        """Ask the loop to end, and see to it that the process does."""
        self._requested.set()
        with suppress(BlockingIOError):  # it was rung often enough
            os.write(self._ring, b"!")

    def end(self, last_words: str) -> NoReturn:
        """End the process at once; a client that waits for a broker is not asked.

        Args:
            last_words: what the user should know about it.
        """
        say(last_words)
        os._exit(EXIT_DONE)

    def _wait_for(self, alarm: int) -> None:
        os.read(alarm, 1)
        self._requested.set()
        time.sleep(self._seconds)
        self.end("Stopped without waiting any longer.")

    def _end_unheard(self) -> None:
        """End the process also where its last words wait for a terminal that was stopped with Ctrl-S."""
        self._requested.wait()
        time.sleep(self._seconds + TELL_SECONDS)
        os._exit(EXIT_DONE)


def run(main: Callable[[], None], name: str | None = None) -> None:
    """Call a script's `main` and exit: 0 when done or stopped, 1 with one line on stderr when it failed.

    Args:
        main: does the work.
        name: what the user called, where that is not the file that runs.
    """
    name = name or os.path.basename(sys.argv[0])
    _make_printable()
    # Not sys.exit(), and not behind the handlers: the clients that main() made would go, and their
    # destructors call a broker that is away, and print tracebacks.
    try:
        main()
        sys.stdout.flush()
    except PipelineError as error:
        _fail(name, str(error))
    except KafkaError as error:
        _fail(name, f"Kafka refused: {error}")
    except KeyboardInterrupt:  # in a command that has no Stop
        os._exit(EXIT_INTERRUPTED)
    except (Stopped, BrokenPipeError):  # or the reader left: `consumer_analytics.py | head`
        with suppress(OSError):
            sys.stdout.flush()
    except OSError as error:  # of what is not Kafka, such as stdout on a full disk
        _fail(name, str(error))
    os._exit(EXIT_DONE)


def collect_garbage_seldom() -> None:
    """Let Python's garbage collector look around only when much more is alive than a batch has.

    By default it looks at all records of a batch again and again while the batch grows, and finds nothing:
    they go when nobody refers to them any more, as most objects do.
    """
    gc.freeze()  # what was imported stays
    gc.set_threshold(MANY_OBJECTS)


def _make_printable() -> None:
    """Print whatever comes: in a terminal that knows no Korean, and into a stdout that was closed."""
    codecs.register_error("escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escape")
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, it stays open


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what a terminal's encoding does not have so that JSON stays JSON."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(json_escape, error.object[error.start : error.end])), error.end


def _fail(name: str, message: str) -> NoReturn:
    say(printable(f"{name}: {' '.join(message.split())}"))
    with suppress(OSError):  # what was printed before; a terminal that was stopped takes it when it goes on
        sys.stdout.flush()
    os._exit(EXIT_FAILED)
