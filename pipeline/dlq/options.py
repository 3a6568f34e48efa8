"""The command line of dlq.py: four commands and their options."""

import argparse
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from pipeline.cli.options import add_connection, option_parser, rate, whole_number
from pipeline.cli.status import add_log_level
from pipeline.dlq.letters import Filter
from pipeline.schema import SOURCES

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MAX_ATTEMPTS = 3
COMMANDS = {
    "list": "a line for each letter, oldest first: time, place, attempt, reason, value",
    "stats": "how many letters per source and reason, when the first and when the last",
    "show": "everything about one letter, its value in full",
    "replay": "replay letters to their source, each once",
}

Command = Callable[..., None]


def parse_options(
    description: str, examples: str, *, listing: Command, stats: Command, show: Command, replay: Command
) -> Any:  # noqa: ANN401, argparse's namespace
    """Parse the command line.

    Args:
        description: the script's docstring, for --help.
        examples: command lines for --help, one a line.
        listing, stats, show, replay: the function of each command; that of the chosen one becomes the
            attribute `run` of the result.

    Returns:
        The options, with the Filter that they describe as `wanted`.
    """
    parser = option_parser(description, examples)
    commands = parser.add_subparsers(required=True, metavar="list | stats | show | replay")
    for_list, for_stats, for_show, for_replay = (
        commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for name, text in COMMANDS.items()
    )
    for command, run in (for_list, listing), (for_stats, stats), (for_show, show), (for_replay, replay):
        command.set_defaults(run=run)
        # Allowed before the command and behind it: a default here would overrule the value before it.
        add_connection(command, default=argparse.SUPPRESS)
        add_log_level(command)
    for command in for_list, for_stats, for_replay:
        command.add_argument("--source", choices=SOURCES, help="only letters of this source")
        command.add_argument("--reason", metavar="TEXT", help="only where the reason contains this")
        command.add_argument(
            "--since", type=moment, metavar="WHEN",
            help="only what failed since: 90s, 10m, 2h, 3d ago, or 2026-11-22T10:00 (local; UTC with a Z)",
        )  # fmt: skip
    for command in for_list, for_replay:
        command.add_argument(
            "--limit", type=whole_number(), metavar="N", help="at most N letters, oldest first"
        )
    for command in for_list, for_stats:
        command.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")

    for_show.add_argument(
        "place", type=place, metavar="TOPIC:PARTITION:OFFSET",
        help="its place in the source or in the queue; or as list prints it: TOPIC[PARTITION]@OFFSET",
    )  # fmt: skip

    for_replay.add_argument(
        "--dry-run", action="store_true", help="say what would be sent where, send nothing"
    )
    for_replay.add_argument(
        "--edit",
        type=shell_command,
        metavar="COMMAND",
        help="send the output of this shell command, whose input is the value (at most 60 s for each)",
    )
    for_replay.add_argument(
        "--max-attempts", type=whole_number(1), default=MAX_ATTEMPTS, metavar="N",
        help="leave out letters with as many attempts (default: %(default)s)",
    )  # fmt: skip
    for_replay.add_argument(
        "--rate", type=rate, default=0.0, metavar="R",
        help="letters per second, 0 for as fast as it goes (default: 0)",
    )  # fmt: skip

    options = parser.parse_args()
    given = vars(options)
    options.wanted = Filter(given.get("source"), given.get("reason"), given.get("since"))
    return options


def shell_command(text: str) -> str:
    """Parse a shell command.

    Raises:
        argparse.ArgumentTypeError: it is empty, such as a shell variable that is not set.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("there is no command")
    return text


def moment(text: str) -> datetime:
    """Parse a point in time: `10m` (s, m, h, d) ago, or a date or time of ISO 8601, local without an offset.

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    try:
        if ago := re.fullmatch(r"(\d+)([smhd])", text, re.ASCII):
            return datetime.now(timezone.utc) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-11-22T10:00 nor an age such as 90s, 10m, 2h or 3d"
        ) from error


def place(text: str) -> str:
    """Parse TOPIC:PARTITION:OFFSET or TOPIC[PARTITION]@OFFSET, and return the latter.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    match = re.fullmatch(r"(.+):(\d+):(\d+)|(.+)\[(\d+)]@(\d+)", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not TOPIC:PARTITION:OFFSET")
    topic, partition, offset = filter(None, match.groups())
    return f"{topic}[{partition}]@{offset}"
