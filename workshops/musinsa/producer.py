"""Sends products to musinsa-products: one by one with ProductProducer, or many with publish_products().

As a script it sends those that it reads from stdin, one JSON object a line, as crawler.py prints them.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.future import FutureRecordMetadata

from pipeline.cli.options import option_parser
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.producing import flush
from pipeline.client.settings import connection_settings
from pipeline.text import printable
from workshops.musinsa.config import PARTITIONS, PRODUCTS
from workshops.musinsa.products import check

DELIVERY_SECONDS = 30.0
CLOSE_SECONDS = 2.0
EXAMPLES = """
    python -m workshops.musinsa.crawler | python -m workshops.musinsa.producer
"""


class Published(NamedTuple):
    """How many products the broker confirmed, and how many it did not."""

    succeeded: int
    failed: int


class ProductProducer:
    """Sends products and reports for each whether Kafka has it. Use it as a context manager."""

    def __init__(self, servers: str) -> None:
        """Connect.

        Args:
            servers: bootstrap servers.

        Raises:
            PipelineError: no broker answers.
        """
        ensure_topics(servers, PRODUCTS, partitions=PARTITIONS)
        self._client = KafkaProducer(
            **connection_settings(servers),
            acks="all",
            delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        )

    def __enter__(self) -> "ProductProducer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(KafkaError):
            self._client.close(timeout=CLOSE_SECONDS)

    def publish(self, product: Mapping[str, Any]) -> bool:
        """Send a product and wait for the broker; return whether it has the product."""
        return self.publish_all([product]).succeeded == 1

    def publish_all(self, products: Iterable[Mapping[str, Any]]) -> Published:
        """Send products together, which is faster than one by one, and count the outcomes."""
        futures = [self._send(product) for product in products]
        with suppress(KafkaTimeoutError):  # what is still in flight counts as failed
            flush(self._client, DELIVERY_SECONDS)
        succeeded = sum(future is not None and future.succeeded() for future in futures)
        return Published(succeeded, len(futures) - succeeded)

    def _send(self, product: Mapping[str, Any]) -> FutureRecordMetadata | None:
        try:
            value = msgspec.json.encode({**product, "published_at": datetime.now(timezone.utc)})
            # The key keeps all records of one product in one partition, and so in order.
            return self._client.send(PRODUCTS, key=str(product["url"]).encode(), value=value)
        # Such as one that is too large, has no URL, or can't be written as JSON.
        except (KafkaError, KeyError, TypeError, ValueError) as error:
            log.warning(f"Not published: {type(error).__name__}: {error}")
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


def read_products(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Return the products of JSON lines; a line that is no product is reported and left out."""
    for line in lines:
        try:
            yield msgspec.to_builtins(check(msgspec.json.decode(line, type=dict[str, Any])))
        except msgspec.DecodeError as error:
            log.warning(printable(f"Left out: {error}: {line.strip()}"))


def main() -> None:
    """Publish the products on stdin."""
    servers = option_parser(__doc__, EXAMPLES).parse_args().bootstrap_servers
    Stop()  # Ctrl-C ends the process within seconds, whatever it waits for
    published = publish_products(read_products(sys.stdin), servers)
    print(f"Published: {published.succeeded}, failed: {published.failed}")
    if published.failed:
        raise PipelineError(f"{published.failed} products were not published.")


if __name__ == "__main__":
    run_kafka_script(main)
