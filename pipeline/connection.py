"""What every script needs to reach Kafka: topic names, topics made on start, clear errors."""

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigSourceType
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
    UnknownError,
    for_code,
)

from pipeline.network import Network
from pipeline.process import PipelineError

DEFAULT_SERVERS = "localhost:9092"
SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"

# Several pipelines on one broker: each with a prefix of its own (the tests do that).
PREFIX = os.environ.get("TOPIC_PREFIX", "")
WEB_EVENTS = PREFIX + "web-events"
PURCHASE_EVENTS = PREFIX + "purchase-events"
ANALYTICS_EVENTS = PREFIX + "analytics-events"
ANALYTICS_DLQ = PREFIX + "analytics-dlq"
DLQ_REPLAYS = PREFIX + "analytics-dlq-replays"
PROCESSOR_GROUP = PREFIX + "stream-processor"
CONSUMER_GROUP = PREFIX + "analytics-consumer"

SOURCES = {"web": WEB_EVENTS, "purchase": PURCHASE_EVENTS}
PARTITIONS = 3
BROKER_DEFAULT = -1
# A source record may be as large as the broker allows, and what becomes of it is larger: a dead letter by our
# headers, a clean event by its new fields. So the topics they go to must allow more than a source topic does.
OUTPUTS = (ANALYTICS_EVENTS, ANALYTICS_DLQ)
SIZE_LIMIT = "max.message.bytes"
OUTPUT_SIZE_LIMIT = 10 * 1024 * 1024

CONNECT_SECONDS = 6.0  # a script has 10 s to say that there is no broker
TOPIC_SECONDS = 5.0

# The scripts say in one line what the client says in many.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


def client_settings(servers: str) -> dict[str, Any]:
    """Give the settings that every Kafka client of the project shares.

    Args:
        servers: bootstrap servers, as on the command line.
    """
    return {
        "bootstrap_servers": servers.split(","),
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        # The client doubles its pause up to 30 s; after a restart of the broker all would wait that long.
        "reconnect_backoff_max_ms": 1000,
        "kafka_client": Network,
    }


def connect(client: Callable[..., Any], **settings: Any) -> Any:  # noqa: ANN401, the client has no types
    """Make a client. One that can't connect leaves a thread behind for ever, unless it is closed like this.

    Args:
        client: KafkaConsumer or KafkaAdminClient.
        settings: its settings.

    Raises:
        KafkaError: it can't connect.
    """
    networks: list[Network] = []

    def remember(**network_settings: Any) -> Network:  # noqa: ANN401
        networks.append(Network(**network_settings))
        return networks[0]

    try:
        return client(**settings | {"kafka_client": remember})
    except KafkaError:
        for network in networks:
            network.close()
        raise


def ensure_topics(
    servers: str, *topics: str, partitions: int = PARTITIONS, outputs: Collection[str] = OUTPUTS
) -> None:
    """Make the topics that are missing, and make room in those that hold what was made of records.

    Args:
        servers: bootstrap servers.
        topics: names.
        partitions: how many those get that are missing.
        outputs: which of the topics are for what was made of records.

    Raises:
        PipelineError: no broker answers, or it refuses.
    """
    with admin_client(servers) as admin:
        missing = set(topics) - set(admin.list_topics())
        if missing:
            create_topics(admin, missing, partitions)
        _make_room(admin, [topic for topic in topics if topic in outputs])


