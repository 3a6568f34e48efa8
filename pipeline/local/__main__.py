"""Real Apache Kafka with nothing installed but Python.

    python -m pipeline.local start               one broker on localhost:9092
    python -m pipeline.local start --brokers 3   three, on 9092, 9093 and 9094
    python -m pipeline.local status
    python -m pipeline.local exec kafka-topics --bootstrap-server localhost:9092 --list
    python -m pipeline.local stop

It listens on 127.0.0.1 alone and keeps its data and logs in .kafka/ until that folder is deleted.
"""

import argparse
import os
import sys

from pipeline.cli.options import whole_number
from pipeline.cli.process import run
from pipeline.cli.status import add_log_level
from pipeline.local.jars import KAFKA
from pipeline.local.kafka import DEFAULT_PORT, HIGHEST_PORT, LocalKafka
from pipeline.local.tools import TOOLS, tool_command


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in (
        ("start", "start the broker, or find the one that runs"),
        ("stop", "stop it; its data stays"),
        ("status", "say whether it runs (exit code 0) or not (1)"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="default: %(default)s")
        command.add_argument(
            "--port",
            type=whole_number(1024, HIGHEST_PORT),
            default=DEFAULT_PORT,
            help="of the first broker, default: %(default)s",
        )
        add_log_level(command)
    tool = commands.add_parser("exec", help="run one of Kafka's console tools")
    tool.add_argument("tool", choices=sorted(TOOLS), metavar="TOOL", help=", ".join(sorted(TOOLS)))
    tool.add_argument("arguments", nargs=argparse.REMAINDER)
    add_log_level(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    options = _parse_options()
    if options.command == "exec":
        command = tool_command(options.tool, options.arguments)
        os.execv(command[0], command)

    kafka = LocalKafka(options.brokers, options.port)
    where = f"Apache {KAFKA} at {kafka.bootstrap_servers}"
    if options.command == "start":
        print(f"{where} {'started' if kafka.start() else 'was running already'}.")
    elif options.command == "stop":
        print(f"{where} {'stopped' if kafka.stop() else 'was not running'}.")
    else:
        print(f"{where}: {len(kafka.running)} of {options.brokers} running, logs in {kafka.folder}")
        sys.exit(0 if len(kafka.running) == options.brokers else 1)


if __name__ == "__main__":
    run(main, "pipeline.local")
