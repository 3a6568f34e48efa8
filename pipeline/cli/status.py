"""Status lines, through logging, on stderr: stdout is for data.

On a terminal a line is just its text. Elsewhere (a container, a service) time and level stand in front of it.
--log-format chooses: that text in both places, or JSON for a collector of logs.
Only a script's run() sets this up; to import a module of ours changes no logger.
"""

import argparse
import json
import logging
import os
import stat
import sys
import time
from contextlib import suppress
from typing import TextIO

from pipeline.text import escape_json

REFRESH_SECONDS = 0.5
CLEAR_LINE = "\r\033[K"
HIDDEN = "[hidden]"
LEVELS = ("debug", "info", "warning", "error")
TEXT, JSON = "text", "json"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"  # in UTC
# For a parent process that shows our lines on a terminal, under our name: bare lines, through its pipe.
BARE_LINES_VARIABLE = "BARE_STATUS_LINES"

log = logging.getLogger("pipeline")
_secrets: set[str] = set()


class _StatusHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable when it runs
    """Writes each line in one piece: other threads and processes write to the same stderr."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.setFormatter(_Text())

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; it takes the place of a Progress."""
        line = super().format(record)
        return f"{CLEAR_LINE}{line}" if Progress.on_screen else line

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore a terminal that was closed; anything else is an error of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Text(logging.Formatter):
    """The message, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return without_secrets(super().format(record))


class _TextWithTime(_Text):
    """Time and level before the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", TIME_FORMAT)
        self.converter = time.gmtime


class _Json(_Text):
    """An object of time, level, script and message, on one line.

    Secrets are hidden in the message, before it becomes JSON: there a quote in a password has a backslash.
    """

    def __init__(self, script: str) -> None:
        super().__init__()
        self._script = script

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = time.strftime(TIME_FORMAT, time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "script": self._script,
            "message": super().format(record),
        }
        return escape_json(json.dumps(line, ensure_ascii=False))


def hide(secret: str) -> None:
    """Print this secret in no status line; a library may log what it sends.

    Args:
        secret: a password or a token; an empty text is none.
    """
    if secret:
        in_bytes = repr(secret.encode())[2:-1]  # as a request is logged
        _secrets.update({secret, in_bytes})


def without_secrets(text: str) -> str:
    """Return text in which the secrets of hide() are hidden."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _ours_or_debug(record: logging.LogRecord) -> bool:
    """The scripts say in one line what a library's own logger says in many, so that is for debugging."""
    return record.name == log.name or logging.getLogger().level == logging.DEBUG


def set_up_logging() -> None:
    """Print status lines from now on; a second call changes nothing."""
    root = logging.getLogger()
    if _handlers():
        return
    handler = _StatusHandler(sys.stderr)
    if not (sys.stderr.isatty() or BARE_LINES_VARIABLE in os.environ):
        handler.setFormatter(_TextWithTime())
    handler.addFilter(_ours_or_debug)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _handlers() -> list[_StatusHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _StatusHandler)]


def add_log_level(parser: argparse.ArgumentParser) -> None:
    """Add the options --log-level and --log-format."""
    parser.add_argument(
        "--log-level", action=_SetLevel, choices=LEVELS, metavar="LEVEL",
        help=f"least important status lines to print: {', '.join(LEVELS)} (default: info)",
    )  # fmt: skip
    parser.add_argument(
        "--log-format", action=_SetFormat, choices=(TEXT, JSON), metavar="FORMAT",
        help="text: time and level before each status line; json: one object a line "
        "(default: text, on a terminal without time and level)",
    )  # fmt: skip


class _SetLevel(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.Namespace,
        level: object,
        flag: str | None = None,
    ) -> None:
        """Apply it at once, and keep it for a parent that passes it on."""
        setattr(options, self.dest, level)
        logging.getLogger().setLevel(str(level).upper())


class _SetFormat(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.Namespace,
        format_: object,
        flag: str | None = None,
    ) -> None:
        """Apply it at once, and keep it for a parent that passes it on."""
        setattr(options, self.dest, format_)
        for handler in _handlers():
            handler.setFormatter(_Json(os.path.basename(sys.argv[0])) if format_ == JSON else _TextWithTime())


class Progress:
    """A counter on a line of its own, where stderr is a terminal and stdout goes to a file.

    Not where stdout is a pipe: behind `| tee` or `| grep` is the same terminal.
    """

    on_screen = False

    def __init__(self, what: str) -> None:
        """Start at zero.

        Args:
            what: the words behind the number, such as "events sent".
        """
        self.count = 0
        self._what = what
        self._shown = sys.stderr.isatty() and _is_file(sys.stdout) and log.isEnabledFor(logging.INFO)
        self._next = 0.0

    def add(self, number: int = 1) -> None:
        """Count."""
        self.count += number
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + REFRESH_SECONDS
            Progress.on_screen = True
            with suppress(OSError):  # the terminal was closed
                print(f"{self.count:,} {self._what}\r", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the counter, so that the next status line stands alone."""
        if Progress.on_screen:
            Progress.on_screen = False
            with suppress(OSError):
                print(CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _is_file(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no file at all
        return False
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())  # the latter: /dev/null
