"""Record <-> dead letter. Pure: knows no Kafka.

A dead letter is the source record with its key, value, headers and timestamp byte for byte, and eight more
headers behind its own that say where it came from and why it died. Their names are those of KIP-1191 (dead
letter queues for share groups), so that tools made for these read ours too.
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple, Protocol

PREFIX = "__dlq.errors."
TOPIC = PREFIX + "topic"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
GROUP = PREFIX + "group"
MESSAGE = PREFIX + "message"
EXCEPTION = PREFIX + "exception"
TIMESTAMP = PREFIX + "timestamp"
DELIVERY_COUNT = PREFIX + "delivery.count"
NAMES = (TOPIC, PARTITION, OFFSET, GROUP, MESSAGE, EXCEPTION, TIMESTAMP, DELIVERY_COUNT)

MAX_MESSAGE_BYTES = 512
MAX_COUNT_DIGITS = 9  # whoever sends more digits than that did not count

Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """The part of a Kafka record that a dead letter is made of."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> Headers: ...  # noqa: D102


class DeadLetter(NamedTuple):
    """What the headers of a dead letter say.

    Attributes:
        topic, partition, offset: where the record came from.
        group: the consumer group that could not process it.
        message: why, for a person.
        exception: why, for a program: the name of the exception's class.
        died_at: when, in UTC.
        delivery_count: how often it was tried; 1 unless it was replayed.
        headers: the record's own headers.
    """

    topic: str
    partition: int
    offset: int
    group: str
    message: str
    exception: str
    died_at: datetime
    delivery_count: int
    headers: Headers


def dead_letter_headers(
    record: Record, error: Exception, group: str, now: datetime | None = None
) -> list[tuple[str, bytes | None]]:
    """Give the headers of the dead letter that `record` becomes: its own, then ours.

    Args:
        record: the source record.
        error: why it can't be processed.
        group: the consumer group that tried.
        now: the time to note, with its offset; the current time where it is not given.
    """
    cause = error.__cause__ or error
    ours = {
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        GROUP: group,
        MESSAGE: _shortened(str(error) or type(error).__name__),
        EXCEPTION: type(cause).__qualname__,
        TIMESTAMP: (now or datetime.now(timezone.utc)).isoformat(timespec="milliseconds"),
        DELIVERY_COUNT: str(_earlier_deliveries(record.headers) + 1),
    }
    return [*record.headers, *((name, text.encode()) for name, text in ours.items())]


def read_dead_letter(headers: Headers) -> DeadLetter | None:
    """Read what `dead_letter_headers` wrote.

    Args:
        headers: all headers of a record in the dead letter queue.

    Returns:
        None for a foreign record, one that this module did not make: ours are the last eight headers.
    """
    own, ours = headers[: -len(NAMES)], headers[-len(NAMES) :]
    if tuple(name for name, _ in ours) != NAMES:
        return None
    try:
        texts = [(value or b"").decode() for _, value in ours]
        topic, partition, offset, group, message, exception, timestamp, count = texts
        return DeadLetter(
            topic, _number(partition), _number(offset), group, message, exception, _utc(timestamp),
            _number(count), own,
        )  # fmt: skip
    except (ValueError, OverflowError):  # not a number, not a time, not UTF-8
        return None


def replay_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """Give the headers of a dead letter that goes back to its source: its own, then how often it was tried.

    The processor counts on from there, if it fails again.

    Args:
        letter: what `read_dead_letter` gave.
    """
    own = list(letter.headers)
    if own[-1:] == [(DELIVERY_COUNT, str(letter.delivery_count - 1).encode())]:
        own.pop()  # of the replay before
    return [*own, (DELIVERY_COUNT, str(letter.delivery_count).encode())]


def _earlier_deliveries(headers: Headers) -> int:
    """A replayed record carries the count of the dead letter it was; any other has none."""
    counts = [value for name, value in headers if name == DELIVERY_COUNT]
    if not counts or not counts[-1] or len(counts[-1]) > MAX_COUNT_DIGITS or not counts[-1].isdigit():
        return 0
    return int(counts[-1])


def _number(text: str) -> int:
    """Read a number in the one way in which `dead_letter_headers` writes it."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(timezone.utc)


def _shortened(message: str) -> str:
    """At most MAX_MESSAGE_BYTES in UTF-8, cut between two characters."""
    return message.encode(errors="backslashreplace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")
