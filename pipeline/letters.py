"""What dlq.py calls a letter: a record of the dead letter queue. Pure: reads nothing, sends nothing."""

from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from kafka.consumer.fetcher import ConsumerRecord

from pipeline.connection import SOURCES
from pipeline.dead_letters import DeadLetter, Headers, Record, read_dead_letter

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
CREATE_TIME = 0  # what a record's timestamp is, unless its topic says that the broker sets it
FOREIGN = "foreign record, not a dead letter of this pipeline"
UNREADABLE = "foreign record, which kafka-python can't read"


class Unreadable(NamedTuple):
    """In place of a record that kafka-python can't read, such as one with a header name that is not UTF-8."""

    topic: str
    partition: int
    offset: int
    headers: Headers = ()
    timestamp: int = -1
    key: None = None
    value: None = None


class Letter(NamedTuple):
    """A record of the dead letter queue.

    Attributes:
        record: as it lies there.
        dead: what its headers say; None for a foreign record.
        sent_back_at: when a replay sent it back to its source, if one did.
    """

    record: ConsumerRecord | Unreadable
    dead: DeadLetter | None
    sent_back_at: datetime | None

    @property
    def place(self) -> str:
        """Where it came from; of a foreign record where it lies."""
        return place_of(self.dead or self.record)

    @property
    def lies_at(self) -> str:
        """Where it lies in the queue."""
        return place_of(self.record)

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
        if self.dead:
            return self.dead.message
        return UNREADABLE if isinstance(self.record, Unreadable) else FOREIGN

    @property
    def died_at(self) -> datetime:
        """When; of a foreign record its timestamp."""
        return self.dead.died_at if self.dead else time_of(self.record.timestamp)


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


def own_letter(record: ConsumerRecord) -> DeadLetter | None:
    """Read the headers of a record in the queue; None for a foreign one, also one of a foreign source."""
    dead = read_dead_letter(record.headers)
    return dead if dead and dead.topic in SOURCES.values() else None


def identity(record: ConsumerRecord, dead: DeadLetter) -> bytes:
    """Give the name of the event that died, for the notes of replays.

    Its place in the source, so that it is the same in whatever number of groups it died. And its timestamp,
    because a topic that was deleted and made anew counts its offsets from 0 again.

    Args:
        record: the dead letter.
        dead: what its headers say.
    """
    sent_at = record.timestamp if record.timestamp_type == CREATE_TIME else ""
    return f"{dead.topic}:{dead.partition}:{dead.offset}:{sent_at}".encode()


def time_of(timestamp: int) -> datetime:
    """Give a record's timestamp (milliseconds since 1970) in UTC; one beyond all calendars as 1970."""
    try:
        return EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return EPOCH


def place_of(record: Record | DeadLetter) -> str:
    """Name a record by its topic, partition and offset."""
    return f"{record.topic}[{record.partition}]@{record.offset}"
