"""How far a consumer group is behind, asked from the broker: right whatever the group's members do."""

from collections.abc import Collection
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.protocol.consumer.offsets import IsolationLevel

from pipeline.cli.cluster import Cluster
from pipeline.client.settings import connection_settings

ASK_SECONDS = 5.0


@dataclass(frozen=True)
class Standing:
    """Where a group stands in a partition.

    Attributes:
        end: the offset of the next event; those of transactions that are still open do not count.
        committed: the group's committed offset; where there is none, that of the oldest event.
    """

    end: int
    committed: int

    @property
    def lag(self) -> int:
        """The offsets in between; Kafka's own markers of transactions have offsets, too."""
        return max(0, self.end - self.committed)


class GroupStanding:
    """Asks for the standing of a group, over a connection of its own.

    kafka-python's consumers may be used by one thread only, and that one may be what stands still.
    """

    def __init__(self, cluster: Cluster, group: str, topics: Collection[str]) -> None:
        """Connect at the first question.

        Args:
            cluster: where Kafka is, and how to connect.
            group: the consumer group.
            topics: what it reads.
        """
        self._cluster, self._group, self._topics = cluster, group, list(topics)
        self._admin: KafkaAdminClient | None = None

    def ask(self) -> dict[TopicPartition, Standing]:
        """Return where the group stands in each partition of its topics, whichever process reads it.

        Raises:
            Exception: the broker is unreachable, or refuses; the next call connects again.
        """
        try:
            return self._ask()
        except BaseException:
            admin, self._admin = self._admin, None
            if admin is not None:
                admin.close()
            raise

    def _ask(self) -> dict[TopicPartition, Standing]:
        if self._admin is None:
            timeouts = {"request_timeout_ms": int(ASK_SECONDS * 1000)}
            self._admin = KafkaAdminClient(**connection_settings(self._cluster) | timeouts)
        partitions = [
            TopicPartition(topic["name"], partition["partition_index"])
            for topic in self._admin.describe_topics(self._topics)
            for partition in topic["partitions"]
        ]
        ends = self._offsets(partitions, OffsetSpec.LATEST)
        [offsets] = self._admin.list_group_offsets([self._group]).values()
        committed = {tp: found.offset for tp, found in offsets.items() if found.offset >= 0}
        missing = [tp for tp in partitions if tp not in committed]
        committed |= self._offsets(missing, OffsetSpec.EARLIEST)
        return {tp: Standing(end, committed[tp]) for tp, end in ends.items()}

    def _offsets(self, partitions: Collection[TopicPartition], which: int) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        assert self._admin
        found = self._admin.list_partition_offsets(
            dict.fromkeys(partitions, which),
            isolation_level=IsolationLevel.READ_COMMITTED,
            timeout_ms=int(ASK_SECONDS * 1000),
        )
        return {partition: place.offset for partition, place in found.items()}
