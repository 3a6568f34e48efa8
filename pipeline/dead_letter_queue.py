"""Reads analytics-dlq, and what replays have noted about its letters.

The notes are the topic analytics-dlq-replays: a record for each letter that was sent back, written in the
same transaction as the letter.
"""

import heapq
import time
from collections.abc import Iterator
from datetime import datetime

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CorruptRecordError

from pipeline.connection import (
    ANALYTICS_DLQ,
    DLQ_REPLAYS,
    SOURCES,
    client_settings,
    connect,
    count_partitions,
)
from pipeline.letters import Filter, Letter, Unreadable, identity, own_letter, time_of
from pipeline.process import PipelineError, Stop, Stopped

POLL_MS = 500
MAX_RECORDS = 10_000  # what one fetch brings is taken whole, as the next one may be of another partition
PATIENCE_SECONDS = 10
PATIENCE_MS = PATIENCE_SECONDS * 1000
NOTES = TopicPartition(DLQ_REPLAYS, 0)


class DeadLetterQueue:
    """The queue and the notes, read by one consumer, a partition at a time.

    Attributes:
        sent_back: when which event was sent back, as far as the notes are read.
    """

    def __init__(self, servers: str, stop: Stop) -> None:
        """Connect.

        Args:
            servers: bootstrap servers.
            stop: ends the reading of letters.

        Raises:
            KafkaError: the broker is away, or refuses.
        """
        self.sent_back: dict[bytes, datetime] = {}
        self._notes_read = 0
        self._stop = stop
        self._consumer = connect(
            KafkaConsumer,
            **client_settings(servers),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )

    def letters(self, wanted: Filter) -> Iterator[Letter]:
        """Give the letters that are there now, those that died first first.

        Args:
            wanted: which of them.

        Raises:
            Stopped: a stop was requested.
            PipelineError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        self.read_notes()
        partitions = range(count_partitions(self._consumer, ANALYTICS_DLQ))
        ends = self._ends([TopicPartition(ANALYTICS_DLQ, number) for number in partitions])
        of_each = (self._letters_of(partition, end) for partition, end in ends.items())
        yield from filter(wanted.takes, heapq.merge(*of_each, key=lambda letter: letter.died_at))

    def read_notes(self, end: int | None = None) -> None:
        """Read on in the notes, also when a stop is requested.

        A note without a value takes back an earlier one: that letter may be sent back once more.

        Args:
            end: the offset behind the last one to read; None reads all that are there.

        Raises:
            PipelineError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        if end is None:  # asking for the end of a topic could make it
            end = self._ends([NOTES])[NOTES] if DLQ_REPLAYS in self._consumer.topics() else 0
        while self._notes_read < end:
            records, self._notes_read = self._fetch(NOTES, self._notes_read)
            for record in records:
                if record.value is None:
                    self.sent_back.pop(record.key, None)
                else:
                    self.sent_back[record.key] = time_of(record.timestamp)

    def source_partitions(self) -> dict[str, int]:
        """Tell how many partitions each source has."""
        return {topic: count_partitions(self._consumer, topic) for topic in SOURCES.values()}

    def _ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._consumer.end_offsets(partitions, timeout_ms=PATIENCE_MS))

    def _letters_of(self, partition: TopicPartition, end: int) -> Iterator[Letter]:
        position = 0
        while position < end:
            if self._stop.requested:
                raise Stopped
            try:
                records, position = self._fetch(partition, position)
            except CorruptRecordError:  # no letter of ours, and no reason not to reach those behind it
                yield Letter(Unreadable(partition.topic, partition.partition, position), None, None)
                position += 1
                continue
            for record in records:
                if record.offset < end:
                    yield self._letter(record)

    def _letter(self, record: ConsumerRecord) -> Letter:
        dead = own_letter(record)
        return Letter(record, dead, self.sent_back.get(identity(record, dead)) if dead else None)

    def _fetch(self, partition: TopicPartition, position: int) -> tuple[list[ConsumerRecord], int]:
        """Give the next records (none where only aborted ones were), and the position behind them."""
        # Not with pause(): what was fetched before it is sometimes never given out after it.
        if self._consumer.assignment() != {partition}:
            self._consumer.assign([partition])
        self._consumer.seek(partition, position)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            records = self._consumer.poll(timeout_ms=POLL_MS, max_records=MAX_RECORDS).get(partition, [])
            behind = self._consumer.position(partition, timeout_ms=PATIENCE_MS)
            if behind > position:
                return records, behind
        raise PipelineError(
            f"{partition.topic}[{partition.partition}]@{position} could not be read for "
            f"{PATIENCE_SECONDS} s. Is Kafka still there? Start again."
        )
