"""What a product is. Pure: knows no Kafka and no I/O.

A crawled product has no `published_at`; the producer adds it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

MAX_ID_BYTES = 512  # of a document in OpenSearch

# Not longer than that, so that a product fits into a record and into an index whatever a page holds.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Address = Annotated[str, msgspec.Meta(max_length=2000)]


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product as a page shows it; two of the same URL are the same product.

    Attributes:
        url: of its page.
        name: with its colour, such as "패딩 자켓 - 블랙".
        brand: who makes it.
        price: in won.
        category: of the shop, such as "아우터".
        image_url: of its picture.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+(/|$)\S*$")]
    name: Text
    brand: Text
    price: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    category: Text | None = None
    image_url: Address | None = None

    def __post_init__(self) -> None:
        """Check what a pattern can't; msgspec reports it as a ValidationError."""
        if len(self.url.encode()) > MAX_ID_BYTES:
            raise ValueError(f"`url` is longer than {MAX_ID_BYTES} bytes")


class PublishedProduct(Product, frozen=True, kw_only=True):
    """A product as it is in the topic.

    Attributes:
        published_at: when it was sent, with offset.
    """

    published_at: Annotated[datetime, msgspec.Meta(tz=True)]


def check(product: Mapping[str, Any]) -> Product:
    """Check a crawled product.

    Args:
        product: its fields.

    Raises:
        msgspec.ValidationError: a field is missing or wrong; the message names it.
    """
    return msgspec.convert(product, Product)
