"""Record <-> dead letter, and the place of a record. Pure: knows no Kafka.

A dead letter is the source record with its key, value, headers and timestamp byte for byte. Behind its own
headers come eight more that name its place in the source and the reason why it could not be processed. Their
names are those of KIP-1191 (dead letter queues for share groups) where it has one, so that tools made for
these read ours, too.
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple, Protocol

HEADER_PREFIX = "__dlq.errors."
TOPIC = HEADER_PREFIX + "topic"
PARTITION = HEADER_PREFIX + "partition"
OFFSET = HEADER_PREFIX + "offset"
GROUP = HEADER_PREFIX + "group"
MESSAGE = HEADER_PREFIX + "message"
EXCEPTION = HEADER_PREFIX + "exception"
TIMESTAMP = HEADER_PREFIX + "timestamp"
DELIVERY_COUNT = HEADER_PREFIX + "delivery.count"
NAMES = (TOPIC, PARTITION, OFFSET, GROUP, MESSAGE, EXCEPTION, TIMESTAMP, DELIVERY_COUNT)

MAX_MESSAGE_BYTES = 512
MAX_COUNT_DIGITS = 9  # a longer number is no count of deliveries

Headers = Sequence[tuple[str, bytes | None]]


class Place(Protocol):
    """Anything that names a record: a Kafka record, the metadata of one that was sent, a dead letter."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


class Record(Place, Protocol):
    """The part of a Kafka record that a dead letter is made of."""

    @property
    def headers(self) -> Headers: ...  # noqa: D102


class DeadLetter(NamedTuple):
    """What the headers of a dead letter contain.

    Attributes:
        topic, partition, offset: the record's place in its source.
        group: the consumer group that could not process it.
        message: the reason, for a person.
        exception: the reason, for a program: the class of the error's cause, if it has one, or of the error.
        failed_at: the time of the failure, in UTC.
        delivery_count: the number of attempts; 1 unless the record was replayed.
        headers: the record's own headers.
    """

    topic: str
    partition: int
    offset: int
    group: str
    message: str
    exception: str
    failed_at: datetime
    delivery_count: int
    headers: Headers


def place_of(record: Place) -> str:
    """Return topic, partition and offset in one word, such as web-events[2]@17."""
    return f"{record.topic}[{record.partition}]@{record.offset}"


def dead_letter_headers(
    record: Record, error: Exception, group: str, now: datetime | None = None
) -> list[tuple[str, bytes | None]]:
    """Return the headers of the dead letter that `record` becomes: its own, then the eight of this module.

    Args:
        record: the source record.
        error: the reason why it can't be processed.
        group: the consumer group that tried.
        now: the time of the failure, with its UTC offset (default: the current time).
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
    """Read what `dead_letter_headers` wrote: the last eight headers.

    Args:
        headers: all headers of a record in the dead letter queue.

    Returns:
        None for a foreign record: one without these headers in this order, or with values of another form.
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
    """Return the headers for the replay of a dead letter: its own, then its delivery count.

    The processor continues to count from there if the record fails again.

    Args:
        letter: the result of `read_dead_letter`.
    """
    own = list(letter.headers)
    if letter.delivery_count > 1 and own[-1:] == [(DELIVERY_COUNT, str(letter.delivery_count - 1).encode())]:
        own.pop()  # the count of the replay before
    return [*own, (DELIVERY_COUNT, str(letter.delivery_count).encode())]


def _earlier_deliveries(headers: Headers) -> int:
    """Return the count that a replayed record carries; 0 for any other record."""
    counts = [value for name, value in headers if name == DELIVERY_COUNT]
    if not counts or not counts[-1] or len(counts[-1]) > MAX_COUNT_DIGITS or not counts[-1].isdigit():
        return 0
    return int(counts[-1])


def _number(text: str) -> int:
    """Read a number, spelled as `dead_letter_headers` spells it."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(timezone.utc)


def _shortened(message: str) -> str:
    """Cut a message to MAX_MESSAGE_BYTES in UTF-8, between two characters."""
    return message.encode(errors="backslashreplace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")
