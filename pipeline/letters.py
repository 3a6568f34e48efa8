"""Reads analytics-dlq, in the order in which the letters died, and what a replay has noted about them.

The notes are the topic analytics-dlq-replays: a record for each letter that was sent back, written in the
same transaction as the letter.
"""

import heapq
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.connection import (
    ANALYTICS_DLQ,
    DLQ_REPLAYS,
    SOURCES,
    client_settings,
    connect,
    count_partitions,
)
from pipeline.dead_letters import DeadLetter, Headers, Record, read_dead_letter
from pipeline.process import PipelineError, Stop

POLL_MS = 500
MAX_RECORDS = 10_000  # what one fetch brings is taken whole, as the next partition may be another
PATIENCE_SECONDS = 10
PATIENCE_MS = PATIENCE_SECONDS * 1000
NOTES = TopicPartition(DLQ_REPLAYS, 0)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FOREIGN = "foreign record, not a dead letter of this pipeline"


class Letter(NamedTuple):
    """A record of the dead letter queue.

    Attributes:
        record: as it lies there.
        dead: what its headers say; None for a foreign record.
        sent_back_at: when a replay sent it back to its source, if one did.
    """

    record: ConsumerRecord
    dead: DeadLetter | None
    sent_back_at: datetime | None

    @property
    def place(self) -> str:
        """Where it came from; of a foreign record where it lies."""
        return _place(self.dead or self.record)

    @property
    def lies_at(self) -> str:
        """Where it lies in the queue."""
        return _place(self.record)

    @property
    def headers(self) -> Headers:
        """The headers of the record that died; of a foreign record its own."""
        return self.dead.headers if self.dead else self.record.headers

    @property
    def source(self) -> str | None:
        """One of SOURCES; None for a foreign record."""
        return next((name for name, topic in SOURCES.items() if self.dead and topic == self.dead.topic), None)

    @property
    def reason(self) -> str:
        """Why it died."""
        return self.dead.message if self.dead else FOREIGN

    @property
    def died_at(self) -> datetime:
        """When; of a foreign record its timestamp."""
        return self.dead.died_at if self.dead else moment(self.record.timestamp)


class Filter(NamedTuple):
    """Which letters to take; without any of these all.

    Attributes:
        source: one of SOURCES.
        reason: a part of the reason, in upper or lower case.
        since: when it died at the earliest.
    """

    source: str | None = None
    reason: str | None = None
    since: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """Tell whether a letter passes."""
        return (
            (self.source is None or letter.source == self.source)
            and (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.since is None or letter.died_at >= self.since)
        )


ALL = Filter()


class DeadLetterQueue:
    """The queue and the notes, read by one consumer, a partition at a time."""

    def __init__(self, servers: str, stop: Stop) -> None:
        """Connect.

        Args:
            servers: bootstrap servers.
            stop: ends the reading, wherever it is.

        Raises:
            KafkaError: the broker is away, or refuses.
        """
        self.sent_back: dict[bytes, datetime] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._stop = stop
        self._consumer = connect(
            KafkaConsumer,
            **client_settings(servers),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        self._letters = [
            TopicPartition(ANALYTICS_DLQ, number)
            for number in range(count_partitions(self._consumer, ANALYTICS_DLQ))
        ]
        # Without replays there are no notes, and asking for their partitions might make the topic.
        self._notes = [NOTES] if DLQ_REPLAYS in self._consumer.topics() else []

    def letters(self, wanted: Filter = ALL) -> Iterator[Letter]:
        """Give the letters that are there now, those that died first first.

        Args:
            wanted: which of them.

        Raises:
            PipelineError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        for end in self._consumer.end_offsets(self._notes, timeout_ms=PATIENCE_MS).values():
            self.read_notes(end)
        ends = self._consumer.end_offsets(self._letters, timeout_ms=PATIENCE_MS)
        of_partitions = (map(self._letter, self._read(partition, end)) for partition, end in ends.items())
        yield from filter(wanted.takes, heapq.merge(*of_partitions, key=lambda letter: letter.died_at))

    def source_partitions(self) -> dict[str, int]:
        """Tell how many partitions each source has."""
        return {topic: count_partitions(self._consumer, topic) for topic in SOURCES.values()}

    def read_notes(self, end: int) -> None:
        """Read what replays have noted, on to this offset.

        A note without a value takes back an earlier one: that letter may be sent back once more.

        Args:
            end: the offset behind the last note.

        Raises:
            PipelineError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        for record in self._read(NOTES, end):
            if record.value is None:
                self.sent_back.pop(record.key, None)
            else:
                self.sent_back[record.key] = moment(record.timestamp)

    def _letter(self, record: ConsumerRecord) -> Letter:
        dead = read_dead_letter(record.headers)
        if dead is None or dead.topic not in SOURCES.values():
            return Letter(record, None, None)
        return Letter(record, dead, self.sent_back.get(identity(record, dead)))

    def _read(self, partition: TopicPartition, end: int) -> Iterator[ConsumerRecord]:
        position = self._positions.get(partition, 0)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while position < end and not self._stop.requested:
            # Not with pause(): records that were fetched before it are sometimes never given out after it.
            if self._consumer.assignment() != {partition}:
                self._consumer.assign([partition])
                self._consumer.seek(partition, position)
            records = self._consumer.poll(timeout_ms=POLL_MS, max_records=MAX_RECORDS).get(partition, [])
            before, position = position, self._consumer.position(partition, timeout_ms=PATIENCE_MS)
            self._positions[partition] = position
            if position > before:  # also past records that were aborted
                yield from (record for record in records if record.offset < end)
                give_up = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > give_up:
                raise PipelineError(
                    f"{partition.topic}[{partition.partition}]@{position} could not be read for "
                    f"{PATIENCE_SECONDS} s. Is Kafka still there? Start again."
                )


def identity(record: ConsumerRecord, dead: DeadLetter) -> bytes:
    """Give the name of the event that died, for the notes.

    Its place in the source, whatever number of groups made a dead letter of it; and its timestamp, as a topic
    that was deleted and made anew counts its offsets from 0 again.

    Args:
        record: the dead letter.
        dead: what its headers say.
    """
    return f"{dead.topic}:{dead.partition}:{dead.offset}:{record.timestamp}".encode()


def moment(milliseconds: int) -> datetime:
    """Give a record's timestamp as a time in UTC; one that is no time at all as the beginning of 1970.

    Args:
        milliseconds: since 1970.
    """
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return EPOCH


def _place(record: Record | DeadLetter) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
