"""A letter: a record of the dead letter queue. Pure: reads nothing, sends nothing."""

from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import NamedTuple, Protocol

import msgspec

from pipeline.client.reading import Unreadable
from pipeline.dead_letters import DeadLetter, Headers, Record, place_of, read_dead_letter
from pipeline.schema import SOURCES
from pipeline.topics import source_topic

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FINGERPRINT_DIGITS = 32
CREATE_TIME = 0  # the type of a record's timestamp, unless its topic says that the broker sets it
FOREIGN = "foreign record, not a dead letter of this pipeline"
UNREADABLE = "foreign record, which kafka-python can't read"
SOURCE_TOPICS = {source: source_topic(source) for source in SOURCES}


class StoredRecord(Record, Protocol):
    """A record in a topic, as a consumer returns it."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def timestamp_type(self) -> int: ...  # noqa: D102


class Letter(NamedTuple):
    """A record of the dead letter queue.

    Attributes:
        record: the record as it is stored there.
        dead: the contents of its headers; None for a foreign record.
        replayed_at: when it was replayed to its source; None if it was not.
    """

    record: StoredRecord
    dead: DeadLetter | None
    replayed_at: datetime | None

    @property
    def place(self) -> str:
        """The place in its source; for a foreign record the place in the queue."""
        return place_of(self.dead or self.record)

    @property
    def stored_at(self) -> str:
        """The place in the queue."""
        return place_of(self.record)

    @property
    def headers(self) -> Headers:
        """The headers of the source record; for a foreign record its own."""
        return self.dead.headers if self.dead else self.record.headers

    @property
    def source(self) -> str | None:
        """One of SOURCES; None for a foreign record."""
        return next(
            (name for name, topic in SOURCE_TOPICS.items() if self.dead and topic == self.dead.topic), None
        )

    @property
    def reason(self) -> str:
        """Why it could not be processed."""
        if self.dead:
            return self.dead.message
        return UNREADABLE if isinstance(self.record, Unreadable) else FOREIGN

    @property
    def failed_at(self) -> datetime:
        """The time of the failure; for a foreign record its timestamp."""
        return self.dead.failed_at if self.dead else time_of(self.record.timestamp)


class Filter(NamedTuple):
    """Which letters to select; by default all.

    Attributes:
        source: one of SOURCES.
        reason: a part of the reason, in upper or lower case.
        since: the earliest time of the failure.
    """

    source: str | None = None
    reason: str | None = None
    since: datetime | None = None

    def accepts(self, letter: Letter) -> bool:
        """Return whether a letter passes."""
        return (
            (self.source is None or letter.source == self.source)
            and (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.since is None or letter.failed_at >= self.since)
        )


def own_letter(record: Record) -> DeadLetter | None:
    """Read the headers of a record in the queue; None for a foreign one, also one of a foreign source."""
    dead = read_dead_letter(record.headers)
    return dead if dead and dead.topic in SOURCE_TOPICS.values() else None


def identity(record: StoredRecord, dead: DeadLetter) -> bytes:
    """Return what identifies the event of a dead letter in the ledger of replays.

    It is the event's place in its source, so that an event that failed in several groups is one event. The
    timestamp belongs to it because the offsets of a recreated topic begin at 0 again; the value does where
    the broker sets the timestamps of the queue.

    Args:
        record: the dead letter.
        dead: the contents of its headers.
    """
    if record.timestamp_type == CREATE_TIME:
        what = str(record.timestamp)
    else:
        what = sha256(record.value or b"").hexdigest()[:FINGERPRINT_DIGITS]
    return f"{dead.topic}:{dead.partition}:{dead.offset}:{what}".encode()


def fingerprint(dead: DeadLetter, key: bytes | None, value: bytes | None, headers: Headers) -> str:
    """Return what identifies a record that a replay sent, by its contents: they are known before its offset.

    Args:
        dead: the letter whose source the record is sent to, or that it became.
        key: of the record.
        value: of the record.
        headers: of the record.
    """
    sent_headers = [(name.encode(), content or b"") for name, content in headers]
    contents = msgspec.msgpack.encode((dead.topic, dead.partition, key, value, sent_headers))
    return sha256(contents).hexdigest()[:FINGERPRINT_DIGITS]


def time_of(timestamp: int) -> datetime:
    """Return a record's timestamp (milliseconds since 1970) in UTC; one beyond all calendars as 1970."""
    try:
        return EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return EPOCH
