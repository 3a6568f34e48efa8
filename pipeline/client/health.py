"""Whether Kafka answers, and if not, why."""

import socket
import ssl
import struct
import threading
import time

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import parse_servers
from pipeline.cli.status import log
from pipeline.client.settings import connection_settings

LOOK_EVERY_SECONDS = 3.0
ASK_SECONDS = 1.0
CORRELATION_ID = b"look"  # comes back with the answer
# Length; the key and version of the request (ApiVersions, 0); correlation id; no client id
API_VERSIONS_REQUEST = struct.pack(">ihh4sh", 10, 18, 0, CORRELATION_ID, -1)
START_ONE = (
    "Start one with `docker compose up -d` or `python -m pipeline.local start`, "
    "or name another with --bootstrap-servers."
)
NAME_ANOTHER = "Name another with --bootstrap-servers."
SET_PROTOCOL = (
    "Set security.protocol in the file of --config (docs/security.md), "
    "or name another listener with --bootstrap-servers."
)


def answers(cluster: Cluster, seconds: float) -> bool:
    """Return whether a Kafka broker answers.

    Args:
        cluster: where Kafka is, and how to connect.
        seconds: how long to try.
    """
    if not any_open(cluster):
        return False
    try:
        settings = connection_settings(cluster) | {"bootstrap_timeout_ms": int(seconds * 1000)}
        KafkaAdminClient(**settings).close()
    except (KafkaError, OSError):
        return False
    return True


def any_open(cluster: Cluster) -> bool:
    """Return whether anything listens on the port of at least one of the bootstrap servers."""
    return any(is_open(*server) for server in parse_servers(cluster.servers))


def is_open(host: str, port: int) -> bool:
    """Return whether anything at all listens on a port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def reason_for_silence(cluster: Cluster) -> tuple[str, str]:
    """Find out why the first of the bootstrap servers does not answer as a Kafka that takes this client.

    Args:
        cluster: where Kafka is, and how to connect.

    Returns:
        The reason, and what to do next.
    """
    host, port = parse_servers(cluster.servers)[0]
    try:
        socket.create_connection((host, port), timeout=1).close()
    except socket.gaierror:
        return f"host {host} is unknown", NAME_ANOTHER
    except TimeoutError:
        return "no answer", START_ONE
    except OSError as error:
        return (error.strerror or str(error)).lower(), START_ONE
    if cluster.security.tls and _kafka_answers(_ask_for_versions(host, port, _any_server())):
        return f"the Kafka on port {port} asks for a password (SASL), or is still starting", SET_PROTOCOL
    answer = _ask_for_versions(host, port)
    if answer is None:
        return f"port {port} is open, but nothing answers there; it may be starting, or hang", NAME_ANOTHER
    if _kafka_answers(answer):
        if cluster.security.tls:
            return f"the Kafka on port {port} speaks no TLS, or is still starting", SET_PROTOCOL
        return f"the Kafka on port {port} asks for a password (SASL), or is still starting", SET_PROTOCOL
    if not _speaks_tls(host, port):
        return f"what listens on port {port} does not speak Kafka", NAME_ANOTHER
    if cluster.security.tls:
        return f"port {port} speaks TLS, but no Kafka answers that takes this client", SET_PROTOCOL
    return f"port {port} speaks TLS", SET_PROTOCOL


def _any_server() -> ssl.SSLContext:
    """Return settings that take any certificate: nothing secret is sent there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _kafka_answers(answer: bytes | None) -> bool:
    return answer is not None and answer[4:8] == CORRELATION_ID


def _speaks_tls(host: str, port: int) -> bool:
    """Return whether a TLS handshake gets as far as the server's answer."""
    try:
        with socket.create_connection((host, port), timeout=ASK_SECONDS) as connection:
            _any_server().wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLError as error:  # such as: the server asks for the client's certificate
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True


def _ask_for_versions(host: str, port: int, tls: ssl.SSLContext | None = None) -> bytes | None:
    """Return the start of the answer to Kafka's first request, ApiVersions; None where there is none.

    A Kafka answers it before it asks for a password (KIP-43).
    """
    try:
        with socket.create_connection((host, port), timeout=ASK_SECONDS) as plain:
            connection = tls.wrap_socket(plain, server_hostname=host) if tls else plain
            connection.sendall(API_VERSIONS_REQUEST)
            return connection.recv(8)
    except TimeoutError:
        return None
    except OSError:
        return b""


def report_outages(cluster: Cluster) -> None:
    """Report from now on when Kafka becomes unreachable, and when it is reachable again.

    The clients wait without a word, and four silent terminals explain nothing.

    Args:
        cluster: where Kafka is, and how to connect.
    """
    threading.Thread(target=_watch, args=(cluster,), name="outages", daemon=True).start()


def _watch(cluster: Cluster) -> None:
    unreachable = False
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        before, unreachable = unreachable, not any_open(cluster)
        if unreachable and not before:
            log.warning(f"Kafka at {cluster} is unreachable; waiting for it.")
        elif before and not unreachable:
            log.info(f"Kafka at {cluster} is reachable again.")
