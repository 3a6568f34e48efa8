"""Real Apache Kafka with nothing installed but Python.

    python -m pipeline.local start               one broker on localhost:9092
    python -m pipeline.local start --brokers 3   three, on 9092, 9093 and 9094
    python -m pipeline.local status
    python -m pipeline.local exec kafka-topics --bootstrap-server localhost:9092 --list
    python -m pipeline.local stop
    python -m pipeline.local start --secure      TLS, and a user with a password for each script
    python -m pipeline.local secure-docker       the same in Docker (compose/secure.yml), on localhost:9092

It listens on 127.0.0.1 alone and keeps its data and logs in .kafka/ until that folder is deleted.
"""

import pipeline.start

import argparse
import os
import sys

from pipeline.cli.options import whole_number
from pipeline.cli.process import EXIT_DONE, EXIT_FAILED, PipelineError, run
from pipeline.cli.status import add_log_level, log
from pipeline.local import HOST

try:
    from pipeline.client.health import is_open
    from pipeline.local import secure_docker
    from pipeline.local.jars import KAFKA
    from pipeline.local.java import java_environment
    from pipeline.local.kafka import DEFAULT_PORT, HIGHEST_PORT, LocalKafka, who_listens
    from pipeline.local.secure import SecureKafka
    from pipeline.local.secure_files import SecureFiles
    from pipeline.local.tools import TOOLS, tool_command
except ModuleNotFoundError as missing:
    name = str(missing.name).partition(".")[0]
    sys.exit(f"pipeline.local: {name} is not installed: pip install -r requirements/local.txt")


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
        command.add_argument("--secure", action="store_true", help="a secured one, with data of its own")
        add_log_level(command)
    add_log_level(commands.add_parser("secure-docker", help="start a secured one in Docker"))
    tool = commands.add_parser("exec", help="run one of Kafka's console tools")
    tool.add_argument("tool", choices=sorted(TOOLS), metavar="TOOL", help=", ".join(sorted(TOOLS)))
    tool.add_argument("arguments", nargs=argparse.REMAINDER)
    add_log_level(parser)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    pipeline.start.interrupt_from_now_on()
    options = _parse_options()
    if options.command == "exec":
        command = tool_command(options.tool, options.arguments)
        os.execve(command[0], command, java_environment())
    if options.command == "secure-docker":
        files = secure_docker.start()
        print(f"Secured Kafka in Docker at localhost:{DEFAULT_PORT} runs.\n{_users(files)}")
        return

    kafka = (SecureKafka if options.secure else LocalKafka)(options.brokers, options.port)
    where = f"{'Secured ' if options.secure else ''}Apache {KAFKA} at {kafka.bootstrap_servers}"
    if options.command == "start":
        _start(kafka, where)
    elif options.command == "stop":
        stopped = kafka.stop()
        if not stopped and is_open(HOST, options.port):
            raise PipelineError(_not_ours(options.port))
        print(f"{where} {'stopped' if stopped else 'was not running'}.")
    else:
        print(f"{where}: {len(kafka.running)} of {options.brokers} running, logs in {kafka.folder}")
        if not kafka.running and is_open(HOST, options.port):
            print(_not_ours(options.port))
        sys.exit(EXIT_DONE if len(kafka.running) == options.brokers else EXIT_FAILED)


def _start(kafka: LocalKafka, where: str) -> None:
    try:
        print(f"{where} {'started' if kafka.start() else 'was running already'}.")
    except KeyboardInterrupt:
        running = "runs" if kafka.running else "is not running"
        log.warning(f"Interrupted: {where} {running}.")
        raise
    if isinstance(kafka, SecureKafka):
        print(_users(kafka.files))


def _users(files: SecureFiles) -> str:
    return f"Its users, each a file for --config: {files.clients}/"


def _not_ours(port: int) -> str:
    return f"What listens on port {port} was not started here with these options. {who_listens(port)}"


if __name__ == "__main__":
    run(main, "pipeline.local")
