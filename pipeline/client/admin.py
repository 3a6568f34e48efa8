"""The admin client: topics created on start, with room for their records, and their ids."""

import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigSourceType
from kafka.errors import (
    AuthorizationError,
    KafkaConnectionError,
    KafkaTimeoutError,
    RetriableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.errors import READ, WRITE, not_allowed
from pipeline.client.health import reason_for_silence
from pipeline.client.refusals import ConnectionRefused
from pipeline.client.settings import CONNECT_SECONDS, TOPIC_SECONDS, connection_settings
from pipeline.topics import OUTPUT_TOPICS, PARTITIONS

BROKER_DEFAULT = -1
FORMAT = "message.format.version"
IDLE_CHECK_SECONDS = 5.0
RETRY_SECONDS = 0.2
SIZE_LIMIT = "max.message.bytes"
# A source record may be as large as the broker allows, and its output is larger: a dead letter by our
# headers, a clean event by its new fields. So output topics must allow more than a source topic does.
OUTPUT_SIZE_LIMIT = 10 * 1024 * 1024


def admin_client(cluster: Cluster) -> KafkaAdminClient:
    """Connect an admin client.

    Args:
        cluster: where Kafka is, and how to connect.

    Raises:
        PipelineError: no broker answers within CONNECT_SECONDS.
    """
    try:
        return KafkaAdminClient(**connection_settings(cluster))
    except ConnectionRefused as error:
        raise PipelineError(str(error)) from error
    except (KafkaConnectionError, KafkaTimeoutError, OSError, ValueError) as error:
        reason, next_step = reason_for_silence(cluster)
        raise PipelineError(
            f"No Kafka answers at {cluster} (tried for {CONNECT_SECONDS:.0f} s: {reason}). {next_step}"
        ) from error


def ensure_topics(
    cluster: Cluster,
    *topics: str,
    reads: Collection[str] = (),
    partitions: int = PARTITIONS,
    outputs: Collection[str] = OUTPUT_TOPICS,
) -> None:
    """Create the topics that are missing, and raise the size limit of outputs.

    Args:
        cluster: where Kafka is, and how to connect.
        topics: their names.
        reads: those of them that the script reads; it writes to the others.
        partitions: the number of partitions of a topic that is missing.
        outputs: those of the topics whose records are larger than the source records they came from.

    Raises:
        PipelineError: no broker answers, or it refuses.
    """
    give_up = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            with admin_client(cluster) as admin:
                if missing := _missing(admin, topics, reads):
                    create_topics(admin, missing, partitions)
                _raise_size_limit(admin, [topic for topic in topics if topic in outputs])
                return
        except RetriableError:  # such as one of several brokers that has just ended
            if time.monotonic() > give_up:
                raise
            time.sleep(RETRY_SECONDS)


def _missing(admin: KafkaAdminClient, topics: Iterable[str], reads: Collection[str]) -> list[str]:
    """Return which of the topics do not exist; one may be seen only by who may read it or write to it."""
    missing = []
    for topic in admin.describe_topics(list(topics)):
        name, error = topic["name"], for_code(topic["error_code"])
        if issubclass(error, AuthorizationError):
            raise PipelineError(not_allowed(READ if name in reads else WRITE, "topic", name))
        if error is UnknownTopicOrPartitionError:
            missing.append(name)
    return missing


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
        topics: their names.
        partitions: the number of partitions of each.
        replication: the number of replicas; BROKER_DEFAULT leaves that to the broker.
        settings: topic settings, such as cleanup.policy.

    Returns:
        The names of the topics that did not exist.

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
        elif issubclass(error, AuthorizationError):
            raise PipelineError(not_allowed("Create", "topic", topic["name"]))
        elif error is not TopicAlreadyExistsError:
            raise PipelineError(
                f"Kafka refused to create topic {topic['name']}: {topic['error_message'] or error.__name__}"
            )
    try:
        # Also those that another script has just created
        admin.wait_for_topics(wanted, timeout_ms=int(TOPIC_SECONDS * 1000))
    except KafkaTimeoutError as error:
        raise PipelineError(f"Topics can't be used: {error}.") from error
    return created


def _raise_size_limit(admin: KafkaAdminClient, outputs: Iterable[str]) -> None:
    """Raise the size limit of topics for which nobody has chosen one.

    Where the broker does not allow that, the first record that is too large will report it.
    """
    resources = [ConfigResource("TOPIC", topic) for topic in outputs]
    with suppress(AuthorizationError):
        described = (
            admin.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
        )
        for topic, settings in described.items():
            limit = settings.get(SIZE_LIMIT)
            if (
                limit
                and limit["config_source"] != ConfigSourceType.DYNAMIC_TOPIC_CONFIG.name
                and int(limit["value"]) < OUTPUT_SIZE_LIMIT
            ):
                admin.alter_configs([ConfigResource("TOPIC", topic, {SIZE_LIMIT: str(OUTPUT_SIZE_LIMIT)})])


def ensure_compacted_topic(cluster: Cluster, topic: str) -> None:
    """Create a topic with one partition that keeps the last record of each key for ever, or make it one.

    Args:
        cluster: where Kafka is, and how to connect.
        topic: its name.

    Raises:
        PipelineError: no broker answers, or it refuses.
    """
    settings = {"cleanup.policy": "compact"}
    with admin_client(cluster) as admin:
        if missing := _missing(admin, [topic], reads=()):
            create_topics(admin, missing, partitions=1, settings=settings)
            return
        resource = ConfigResource("TOPIC", topic)
        described = admin.describe_configs([resource], config_filter="all")["topic"][topic]
        if not described:  # Kafka says no more than that
            raise PipelineError(not_allowed("DescribeConfigs", "topic", topic))
        if any(described[name]["value"] != value for name, value in settings.items()):
            admin.alter_configs([ConfigResource("TOPIC", topic, settings)])


def topic_ids(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, str]:
    """Return the ids of the topics that have these names now: a recreated topic has another id (KIP-516).

    Args:
        admin: a connected client.
        topics: their names.

    Returns:
        An id for each name; an empty text while there is no such topic.

    Raises:
        KafkaError: the broker is unreachable.
    """
    described = admin.describe_topics(list(topics))
    return {topic["name"]: "" if topic["error_code"] else str(topic["topic_id"]) for topic in described}


def topics_of_old_format(cluster: Cluster, topics: Iterable[str]) -> list[str]:
    """Return those of the topics whose records have a format from before transactions (KIP-98, Kafka 0.11).

    Only brokers before Kafka 4 have the setting; they answer a transactional record with an unknown error.

    Args:
        cluster: where Kafka is, and how to connect.
        topics: their names.

    Raises:
        KafkaError: the broker is unreachable, or refuses.
    """
    resources = [ConfigResource("TOPIC", topic) for topic in topics]
    with KafkaAdminClient(**connection_settings(cluster)) as admin:
        described = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return sorted(
        topic
        for topic, settings in described.items()
        if re.match(r"0\.([89]|10)\b", str(settings.get(FORMAT, {}).get("value")))
    )


class TopicIds:
    """Notices that topics were deleted and recreated, which a consumer does not.

    A consumer reads by name: it continues at its old position in the recreated topic, and skips what is
    before that. The id of a topic never comes back. So if it is the old one after records were fetched, they
    are the old topic's.
    """

    def __init__(self, cluster: Cluster, topics: Iterable[str]) -> None:
        """Remember the ids that the topics have now; so ask before the consumer asks for its offsets.

        Args:
            cluster: where Kafka is, and how to connect.
            topics: their names.

        Raises:
            KafkaError: the broker is unreachable, or does not know one of the topics.
        """
        self._admin = KafkaAdminClient(**connection_settings(cluster))
        self._ids: dict[str, str] = {}
        try:
            self.update(topics)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, topic: str) -> str:
        """Return the id of a topic."""
        return self._ids[topic]

    def update(self, topics: Iterable[str]) -> None:
        """Remember the ids that these topics have now."""
        self._ids |= self._ask(topics)

    def recreated(self, polled: Collection[str]) -> list[str]:
        """Return which topics are not the same any more.

        Args:
            polled: the topics of the records that the last poll() returned. If there were none, all topics
                are asked about, but not each time: one may have grown just to the consumer's position.

        Raises:
            KafkaError: the broker is unreachable, or does not know one of the topics now.
        """
        if not polled and time.monotonic() < self._asked_at + IDLE_CHECK_SECONDS:
            return []
        now = self._ask(polled or self._ids)
        return sorted(topic for topic, id_ in now.items() if id_ != self._ids[topic])

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _ask(self, topics: Iterable[str]) -> dict[str, str]:
        ids = topic_ids(self._admin, topics)
        self._asked_at = time.monotonic()
        # Deleted, or this broker has just started: that is no recreated topic yet
        if unknown := sorted(topic for topic, id_ in ids.items() if not id_):
            raise UnknownTopicOrPartitionError(f"no topic {' and '.join(unknown)}")
        return ids


def topic_id(admin: KafkaAdminClient, topic: str) -> str | None:
    """Return the id of one topic; None while there is no such topic. See topic_ids()."""
    return topic_ids(admin, [topic])[topic] or None
