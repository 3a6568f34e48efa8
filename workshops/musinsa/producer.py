"""Sends products to musinsa-products: one by one with ProductProducer, or many with publish_products().

As a script it sends those that it reads from stdin, one JSON object a line, as crawler.py prints them.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple, TextIO

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from kafka.producer.future import FutureRecordMetadata

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import option_parser
from pipeline.cli.process import PipelineError, Stop, Stopped
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.producing import LAST_RECORDS_SECONDS
from pipeline.client.settings import connection_settings
from pipeline.text import printable
from workshops.musinsa.config import PARTITIONS, PRODUCTS
from workshops.musinsa.products import check
from workshops.musinsa.stopping import Patience

DELIVERY_SECONDS = 30.0
CLOSE_SECONDS = 1.0
LOOK_SECONDS = 0.1  # how long a wait takes to notice that a stop is requested
EXAMPLES = """
    python -m workshops.musinsa.crawler | python -m workshops.musinsa.producer
"""


class Published(NamedTuple):
    """How many products the broker confirmed, and how many it did not."""

    succeeded: int
    failed: int


class ProductProducer:
    """Sends products and reports for each whether Kafka has it. Use it as a context manager."""

    def __init__(self, cluster: Cluster, stop: Stop | None = None) -> None:
        """Connect.

        Args:
            cluster: where Kafka is, and how to connect.
            stop: shortens the wait for the broker's answer when it is requested.

        Raises:
            PipelineError: no broker answers.
        """
        ensure_topics(cluster, PRODUCTS, partitions=PARTITIONS)
        self._client = KafkaProducer(
            **connection_settings(cluster),
            acks="all",
            delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
        )
        self._client.partitions_for(PRODUCTS)  # else the first send() waits for that
        self._stop = stop

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
        self._wait(futures)  # what is still in flight then counts as failed
        succeeded = sum(future is not None and future.succeeded() for future in futures)
        return Published(succeeded, len(futures) - succeeded)

    def _wait(self, futures: Iterable[FutureRecordMetadata | None]) -> None:
        """Wait until each product has arrived or failed; not as long once a stop is requested."""
        waiting = [future for future in futures if future is not None]
        deadline = time.monotonic() + DELIVERY_SECONDS
        stopping = False
        while (waiting := [each for each in waiting if not each.is_done]) and time.monotonic() < deadline:
            if self._stop and self._stop.requested and not stopping:
                stopping = True
                deadline = time.monotonic() + LAST_RECORDS_SECONDS
            # The client splits a batch that is larger than its topic allows, and calls that an unknown error.
            with suppress(KafkaTimeoutError, UnknownError):
                self._client.flush(timeout=LOOK_SECONDS)

    def _send(self, product: Mapping[str, Any]) -> FutureRecordMetadata | None:
        try:
            value = msgspec.json.encode({**product, "published_at": datetime.now(timezone.utc)})
            # The key keeps all records of one product in one partition, and so in order.
            return self._client.send(PRODUCTS, key=str(product["url"]).encode(), value=value)
        # Such as one that is too large, has no URL, or can't be written as JSON.
        except (KafkaError, KeyError, TypeError, ValueError) as error:
            log.warning(f"Not published: {type(error).__name__}: {error}")
            return None


def connect(cluster: Cluster, stop: Stop | None = None) -> ProductProducer:
    """Return a producer.

    Args:
        cluster: where Kafka is, and how to connect.
        stop: ends the wait for a broker when it is requested.

    Raises:
        PipelineError: no broker answers.
        Stopped: a stop was requested.
    """
    return Patience(stop).call(lambda: ProductProducer(cluster, stop)) if stop else ProductProducer(cluster)


def publish_products(
    products: Iterable[Mapping[str, Any]], cluster: Cluster, stop: Stop | None = None
) -> Published:
    """Connect, send products together and close the connection again.

    Args:
        products: their fields, see products.py.
        cluster: where Kafka is, and how to connect.
        stop: shortens the wait for the broker's answer when it is requested.

    Returns:
        How many the broker confirmed, and how many it did not.

    Raises:
        PipelineError: no broker answers.
    """
    with connect(cluster, stop) as producer:
        return producer.publish_all(products)


def read_products(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Return the products of JSON lines; a line that is no product is reported and left out."""
    for line in lines:
        try:
            yield msgspec.to_builtins(check(msgspec.json.decode(line, type=dict[str, Any])))
        except msgspec.DecodeError as error:
            log.warning(printable(f"Left out: {error}: {line.strip()}"))


def lines_until(stop: Stop, stream: TextIO) -> Iterator[str]:
    """Return the lines of a stream, until a stop is requested."""
    patience = Patience(stop)
    try:
        while line := patience.call(stream.readline):
            yield line
    except Stopped:
        log.info("Stopped before the end of stdin.")


def main() -> None:
    """Publish the products on stdin."""
    cluster = option_parser(__doc__, EXAMPLES).parse_args().cluster
    stop = Stop()
    with connect(cluster, stop) as producer:
        published = producer.publish_all(read_products(lines_until(stop, sys.stdin)))
    print(f"Published: {published.succeeded}, failed: {published.failed}")
    if published.failed:
        raise PipelineError(f"{published.failed} products were not published.")


if __name__ == "__main__":
    run_kafka_script(main)
