"""The options that scripts share, and how their values are read."""

import argparse
import os
from collections.abc import Callable

from pipeline.connection import DEFAULT_SERVERS, SERVERS_VARIABLE, parse_servers

SLOWEST_RATE = 0.001


def option_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """Give a parser with the options that all scripts share.

    Args:
        description: what the script does, its docstring.
        examples: command lines, one a line.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_servers(parser, default=os.environ.get(SERVERS_VARIABLE) or DEFAULT_SERVERS)
    return parser


def whole_number(least: int = 0, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Give the reader of an option's value that counts something.

    Args:
        least: the smallest value it takes.
        most: the largest one.
    """

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def group_name(text: str) -> str:
    """Read the name of a consumer group.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("a group needs a name")
    return text


def rate(text: str) -> float:
    """Read a number per second, 0 for as fast as it goes.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    number = _number(text)
    if number != 0 and not SLOWEST_RATE <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a number from {SLOWEST_RATE} on")
    return number


def share(text: str) -> float:
    """Read a share of a whole, 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is not one.
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
    """Add --bootstrap-servers.

    Args:
        parser: gets it.
        default: its value where it is not given.
    """
    parser.add_argument(
        "--bootstrap-servers",
        type=_servers_option,
        default=default,
        metavar="HOST:PORT[,HOST:PORT]",
        help=f"the brokers (default: ${SERVERS_VARIABLE}, else {DEFAULT_SERVERS})",
    )


def _servers_option(text: str) -> str:
    try:
        parse_servers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text.replace(" ", "")
