"""Sends products to musinsa-products: one by one with ProductProducer, or many with publish_products()."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.future import FutureRecordMetadata

from pipeline.connection import client_settings, ensure_topics
from pipeline.status import say
from workshops.musinsa.config import PARTITIONS, PRODUCTS

DELIVERY_SECONDS = 30.0
CLOSE_SECONDS = 2.0


class Published(NamedTuple):
    """How many products the broker confirmed, and how many it did not."""

    succeeded: int
    failed: int


class ProductProducer:
    """Sends products and tells of each whether Kafka has it. Use it as a context manager."""

    def __init__(self, servers: str) -> None:
        """Connect.

        Args:
            servers: bootstrap servers.

        Raises:
            PipelineError: no broker answers.
        """
        ensure_topics(servers, PRODUCTS, partitions=PARTITIONS)
        self._client = KafkaProducer(
            **client_settings(servers),
            acks="all",
            delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        )

    def __enter__(self) -> "ProductProducer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(KafkaTimeoutError):
            self._client.close(timeout=CLOSE_SECONDS)

    def publish(self, product: Mapping[str, Any]) -> bool:
        """Send a product and wait until the broker has it; give back whether it has."""
        return self.publish_all([product]).succeeded == 1

    def publish_all(self, products: Iterable[Mapping[str, Any]]) -> Published:
        """Send products together, which is faster than one by one, and count what became of them."""
        futures = [self._send(product) for product in products]
        with suppress(KafkaTimeoutError):  # what is still on its way counts as failed
            self._client.flush(timeout=DELIVERY_SECONDS)
        succeeded = sum(future is not None and future.succeeded() for future in futures)
        return Published(succeeded, len(futures) - succeeded)

    def _send(self, product: Mapping[str, Any]) -> FutureRecordMetadata | None:
        try:
            value = msgspec.json.encode({**product, "published_at": datetime.now(timezone.utc)})
            # The key keeps what is said of one product in one partition, and so in order.
            return self._client.send(PRODUCTS, key=str(product["url"]).encode(), value=value)
        # Such as one that is too large, has no URL, or that JSON has no words for.
        except (KafkaError, KeyError, TypeError, ValueError) as error:
            say(f"Not published: {type(error).__name__}: {error}")
            return None


def publish_products(products: Iterable[Mapping[str, Any]], servers: str) -> Published:
    """Connect, send products together and close the connection again.

    Args:
        products: their fields, see products.py.
        servers: bootstrap servers.

    Returns:
        How many the broker confirmed, and how many it did not.

    Raises:
        PipelineError: no broker answers.
    """
    with ProductProducer(servers) as producer:
        return producer.publish_all(products)
