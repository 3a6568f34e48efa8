"""The options that scripts share, and how their values are parsed."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from pipeline.cli.cluster import Cluster, read_cluster
from pipeline.cli.status import add_log_level

DEFAULT_SERVERS = "localhost:9092"
SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
CONFIG_VARIABLE = "KAFKA_CLIENT_CONFIG"
SLOWEST_RATE = 0.001


class OptionParser(argparse.ArgumentParser):
    """A parser with the options of add_connection(); its result has the Cluster that they name."""

    def parse_args(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401, argparse's
        """Parse the command line, and read the file of --config."""
        parsed = super().parse_args(*arguments, **options)
        try:
            parsed.cluster = choose_cluster(parsed.bootstrap_servers, parsed.config)
        except ValueError as error:
            self.error(str(error))
        return parsed


def choose_cluster(servers: str | None = None, config_file: str | None = None) -> Cluster:
    """Return the cluster that options and environment name.

    Args:
        servers: of --bootstrap-servers; else those of the file count, or $KAFKA_BOOTSTRAP_SERVERS.
        config_file: of --config; else $KAFKA_CLIENT_CONFIG.

    Raises:
        ValueError: the file or the servers can't be used.
    """
    if config_file == "":
        raise ValueError("--config names no file")
    config_file = config_file or os.environ.get(CONFIG_VARIABLE)
    try:
        default_servers = _servers(os.environ.get(SERVERS_VARIABLE) or DEFAULT_SERVERS)
    except ValueError as error:
        raise ValueError(f"${SERVERS_VARIABLE} can't be used: {error}") from error
    cluster = read_cluster(config_file, servers, default_servers)
    parse_servers(cluster.servers)
    return cluster


def option_parser(
    description: str, examples: str, group: str | None = None, metrics: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with the options that all Kafka scripts share.

    Args:
        description: the script's docstring, for --help.
        examples: command lines for --help, one a line.
        group: the default of the option --group; None for a script without it.
        metrics: adds the option --metrics-port.
    """
    parser = OptionParser(
        description=description,
        epilog="examples:\n" + "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    add_log_level(parser)
    if group is not None:
        parser.add_argument(
            "--group", type=group_name, default=group, help="consumer group (default: %(default)s)"
        )
    if metrics:
        parser.add_argument(
            "--metrics-port", type=whole_number(1, 65535), metavar="PORT",
            help="serve /metrics for Prometheus and /healthz for a container's probe on this port, at all "
            "addresses of this machine (default: neither; docs/operations.md)",
        )  # fmt: skip
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


def add_connection(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the options --bootstrap-servers and --config.

    Args:
        parser: the parser to add them to.
        default: argparse.SUPPRESS where the options may stand before a command, too.
    """
    parser.add_argument(
        "--bootstrap-servers",
        type=_servers_option,
        default=default,
        metavar="HOST:PORT[,HOST:PORT]",
        help=f"the brokers (default: those of --config, else ${SERVERS_VARIABLE}, else {DEFAULT_SERVERS})",
    )
    parser.add_argument(
        "--config",
        default=default,
        metavar="FILE",
        help=f"client properties: TLS, user and password (default: ${CONFIG_VARIABLE}; docs/security.md)",
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


def _servers(text: str) -> str:
    parse_servers(text)
    return text.replace(" ", "")


def _servers_option(text: str) -> str:
    try:
        return _servers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
