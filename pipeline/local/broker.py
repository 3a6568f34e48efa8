"""Which Kafka to use: chosen here and nowhere else.

The one that options or environment name; else whatever answers on localhost:9092; else Docker, if an engine
answers; else the local Kafka of this folder. BROKER=docker or BROKER=local forces one of these two.

    python -m pipeline.local.broker [OPTION...]     prints the choice: given, found, docker or local
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import CONFIG_VARIABLE, DEFAULT_SERVERS, SERVERS_VARIABLE
from pipeline.cli.process import PipelineError, run
from pipeline.cli.status import log
from pipeline.client.health import answers, any_open
from pipeline.local import PROJECT

if TYPE_CHECKING:  # when it runs, no other choice than a secured Kafka needs its requirements
    from pipeline.local.secure_files import SecureFiles

Choice = Literal["given", "found", "docker", "local"]

DEFAULT = Cluster(DEFAULT_SERVERS)
CONTAINER = "kafka"
WHO_LISTENS = "`sudo ss -ltnp`, or on macOS `lsof -nP -iTCP:9092`,"
ENGINE_SECONDS = 10
UP_SECONDS = 120.0
NAME_TAKEN = "is already in use by container"
STATE_AND_FOLDER = '{{.State.Status}}|{{index .Config.Labels "com.docker.compose.project.working_dir"}}'
PYTHON = "kafka-env/bin/python"
LOCAL_TOOL = f"{PYTHON} -m pipeline.local"


@dataclass(frozen=True)
class Broker:
    """A Kafka that answers.

    Attributes:
        cluster: where it is, and how to connect.
        how: in words, why it was chosen.
        tool: the words before the name of one of Kafka's console tools; None where there are none.
        stop: the command that stops it; None where we did not start it.
        clients: the client properties files of its users; None where all scripts connect as one user.
    """

    cluster: Cluster
    how: str
    tool: str | None
    stop: str | None
    clients: "SecureFiles | None" = None

    def cluster_of(self, script: str) -> Cluster:
        """Return the cluster as a script connects to it.

        Args:
            script: its name without .py.
        """
        if not self.clients:
            return self.cluster
        return self.clients.cluster(script.replace("_", "-"))

    @property
    def servers(self) -> str:
        """Its bootstrap servers."""
        return self.cluster.servers


def choose(named: bool = False) -> Choice:
    """Decide which Kafka to use; nothing is started.

    Args:
        named: by an option of the command line, which overrules the environment.

    Raises:
        PipelineError: $BROKER has an unknown value, or the port is held by something else.
    """
    if named:
        return "given"
    match os.environ.get("BROKER"):
        case "docker":
            return "docker"
        case "local":
            return "local"
        case str(forced) if forced:
            raise PipelineError(f"BROKER={forced} is not known; it can be docker or local.")
    if os.environ.get(SERVERS_VARIABLE) or os.environ.get(CONFIG_VARIABLE):
        return "given"
    if answers(DEFAULT, seconds=3):
        return "found"
    if any_open(DEFAULT):
        if _container_runs():  # Docker listens on the port at once, the broker in it some seconds later
            return "docker"
        raise PipelineError(
            f"Something listens on {DEFAULT_SERVERS}, but it is not a Kafka that answers ({WHO_LISTENS} "
            f"names it). Stop it, or name a Kafka in ${SERVERS_VARIABLE}."
        )
    return "docker" if _compose_command() else "local"


def ready(choice: Choice, given: Cluster) -> Broker:
    """Return the chosen Kafka, after starting it where necessary.

    Args:
        choice: the result of choose().
        given: the cluster that options and environment name.

    Raises:
        PipelineError: it can't be started or does not answer.
    """
    if choice == "docker":
        return _docker()
    if choice == "local":
        return _local()
    cluster = given if choice == "given" else DEFAULT
    if choice == "found" and _container_runs():
        return _docker_broker("found running")
    if choice == "found" and _local_runs():
        return _local_broker("found running")
    how = "as named" if choice == "given" else "found running"
    tools_are_here = importlib.util.find_spec("jgo")  # of requirements/local.txt
    return Broker(cluster, how, tool=f"{LOCAL_TOOL} exec " if tools_are_here else None, stop=None)


def secured(port: int) -> Broker:
    """Return the secured Kafka of this folder, after starting it where necessary.

    Args:
        port: for clients.

    Raises:
        PipelineError: it can't be started.
    """
    # They need requirements/secure.txt
    from pipeline.local.rights import ADMIN
    from pipeline.local.secure import SecureKafka

    kafka = SecureKafka(port=port)
    how = "secured, started" if kafka.start() else "secured, running already"
    stop = f"{LOCAL_TOOL} stop --secure --port {port}"
    return Broker(kafka.files.cluster(ADMIN), how, f"{LOCAL_TOOL} exec ", stop, kafka.files)


def start_container(compose: Sequence[str]) -> None:
    """Start the container, unless it runs; it may be another folder's.

    Args:
        compose: how `docker compose` is spelled here.

    Raises:
        PipelineError: it can't be started.
    """
    command = f"{' '.join(compose)} up -d"
    log.info(f"Starting Kafka with `{command}`; the first time this downloads its image.")
    with _one_at_a_time():
        up = subprocess.run([*compose, "up", "-d"], cwd=PROJECT, capture_output=True, text=True)
    if up.returncode == 0:
        return
    if NAME_TAKEN not in up.stderr:
        raise PipelineError(f"`{command}` failed: {_reason(up.stderr)}. Without Docker: BROKER=local")
    if not (_container_runs() and any_open(DEFAULT)):
        raise PipelineError(_describe_other_container())


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of two `docker compose up` at once, both create the container, and one of them fails."""
    folder = os.open(PROJECT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _reason(stderr: str) -> str:
    """Return the line of `docker compose` that has the reason; in old versions it is not the last one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "level=warning" not in line]
    errors = [line for line in lines if "error:" in line.lower() or "error response" in line.lower()]
    return (errors[:1] or lines[-1:] or ["no reason given"])[0].rstrip(".")


def _describe_other_container() -> str:
    state, folder = _state_and_folder()
    origin = f"made by docker compose in {folder}" if folder else "not made by docker compose"
    what = f"There is another container `{CONTAINER}` ({state}), {origin}."
    remove = "(topics in a volume stay). Without Docker: BROKER=local"
    if state == "running":  # but not on our port
        return f"{what} Remove it with `docker rm --force {CONTAINER}` {remove}"
    return (
        f"{what} Start it with `docker start {CONTAINER}` and run this again, "
        f"or remove it with `docker rm {CONTAINER}` {remove}"
    )


def _state_and_folder() -> tuple[str, str]:
    """Return the container's state, such as exited, and the folder of the compose file that made it."""
    described = _output("docker", "inspect", "--type", "container", CONTAINER, "--format", STATE_AND_FOLDER)
    state, _, folder = (described or "unknown").partition("|")
    return state, folder


def _docker() -> Broker:
    compose = _compose_command()
    if not compose:
        raise PipelineError("No Docker engine with `docker compose` answers. Without Docker: BROKER=local")
    start_container(compose)
    wait_for_container(DEFAULT, CONTAINER)
    return _docker_broker("in Docker")


def wait_for_container(cluster: Cluster, container: str) -> None:
    """Wait until the Kafka in a container answers.

    Args:
        cluster: where it is, and how to connect.
        container: its name.

    Raises:
        PipelineError: it does not in time.
    """
    deadline = time.monotonic() + UP_SECONDS
    while not answers(cluster, seconds=2):
        if time.monotonic() > deadline:
            raise PipelineError(
                f"The container did not answer within {UP_SECONDS:.0f} s: see `docker logs {container}`."
            )
        time.sleep(0.5)


def _docker_broker(how: str) -> Broker:
    compose = " ".join(_compose_command() or ["docker", "compose"])
    ours = _state_and_folder()[1] == str(PROJECT)
    stop = f"{compose} down" if ours else f"docker stop {CONTAINER}"
    return Broker(DEFAULT, how, tool=f"docker exec {CONTAINER} ", stop=stop)


def _local() -> Broker:
    from pipeline.local.kafka import LocalKafka  # needs requirements/local.txt, which no other choice does

    return _local_broker("local, started" if LocalKafka().start() else "local, running already")


def _local_broker(how: str) -> Broker:
    return Broker(DEFAULT, how, tool=f"{LOCAL_TOOL} exec ", stop=f"{LOCAL_TOOL} stop")


def _local_runs() -> bool:
    try:
        from pipeline.local.kafka import LocalKafka
    except ModuleNotFoundError:
        return False
    return bool(LocalKafka().running)


def _container_runs() -> bool:
    names = _output("docker", "ps", "--filter", f"name=^{CONTAINER}$", "--format", "{{.Names}}")
    return names is not None and CONTAINER in names.split()


def _compose_command() -> list[str] | None:
    """Return how `docker compose` is spelled here; None where no engine answers."""
    if not _output("docker", "info", "--format", "{{.ServerVersion}}"):
        return None
    if _output("docker", "compose", "version") is not None:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def _output(*command: str) -> str | None:
    """Return the output of a command; None where it fails, hangs or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> None:
    """Print the choice; the options are those of the script that will use it."""
    print(choose(named=any(word.startswith(("--config", "--bootstrap-servers")) for word in sys.argv[1:])))


if __name__ == "__main__":
    run(main, "run.sh")
