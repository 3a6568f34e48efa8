"""Reads analytics-dlq, and the ledger of replays.

The ledger is the topic analytics-dlq-replays: a record for each letter that was replayed, written in the same
transaction as the letter.
"""

import heapq
from collections.abc import Iterator
from datetime import datetime

import msgspec

from pipeline.cli.process import PipelineError, Stop, Stopped
from pipeline.client.reading import PartitionReader, Unreadable
from pipeline.dead_letters import place_of
from pipeline.dlq.letters import (
    SOURCE_TOPICS,
    Filter,
    Letter,
    StoredRecord,
    fingerprint,
    identity,
    own_letter,
    time_of,
)
from pipeline.topics import ANALYTICS_DLQ, DLQ_REPLAYS

LEDGER_PARTITION = 0


class Entry(msgspec.Struct):
    """An entry of the ledger; its key is the event's identity().

    Attributes:
        dead_letter: where the letter is stored, for people.
        edited: whether the value was edited, for people.
        sent: the fingerprint() of the record that was sent.
    """

    dead_letter: str = ""
    edited: bool = False
    sent: str = ""


def read_entry(value: bytes) -> Entry:
    """Read the value of an entry; one that somebody wrote by hand may be anything."""
    try:
        return msgspec.json.decode(value, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Entry()


class DeadLetterQueue:
    """The queue and the ledger, read by one consumer.

    Attributes:
        replayed: when which event was replayed, as far as the ledger is read.
    """

    def __init__(self, reader: PartitionReader, stop: Stop) -> None:
        """Read nothing yet.

        Args:
            reader: reads committed records only.
            stop: ends the reading of letters.
        """
        self.replayed: dict[bytes, datetime] = {}
        self._counted: set[str] = set()  # the fingerprints of the records that replays sent
        self._ledger_read = 0
        self._reader = reader
        self._stop = stop

    def letters(self, wanted: Filter) -> Iterator[Letter]:
        """Read the letters that are in the queue now, in the order in which they failed.

        Args:
            wanted: which of them.

        Raises:
            Stopped: a stop was requested.
            PipelineError: there is no such topic, or the ledger can't be read.
            NoAnswerError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        self.read_ledger(may_be_missing=True)
        ends = self._reader.ends(ANALYTICS_DLQ)
        by_partition = (self._letters_of(partition, end) for partition, end in ends.items())
        yield from filter(wanted.accepts, heapq.merge(*by_partition, key=lambda letter: letter.failed_at))

    def read_ledger(self, end: int | None = None, may_be_missing: bool = False) -> None:
        """Read the new entries of the ledger, also when a stop is requested.

        An entry without a value cancels an earlier one: that letter may be replayed once more.

        Args:
            end: the offset behind the last entry to read; None reads all that are there.
            may_be_missing: whether there may be no ledger, as before the first replay.

        Raises:
            PipelineError: there is no ledger, or an entry can't be read.
            NoAnswerError: the broker does not answer any more.
            KafkaError: it refuses.
        """
        if end is None:
            if may_be_missing and not self._reader.has(DLQ_REPLAYS):
                return
            end = self._reader.ends(DLQ_REPLAYS)[LEDGER_PARTITION]
        for record in self._reader.read(DLQ_REPLAYS, LEDGER_PARTITION, self._ledger_read, end):
            if isinstance(record, Unreadable):
                raise PipelineError(
                    f"{place_of(record)} can't be read, so it is not known which letters were replayed. "
                    f"Restore it from another replica; or delete topic {DLQ_REPLAYS}: then every letter may "
                    "be replayed once more."
                )
            if record.key is None:
                continue  # no entry of ours
            if record.value is None:
                self.replayed.pop(record.key, None)
            else:
                self.replayed[record.key] = time_of(record.timestamp)
                self._counted.add(read_entry(record.value).sent)
        self._ledger_read = max(self._ledger_read, end)

    def source_partitions(self) -> dict[str, int]:
        """Return the number of partitions of each source topic."""
        return {topic: self._reader.partition_count(topic) for topic in SOURCE_TOPICS.values()}

    def _letters_of(self, partition: int, end: int) -> Iterator[Letter]:
        for record in self._reader.read(ANALYTICS_DLQ, partition, 0, end):
            if self._stop.requested:
                raise Stopped
            yield self._letter(record)

    def _letter(self, record: StoredRecord) -> Letter:
        dead = own_letter(record)
        if dead and dead.delivery_count > 1:
            source_record = fingerprint(dead, record.key, record.value, dead.headers)
            if source_record not in self._counted:  # its sender wrote the count, not a replay
                dead = dead._replace(delivery_count=1)
        return Letter(record, dead, self.replayed.get(identity(record, dead)) if dead else None)
