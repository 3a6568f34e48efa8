"""What the two consumers store: of which topic, which fields, as what. Pure: knows no Kafka and no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from pipeline.connection import ANALYTICS_EVENTS
from pipeline.events import AnalyticsEvent
from workshops.musinsa.config import PRODUCTS
from workshops.musinsa.products import PublishedProduct


class Field(NamedTuple):
    """The types of a field in both services."""

    postgres: str
    opensearch: str


@dataclass(frozen=True)
class Kind:
    """The records of a topic, and how they are stored.

    Attributes:
        schema: what a record's JSON has to be.
        identity: the field that says what a record is about; a later record replaces an earlier one.
        fields: all fields of the schema.
    """

    schema: type[msgspec.Struct]
    identity: str
    fields: Mapping[str, Field]


KINDS = {
    PRODUCTS: Kind(
        PublishedProduct,
        "url",
        {
            "url": Field("text", "keyword"),
            "name": Field("text", "text"),
            "brand": Field("text", "keyword"),
            "price": Field("integer", "integer"),
            "category": Field("text", "keyword"),
            "image_url": Field("text", "keyword"),
            "published_at": Field("timestamptz", "date"),
        },
    ),
    ANALYTICS_EVENTS: Kind(
        AnalyticsEvent,
        "event_id",
        {
            "event_id": Field("uuid", "keyword"),
            "event_type": Field("text", "keyword"),
            "source": Field("text", "keyword"),
            "user_id": Field("bigint", "long"),
            "occurred_at": Field("timestamptz", "date"),
            "details": Field("jsonb", "flat_object"),  # other fields in each kind of event
        },
    ),
}


class UnstorableError(ValueError):
    """A record can't be stored; the message says why."""


def decode(kind: Kind, value: bytes | None) -> dict[str, Any]:
    """Give the fields of a record.

    Args:
        kind: what the record has to be.
        value: of the record.

    Raises:
        UnstorableError: it is something else.
    """
    if value is None:
        raise UnstorableError("The record has no value")
    try:
        return msgspec.structs.asdict(msgspec.json.decode(value, type=kind.schema))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnstorableError(str(error)) from error
