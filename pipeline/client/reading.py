"""Readers outside of any consumer group: they look at topics and commit nothing."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CorruptRecordError

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.consuming import count_partitions, partitions_of
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import Headers, place_of

POLL_MS = 500
TAIL_POLL_MS = 200
MAX_RECORDS = 10_000  # all that one fetch brings, as the next fetch may be for another partition
PATIENCE_SECONDS = 10
PATIENCE_MS = PATIENCE_SECONDS * 1000


class Unreadable(NamedTuple):
    """In place of a record that kafka-python can't read: it is damaged on the broker's disk."""

    topic: str
    partition: int
    offset: int
    headers: Headers = ()
    timestamp: int = -1
    key: None = None
    value: None = None
    timestamp_type: int = -1


class NoAnswerError(PipelineError):
    """The broker does not answer any more."""


class PartitionReader:
    """Reads partitions from an offset to an offset, one partition at a time."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        """Take a consumer.

        Args:
            consumer: without group and subscription.
        """
        self._consumer = consumer

    def partition_count(self, topic: str) -> int:
        """Return the number of partitions of a topic.

        Raises:
            PipelineError: it does not exist.
        """
        return count_partitions(self._consumer, topic)

    def has(self, topic: str) -> bool:
        """Return whether a topic exists; to ask for its end could create it."""
        return topic in self._consumer.topics()

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic.

        Raises:
            PipelineError: it does not exist.
            KafkaError: the broker is unreachable, or refuses.
        """
        partitions = partitions_of(self._consumer, topic)
        ends = self._consumer.end_offsets(partitions, timeout_ms=PATIENCE_MS)
        return {partition.partition: end for partition, end in ends.items()}

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[ConsumerRecord | Unreadable]:
        """Read the records from offset `start` up to the one before `end`.

        Raises:
            NoAnswerError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        position = start
        while position < end:
            try:
                records, behind = self._fetch(TopicPartition(topic, partition), position)
            except CorruptRecordError:
                yield Unreadable(topic, partition, position)
                position += 1
                continue
            yield from (record for record in records if record.offset < end)
            position = behind

    def _fetch(self, partition: TopicPartition, position: int) -> tuple[list[ConsumerRecord], int]:
        """Return the next records (none where only aborted ones were), and the position behind them."""
        # Not with pause(): after resume() the client now and then returns nothing of what it had fetched.
        if self._consumer.assignment() != {partition}:
            self._consumer.assign([partition])
        self._consumer.seek(partition, position)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            records = self._consumer.poll(timeout_ms=POLL_MS, max_records=MAX_RECORDS).get(partition, [])
            behind = self._consumer.position(partition, timeout_ms=PATIENCE_MS)
            if behind > position:
                return records, behind
        place = place_of(Unreadable(partition.topic, partition.partition, position))
        raise NoAnswerError(
            f"{place} could not be read for {PATIENCE_SECONDS} s. Is Kafka still there? Start again."
        )


class Tail:
    """Reads what is committed to topics from now on."""

    def __init__(self, cluster: Cluster, *topics: str) -> None:
        """Remember where the topics end now.

        Args:
            cluster: where Kafka is, and how to connect.
            topics: their names.
        """
        self._consumer = KafkaConsumer(
            **connection_settings(cluster), enable_auto_commit=False, isolation_level="read_committed"
        )
        self._partitions = partitions_of(self._consumer, *topics)
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_end()
        for partition in self._partitions:
            self._consumer.position(partition)  # seek_to_end() is lazy, this is not

    def poll(self) -> list[ConsumerRecord]:
        """Return the records that came since the last call, or within TAIL_POLL_MS."""
        polled = self._consumer.poll(timeout_ms=TAIL_POLL_MS)
        return [record for records in polled.values() for record in records]

    def is_at(self, ends: dict[TopicPartition, int]) -> bool:
        """Return whether the tail has read up to these offsets."""
        return all(self._consumer.position(partition) >= end for partition, end in ends.items())

    def ends(self) -> dict[TopicPartition, int]:
        """Return where the topics end now."""
        ends: dict[TopicPartition, int] = self._consumer.end_offsets(self._partitions)
        return ends


class GroupOffsets:
    """The committed offsets of a consumer group, seen from outside."""

    def __init__(self, cluster: Cluster, group: str) -> None:
        """Connect.

        Args:
            cluster: where Kafka is, and how to connect.
            group: its name.
        """
        self._consumer = KafkaConsumer(
            **connection_settings(cluster), group_id=group, enable_auto_commit=False
        )

    def reached(self, topic: str, ends: dict[int, int]) -> bool:
        """Return whether the group has committed up to these offsets.

        Args:
            topic: its name.
            ends: an offset for each partition.
        """
        return all(
            (self._consumer.committed(TopicPartition(topic, partition)) or 0) >= end
            for partition, end in ends.items()
        )
