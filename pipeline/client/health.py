"""Whether Kafka answers, and if not, why."""

import socket
import threading
import time

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.cli.options import parse_servers
from pipeline.cli.status import log
from pipeline.client.settings import connection_settings

LOOK_EVERY_SECONDS = 3.0


def answers(servers: str, seconds: float) -> bool:
    """Return whether a Kafka broker answers.

    Args:
        servers: bootstrap servers.
        seconds: how long to try.
    """
    if not any_open(servers):
        return False
    try:
        settings = connection_settings(servers) | {"bootstrap_timeout_ms": int(seconds * 1000)}
        KafkaAdminClient(**settings).close()
    except (KafkaError, OSError):
        return False
    return True


def any_open(servers: str) -> bool:
    """Return whether anything listens on the port of at least one of the bootstrap servers."""
    return any(is_open(*server) for server in parse_servers(servers))


def is_open(host: str, port: int) -> bool:
    """Return whether anything at all listens on a port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def reason_for_silence(servers: str) -> str:
    """Say why connecting failed."""
    host, port = parse_servers(servers)[0]
    try:
        socket.create_connection((host, port), timeout=1).close()
    except socket.gaierror:
        return f"host {host} is unknown"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return f"what listens on port {port} does not speak Kafka, or asks for TLS or a password"


def report_outages(servers: str) -> None:
    """Report from now on when Kafka becomes unreachable, and when it is reachable again.

    The clients wait without a word, and four silent terminals explain nothing.

    Args:
        servers: bootstrap servers.
    """
    threading.Thread(target=_watch, args=(servers,), name="outages", daemon=True).start()


def _watch(servers: str) -> None:
    unreachable = False
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        before, unreachable = unreachable, not any_open(servers)
        if unreachable and not before:
            log.warning(f"Kafka at {servers} is unreachable; waiting for it.")
        elif before and not unreachable:
            log.info(f"Kafka at {servers} is reachable again.")