def create_topics(
    admin: KafkaAdminClient,
    topics: Iterable[str],
    partitions: int = PARTITIONS,
    replication: int = BROKER_DEFAULT,
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """Create topics and wait until they can be used.

    Args:
        admin: a connected client.
        topics: names.
        partitions: how many for each.
        replication: how many copies; BROKER_DEFAULT leaves that to the broker.
        settings: of the topics, such as cleanup.policy.

    Returns:
        The names of those that did not exist.

    Raises:
        PipelineError: the broker refuses.
    """
    wanted = {
        topic: {
            "num_partitions": partitions,
            "replication_factor": replication,
            "configs": dict(settings or {}),
        }
        for topic in topics
    }
    answer = admin.create_topics(wanted, raise_errors=False)
    created = []
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        if topic["error_code"] == 0:
            created.append(topic["name"])
        elif error is not TopicAlreadyExistsError:
            raise PipelineError(
                f"Kafka refused to create topic {topic['name']}: {topic['error_message'] or error.__name__}"
            )
    try:
        admin.wait_for_topics(wanted, timeout_ms=int(TOPIC_SECONDS * 1000))  # also those of another script
    except KafkaTimeoutError as error:
        raise PipelineError(
            f"Topics can't be used: {error}. If this client is not allowed to: kafka-acls --add"
        ) from error
    return created


def _make_room(admin: KafkaAdminClient, outputs: Iterable[str]) -> None:
    """Raise the size limit of topics for which nobody has chosen one.

    If the broker does not let us, a record that is too large will say so.
    """
    resources = [ConfigResource("TOPIC", topic) for topic in outputs]
    described = admin.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    for topic, settings in described.items():
        limit = settings.get(SIZE_LIMIT)
        if (
            limit
            and limit["config_source"] != ConfigSourceType.DYNAMIC_TOPIC_CONFIG.name
            and int(limit["value"]) < OUTPUT_SIZE_LIMIT
        ):
            admin.alter_configs([ConfigResource("TOPIC", topic, {SIZE_LIMIT: str(OUTPUT_SIZE_LIMIT)})])


def admin_client(servers: str) -> KafkaAdminClient:
    """Connect, or say clearly why not.

    Args:
        servers: bootstrap servers.

    Raises:
        PipelineError: no broker answers within CONNECT_SECONDS.
    """
    try:
        return connect(KafkaAdminClient, **client_settings(servers))
    except (KafkaConnectionError, KafkaTimeoutError, OSError, ValueError) as error:
        raise PipelineError(
            f"No Kafka answers at {servers} (tried for {CONNECT_SECONDS:.0f} s: {_obstacle(servers)}). "
            "Start one with `docker compose up -d` or `python -m pipeline.local_kafka start`, "
            "or name another with --bootstrap-servers."
        ) from error


def subscribe(
    consumer: KafkaConsumer, *topics: str, listener: ConsumerRebalanceListener | None = None
) -> None:
    """Subscribe so that the consumer joins its group once.

    A consumer that subscribes to topics it does not know, as `KafkaConsumer("topic")` does, gets an empty
    assignment, joins the group a second time and now and then never returns from poll(). One that knows them
    joins twice, too, half a second later: it compares its partitions only with metadata that came after
    subscribe(). So that is asked for before the first poll().

    Args:
        consumer: a consumer without a subscription.
        topics: names.
        listener: told of partitions that come and go.

    Raises:
        PipelineError: a topic does not exist.
    """
    for topic in topics:
        count_partitions(consumer, topic)
    consumer.subscribe(topics, listener=listener)
    consumer.topics()


def count_partitions(consumer: KafkaConsumer, topic: str) -> int:
    """Tell how many partitions a topic has.

    Args:
        consumer: asks the broker.
        topic: its name.

    Raises:
        PipelineError: it does not exist, also a moment later: a broker that just started may not know it yet.
    """
    deadline = time.monotonic() + TOPIC_SECONDS
    while not (partitions := consumer.partitions_for_topic(topic)):
        if time.monotonic() > deadline:
            raise PipelineError(f"Topic {topic} does not exist. Make it with ./create_topic.sh {topic}")
        time.sleep(0.2)
    return len(partitions)


def flush(producer: KafkaProducer, seconds: float) -> None:
    """Wait until every record has arrived or failed.

    A batch that is larger than its topic allows is split by the client, and sent again; its own flush() takes
    that for an error, and does not wait for the halves.

    Args:
        producer: sends nothing new meanwhile.
        seconds: how long to wait at most.

    Raises:
        KafkaTimeoutError: some are still on their way.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(UnknownError):
            producer.flush(timeout=seconds)
            return
    raise KafkaTimeoutError(f"not all records were sent within {seconds:.0f} s")


def topic_id(admin: KafkaAdminClient, topic: str) -> str | None:
    """Tell which topic has this name now: one that is deleted and made anew has another id (KIP-516).

    Args:
        admin: a connected client.
        topic: its name.

    Returns:
        The id; None while there is no such topic.

    Raises:
        KafkaError: the broker is away.
    """
    [described] = admin.describe_topics([topic])
    return None if described["error_code"] else str(described["topic_id"])


def answers(servers: str, seconds: float) -> bool:
    """Tell whether a Kafka broker answers.

    Args:
        servers: bootstrap servers.
        seconds: how long to try.
    """
    if not any_open(servers):
        return False
    try:
        settings = client_settings(servers) | {"bootstrap_timeout_ms": int(seconds * 1000)}
        connect(KafkaAdminClient, **settings).close()
    except (KafkaError, OSError):
        return False
    return True


def any_open(servers: str) -> bool:
    """Tell whether anything listens on the port of at least one of the bootstrap servers."""
    return any(is_open(*server) for server in parse_servers(servers))


def is_open(host: str, port: int) -> bool:
    """Tell whether anything at all listens on a port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def parse_servers(text: str) -> list[tuple[str, int]]:
    """Read bootstrap servers.

    Args:
        text: HOST:PORT, several separated by commas.

    Raises:
        ValueError: one of them is not HOST:PORT.
    """
    parsed = []
    for server in text.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise ValueError(f"{server!r} is not HOST:PORT")
        parsed.append((host.strip("[]"), int(port)))
    return parsed


def _obstacle(servers: str) -> str:
    """Name what a connection fails of."""
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
