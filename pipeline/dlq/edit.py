"""Pipes a value through a shell command of the user."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from pipeline.text import printable

NO_SUCH_COMMAND = (126, 127)  # POSIX, Shell Command Language, 2.8.2
LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.2


class EditFailedError(Exception):
    """The command returned no new value; the message is the reason, on one line, in printable characters."""


class NoSuchCommandError(EditFailedError):
    """The shell did not find the command, or can't run it."""


def edited(command: str, value: bytes | None, stopped: Callable[[], bool]) -> bytes:
    """Return what a command prints when it reads a value.

    Args:
        command: a shell command; it must exit with 0.
        value: its input; for a null value nothing.
        stopped: whether to end the command early.

    Returns:
        Its output. A line feed at the end is dropped, as most commands add one, unless the value has one.

    Raises:
        NoSuchCommandError: most likely there is no such command.
        EditFailedError: it fails, prints nothing, takes longer than LIMIT_SECONDS, or is stopped.
    """
    original = value or b""
    # In a session of its own: Ctrl-C is not for it, and all processes that it starts can be ended together.
    with subprocess.Popen(
        command, shell=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        printed, errors = _communicate(process, original, stopped)
    if process.returncode:
        failure = NoSuchCommandError if process.returncode in NO_SUCH_COMMAND else EditFailedError
        raise failure(_failure(process.returncode, errors))
    new = printed if original.endswith(b"\n") else printed.removesuffix(b"\n")
    if not new:
        raise EditFailedError("it printed nothing")
    return new


def _communicate(
    process: "subprocess.Popen[bytes]", value: bytes, stopped: Callable[[], bool]
) -> tuple[bytes, bytes]:
    give_up = time.monotonic() + LIMIT_SECONDS
    unsent: bytes | None = value
    while True:
        try:
            return process.communicate(unsent, timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            unsent = None
            if stopped() or time.monotonic() > give_up:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise EditFailedError(f"it did not end within {LIMIT_SECONDS:.0f} s") from None


def _failure(code: int, errors: bytes) -> str:
    end = f"exit code {code}" if code > 0 else f"signal {-code}"
    lines = errors.decode(errors="backslashreplace").splitlines()
    return f"{end}: {printable(lines[-1])}" if lines else end
