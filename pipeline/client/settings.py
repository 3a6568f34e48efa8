"""The settings that every Kafka client of the project shares."""

from functools import partial
from typing import Any

from pipeline.cli.cluster import Cluster
from pipeline.client.network import Network

CONNECT_SECONDS = 6.0  # a script has 10 s to report that no broker answers
TOPIC_SECONDS = 5.0  # until a topic that was just created, or a broker that just started, is known


def connection_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the settings that say where Kafka is, and how a client connects to it.

    Args:
        cluster: the options --bootstrap-servers and --config.
    """
    identity = {"client_id": cluster.client_id} if cluster.client_id else {}
    return identity | {
        "bootstrap_servers": cluster.servers.split(","),
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        # By default the pause between two attempts doubles up to 30 s: as late a restarted broker is found.
        "reconnect_backoff_max_ms": 1000,
        "security_protocol": cluster.security.protocol,
        # By default a client hangs when a broker vanishes from a cluster. It knows certificates and
        # passwords, too.
        "kafka_client": partial(Network, cluster),
    }
