"""The secured Kafka of compose/secure.yml."""

import os
import subprocess

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.cli.status import log
from pipeline.local import HOME, PROJECT
from pipeline.local.broker import wait_for_container
from pipeline.local.kafka import DEFAULT_PORT, INTERNAL_PORT_DISTANCE
from pipeline.local.secure import HOSTS, set_up, wait_for_users
from pipeline.local.secure_files import SecureFiles

COMMAND = ("docker", "compose", "-f", "compose/secure.yml", "up", "-d")
FOLDER = HOME / "secure-docker"
CONTAINER = "kafka-secure"
WITHOUT_DOCKER = "Without Docker: python -m pipeline.local start --secure"


def start() -> SecureFiles:
    """Start the container, and create its users, topics and access lists, unless they are there.

    Returns:
        The files of its clients.

    Raises:
        PipelineError: it can't be started or does not answer.
    """
    files = SecureFiles(FOLDER, f"localhost:{DEFAULT_PORT}", HOSTS)
    files.make()
    _start_container()
    inside = Cluster(f"localhost:{DEFAULT_PORT + INTERNAL_PORT_DISTANCE}", security=files.of_broker)
    wait_for_container(inside, CONTAINER)
    set_up(inside, files)
    wait_for_users([Cluster(f"localhost:{DEFAULT_PORT}")], files)
    return files


def _start_container() -> None:
    command = " ".join(COMMAND)
    log.info(f"Starting Kafka with `{command}`; the first time this downloads its image.")
    environment = {**os.environ, "KAFKA_UID": str(os.getuid())}
    try:
        subprocess.run(COMMAND, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise PipelineError(f"There is no command `docker`. {WITHOUT_DOCKER}") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".?")
        raise PipelineError(f"`{command}` failed: {reason}. {WITHOUT_DOCKER}") from error
