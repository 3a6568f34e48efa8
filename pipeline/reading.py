"""The loop of a script that only reads: record by record, until it is stopped or nothing comes any more."""

import time
from collections.abc import Iterator
from contextlib import suppress

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, RetriableError

from pipeline.process import Stop
from pipeline.status import say

LOOK_MS = 200  # as consumer_timeout_ms of the consumer: how long a silent loop sleeps before it looks around
ASK_MS = 1000
RETRY_SECONDS = 1.0
SESSION_MS = 6000  # after a kill, the next consumer of the group waits that long
COMMIT_MS = 2000
CLOSE_MS = 1500


def records(consumer: KafkaConsumer, stop: Stop, silence: float | None = None) -> Iterator[ConsumerRecord]:
    """Give records as they come.

    The consumer's position is always behind the record that was given last, so whatever commits, now or when
    the consumer is closed, never commits a record that the loop has not seen.

    Args:
        consumer: subscribed, and made with `consumer_timeout_ms=LOOK_MS`.
        stop: ends the loop.
        silence: ends it, too, after so many seconds without a record, if the broker says that there is none.
            Joining the group does not count.
    """
    heard = time.monotonic()
    while not stop.requested:
        try:
            for record in consumer:
                yield record
                heard = time.monotonic()
                if stop.requested:
                    return
        except RetriableError:  # Kafka is away for a while; our place in the topic stays
            stop.wait(RETRY_SECONDS)
        if not consumer.assignment():
            heard = time.monotonic()
        elif silence is not None and time.monotonic() - heard >= silence and _at_end(consumer):
            return


def commit(consumer: KafkaConsumer) -> None:
    """Commit what records() gave. Where that fails, some come once more; none is left out."""
    try:
        consumer.commit(timeout_ms=COMMIT_MS)
    except KafkaError as error:  # Kafka is away, or the partition went to another consumer
        say(f"Not committed ({type(error).__name__}): some messages may come once more.")


def close(consumer: KafkaConsumer) -> None:
    """Leave the group, also where Kafka is away; commit nothing more."""
    with suppress(KafkaError):
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)


def _at_end(consumer: KafkaConsumer) -> bool:
    """Ask the broker whether all was read: the client is as silent while Kafka is away."""
    try:
        ends = consumer.end_offsets(consumer.assignment(), timeout_ms=ASK_MS)
        return all(consumer.position(partition, timeout_ms=ASK_MS) >= end for partition, end in ends.items())
    except KafkaError:
        return False
