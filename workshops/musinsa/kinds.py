"""What the two consumers store: the fields of each topic, and their types. Pure: no Kafka, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from pipeline.schema import AnalyticsEvent
from pipeline.topics import ANALYTICS_EVENTS
from workshops.musinsa.config import PRODUCTS
from workshops.musinsa.products import PublishedProduct


class Field(NamedTuple):
    """The type of a field in both services."""

    postgres: str
    opensearch: str


@dataclass(frozen=True)
class Kind:
    """The records of a topic, and how they are stored.

    Attributes:
        schema: of a record's JSON.
        identity: the field that identifies the thing; a later record of it replaces an earlier one.
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
            "details": Field("jsonb", "flat_object"),  # other fields for each source
        },
    ),
}


class UnstorableError(ValueError):
    """A record that can't be stored; the message is the reason."""


def decode(kind: Kind, value: bytes | None) -> dict[str, Any]:
    """Return the fields of a record.

    Args:
        kind: of the record.
        value: of the record.

    Raises:
        UnstorableError: the value does not fit the schema.
    """
    if value is None:
        raise UnstorableError("The record has no value")
    try:
        return msgspec.structs.asdict(msgspec.json.decode(value, type=kind.schema))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnstorableError(str(error)) from error
