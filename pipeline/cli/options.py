"""The options that scripts share, and how their values are parsed."""

import argparse
import os
from collections.abc import Callable

from pipeline.cli.status import add_log_level

DEFAULT_SERVERS = "localhost:9092"
SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
SLOWEST_RATE = 0.001


def option_parser(description: str, examples: str, group: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all Kafka scripts share.

    Args:
        description: the script's docstring, for --help.
        examples: command lines for --help, one a line.
        group: the default of the option --group; None for a script without it.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_servers(parser, default=os.environ.get(SERVERS_VARIABLE) or DEFAULT_SERVERS)
    add_log_level(parser)
    if group is not None:
        parser.add_argument(
            "--group", type=group_name, default=group, help="consumer group (default: %(default)s)"
        )
    return parser


def producer_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser with the options of a producer of made-up events.

    Args:
        description: the script's docstring, for --help.
        examples: command lines for --help, one a line.
    """
    parser = option_parser(description, examples)
    parser.add_argument(
        "--count", type=whole_number(), metavar="N", help="how many events (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--rate", type=rate, default=1.0, metavar="R",
        help="events per second, 0 for as fast as it goes (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--broken", type=share, default=0.2, metavar="F", help="share of broken events, 0 to 1 (default: 0.2)"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="the same events again for the same number")
    parser.add_argument("--json", action="store_true", help="one JSON object for each event that was sent")
    return parser


def whole_number(least: int = 0, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Return the parser of an option's value that counts something.

    Args:
        least: the smallest value allowed.
        most: the largest value allowed.
    """

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return parse


def group_name(text: str) -> str:
    """Parse the name of a consumer group.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("a group needs a name")
    return text


def rate(text: str) -> float:
    """Parse a number per second, 0 for as fast as it goes.

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    number = _number(text)
    if number != 0 and not SLOWEST_RATE <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a number from {SLOWEST_RATE} on")
    return number


def share(text: str) -> float:
    """Parse a share of a whole, 0 to 1.

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error


def add_servers(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option --bootstrap-servers.

    Args:
        parser: the parser to add it to.
        default: the value where the option is missing.
    """
    parser.add_argument(
        "--bootstrap-servers",
        type=_servers_option,
        default=default,
        metavar="HOST:PORT[,HOST:PORT]",
        help=f"the brokers (default: ${SERVERS_VARIABLE}, else {DEFAULT_SERVERS})",
    )


def parse_servers(text: str) -> list[tuple[str, int]]:
    """Parse bootstrap servers.

    Args:
        text: HOST:PORT, several separated by commas.

    Raises:
        ValueError: one of them is not HOST:PORT.
    """
    parsed = []
    for server in text.split(","):
        host, _, port = server.strip().rpartition(":")
        if (
            not host
            or "/" in host
            or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536)
        ):
            raise ValueError(f"{server!r} is not HOST:PORT")
        parsed.append((host.strip("[]"), int(port)))
    return parsed


def _servers_option(text: str) -> str:
    try:
        parse_servers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text.replace(" ", "")
