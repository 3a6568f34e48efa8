"""The settings that every Kafka client of the project shares."""

from typing import Any

from pipeline.client.network import Network

CONNECT_SECONDS = 6.0  # a script has 10 s to report that no broker answers
TOPIC_SECONDS = 5.0  # until a topic that was just created, or a broker that just started, is known


def connection_settings(servers: str) -> dict[str, Any]:
    """Return the settings that say where Kafka is, and how a client connects to it.

    Args:
        servers: bootstrap servers, HOST:PORT separated by commas.
    """
    return {
        "bootstrap_servers": servers.split(","),
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        # By default the pause between two attempts doubles up to 30 s: as late a restarted broker is found.
        "reconnect_backoff_max_ms": 1000,
        # By default a client hangs when a broker vanishes from a cluster.
        "kafka_client": Network,
    }
