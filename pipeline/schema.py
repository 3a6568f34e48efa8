"""The schemas, and a normalize function for each source: many kinds of event in, one kind out. Pure.

The structs below are the schema; msgspec checks every event against them while it decodes it. Decoding is
strict: a number in quotes, a `1.0` where an integer belongs or a date without offset makes a broken event. It
is never coerced into something that looks right.

The reason of a dead letter is the message of the BrokenEventError that is raised here: mostly msgspec's own
words, such as "Object missing required field `page`".
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Annotated, Literal, TypeVar, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from pipeline.text import NotUtf8, printable

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# Beyond 64 bits most databases and languages downstream could not hold the number.
UserId = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
Quantity = Annotated[int, Meta(ge=1, le=INT64_MAX)]
MinorUnits = Annotated[int, Meta(ge=0, le=INT64_MAX)]
CurrencyCode = Annotated[str, Meta(pattern="^[A-Z]{3}", max_length=3)]  # ISO 4217, three letters in all
Timestamp = Annotated[datetime, Meta(tz=True)]  # RFC 3339 with offset

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_REASON_CHARACTERS = 300

Event = TypeVar("Event")

# The classes of reasons, for counters: few, and the same ones whatever an event contains. Each with the
# beginnings of the messages, ours and msgspec's.
_BEGINNINGS = {
    "no_value": r"Value is null|Value is empty|The record has no value",
    "not_utf8": r"Value is not UTF-8|'utf-8' codec",
    "not_json": r"JSON is malformed|Input data was truncated|Value starts with a byte order mark",
    "too_deep": r"JSON is nested too deeply|maximum recursion depth",
    "bad_header": r"Header name",
    "missing_field": r"Object missing required field",
    "wrong_type": r"Expected `[^`]*`, got `",
    "bad_value": r"Expected `|Invalid |Integer value out of range|Number out of range|Timestamp is outside",
}
_CLASS = re.compile("|".join(f"(?P<{name}>{beginnings})" for name, beginnings in _BEGINNINGS.items()))
OTHER_REASON = "other"
REASON_CLASSES = (*_BEGINNINGS, OTHER_REASON)

Source = Literal["web", "purchase"]
SOURCES: tuple[str, ...] = get_args(Source)


class WebEvent(Struct, frozen=True, kw_only=True):
    """What a user did on the web site, as producer_web.py sends it."""

    event_id: UUID
    event_type: Literal["page_view", "click", "search", "add_to_cart"]
    user_id: UserId
    page: str
    timestamp: Timestamp


class PurchaseEvent(Struct, frozen=True, kw_only=True):
    """What a user bought, as producer_purchase.py sends it."""

    order_id: UUID
    user_id: UserId
    product_id: str
    quantity: Quantity
    amount: MinorUnits
    currency: CurrencyCode
    timestamp: Timestamp


class AnalyticsEvent(Struct, frozen=True, kw_only=True):
    """The one schema that everything downstream reads.

    Attributes:
        event_id: for a purchase its order_id.
        event_type: for a purchase "purchase".
        source: where the event was observed.
        user_id: the user who caused it.
        occurred_at: the time of the event, always in UTC.
        details: the fields that only events of this source have.
    """

    event_id: UUID
    event_type: str
    source: Source
    user_id: int
    occurred_at: Annotated[datetime, Meta(tz=True)]
    details: dict[str, str | int]


class BrokenEventError(ValueError):
    """An event that can't be normalized; the message is the reason, on one line, in printable characters."""


_decode_web_event = msgspec.json.Decoder(WebEvent).decode
_decode_purchase_event = msgspec.json.Decoder(PurchaseEvent).decode
encode: Callable[[AnalyticsEvent], bytes] = msgspec.json.Encoder().encode
decode: Callable[[bytes], AnalyticsEvent] = msgspec.json.Decoder(AnalyticsEvent).decode


def reason_class(error: Exception) -> str:
    """Return which of REASON_CLASSES the reason of a dead letter belongs to.

    Args:
        error: a BrokenEventError, or another error with msgspec's words.
    """
    found = _CLASS.match(str(error))
    return (found and found.lastgroup) or OTHER_REASON


def check_headers(headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Check that other clients can read the headers of an event.

    Raises:
        BrokenEventError: the name of a header is not UTF-8; kafka-python by itself can't read such a record.
    """
    for name, _ in headers:
        if isinstance(name, NotUtf8):
            raise BrokenEventError(f"Header name is not UTF-8: {printable(name)}"[:MAX_REASON_CHARACTERS])


def normalize_web(value: bytes | None) -> AnalyticsEvent:
    """Turn the value of a web-events record into an analytics event.

    Args:
        value: the record's value, as it came from Kafka; None for a null value.

    Raises:
        BrokenEventError: the value is not a valid web event.
    """
    event = _decode(_decode_web_event, value)
    return AnalyticsEvent(
        event_id=event.event_id,
        event_type=event.event_type,
        source="web",
        user_id=event.user_id,
        occurred_at=_in_utc(event.timestamp),
        details={"page": event.page},
    )


def normalize_purchase(value: bytes | None) -> AnalyticsEvent:
    """Turn the value of a purchase-events record into an analytics event.

    Args:
        value: the record's value, as it came from Kafka; None for a null value.

    Raises:
        BrokenEventError: the value is not a valid purchase event.
    """
    event = _decode(_decode_purchase_event, value)
    return AnalyticsEvent(
        event_id=event.order_id,
        event_type="purchase",
        source="purchase",
        user_id=event.user_id,
        occurred_at=_in_utc(event.timestamp),
        details={
            "product_id": event.product_id,
            "quantity": event.quantity,
            "amount": event.amount,
            "currency": event.currency,
        },
    )


def _decode(decoder: Callable[[str], Event], value: bytes | None) -> Event:
    if value is None:
        raise BrokenEventError("Value is null")
    if not value:
        raise BrokenEventError("Value is empty")
    try:
        # Decode the text first: msgspec accepts bytes that are not UTF-8 inside of fields it drops.
        return decoder(value.decode())
    except UnicodeDecodeError as error:
        raise BrokenEventError(f"Value is not UTF-8: {error.reason} (byte {error.start})") from error
    except RecursionError as error:
        raise BrokenEventError("JSON is nested too deeply") from error
    except msgspec.DecodeError as error:
        if value.startswith(BYTE_ORDER_MARK):
            raise BrokenEventError(
                "Value starts with a byte order mark (BOM), JSON must not (RFC 8259)"
            ) from None
        reason = str(error)
        cut = reason[:MAX_REASON_CHARACTERS] + ("…" if len(reason) > MAX_REASON_CHARACTERS else "")
        raise BrokenEventError(printable(cut)) from error


def _in_utc(timestamp: datetime) -> datetime:
    try:
        return timestamp.astimezone(timezone.utc)
    except OverflowError as error:  # 0001-01-01T00:00:00+09:00 is still in the year before
        raise BrokenEventError("Timestamp is outside of the years 1 to 9999 in UTC") from error
