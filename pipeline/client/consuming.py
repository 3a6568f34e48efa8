"""A consumer in its group: subscribe, poll until a stop is requested, commit, leave."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, RetriableError

from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.admin import TopicIds
from pipeline.client.metrics import Metrics
from pipeline.client.refusals import REFUSALS
from pipeline.client.settings import TOPIC_SECONDS

POLL_MS = 200  # how long an idle loop waits before it checks its stop flag
BATCH_RECORDS = 500
ASK_MS = 1000
RETRY_SECONDS = 1.0
SESSION_MS = 6000  # after a kill, the next consumer of the group waits that long
COMMIT_MS = 1500
CLOSE_MS = 1500


def subscribe(
    consumer: KafkaConsumer, *topics: str, listener: ConsumerRebalanceListener | None = None
) -> None:
    """Subscribe so that the consumer joins its group once.

    A consumer that subscribes to topics it does not know, as `KafkaConsumer("topic")` does, gets an empty
    assignment, joins the group a second time, and now and then never returns from poll(). One that knows them
    still joins twice, half a second apart: it compares its partitions only with metadata that came after
    subscribe(). So this requests metadata before the first poll().

    Args:
        consumer: a consumer without a subscription.
        topics: their names.
        listener: called when partitions are assigned or revoked.

    Raises:
        PipelineError: a topic does not exist.
    """
    for topic in topics:
        count_partitions(consumer, topic)
    consumer.subscribe(topics, listener=listener)
    consumer.topics()


def count_partitions(consumer: KafkaConsumer, topic: str) -> int:
    """Return the number of partitions of a topic.

    Args:
        consumer: asks the broker.
        topic: its name.

    Raises:
        PipelineError: it does not exist, also a moment later: a broker that just started may not know it yet.
    """
    deadline = time.monotonic() + TOPIC_SECONDS
    while not (partitions := consumer.partitions_for_topic(topic)):
        if time.monotonic() > deadline:
            raise PipelineError(f"Topic {topic} does not exist. Create it with ./create_topic.sh {topic}")
        time.sleep(0.2)
    return len(partitions)


def partitions_of(consumer: KafkaConsumer, *topics: str) -> list[TopicPartition]:
    """Return all partitions of topics.

    Raises:
        PipelineError: a topic does not exist.
    """
    return [
        TopicPartition(topic, number)
        for topic in topics
        for number in range(count_partitions(consumer, topic))
    ]


class StartAt(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Moves to an offset in each partition, the first time that the partition is assigned."""

    def __init__(self, consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._offsets = dict(offsets)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Do nothing: the loop commits what it has done."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Seek. Not before: a partition that is not assigned has no position."""
        for partition in self._offsets.keys() & set(assigned):
            self._consumer.seek(partition, self._offsets.pop(partition))


def batches(
    consumer: KafkaConsumer,
    stop: Stop,
    limit: int | None = None,
    at_once: int = BATCH_RECORDS,
    topic_ids: TopicIds | None = None,
    metrics: Metrics | None = None,
) -> Iterator[list[ConsumerRecord]]:
    """Poll until a stop is requested; Kafka may be unreachable for a while.

    Args:
        consumer: subscribed or assigned.
        stop: ends the loop.
        limit: ends it, too, after so many records (default: no limit).
        at_once: the largest number of records in a batch.
        topic_ids: of the subscribed topics, known before the first poll(): one that is recreated is read from
            its beginning (default: its first records are skipped).
        metrics: counts the batches (default: nothing does).

    Yields:
        The records of each poll(), those of a partition in their order; an empty list where none came.
    """
    left, metrics = limit, metrics or Metrics()
    while not stop.requested and left != 0:
        try:
            polled = consumer.poll(
                timeout_ms=POLL_MS, max_records=at_once if left is None else min(left, at_once)
            )
        except (RetriableError, *REFUSALS) as error:  # Kafka is unreachable; the consumer keeps its positions
            polled = {}
            metrics.failed(type(error).__name__)
            stop.wait(RETRY_SECONDS)
        if topic_ids and (recreated := _recreated(topic_ids, polled, stop)):
            log.warning(
                f"Topic {' and '.join(recreated)} was deleted and recreated; reading what is there now."
            )
            consumer.seek_to_beginning(*(tp for tp in consumer.assignment() if tp.topic in recreated))
            topic_ids.update(recreated)
            continue
        metrics.polled(consumer, polled)
        batch = [record for records in polled.values() for record in records]
        if left is not None:
            left -= len(batch)
        yield batch
        metrics.committed()


def records(consumer: KafkaConsumer, stop: Stop, silence: float | None = None) -> Iterator[ConsumerRecord]:
    """Poll one record after the other until a stop is requested.

    The consumer's position is always right behind the last record. So a commit, by the loop or in the
    background, never covers a record that the loop has not processed.

    Args:
        consumer: subscribed or assigned.
        stop: ends the loop.
        silence: ends it, too, after so many seconds without a record, if the broker confirms that there is
            none. Joining the group does not count.
    """
    last_record = time.monotonic()
    for batch in batches(consumer, stop, at_once=1):
        yield from batch
        if batch or not consumer.assignment():
            last_record = time.monotonic()
        elif silence is not None and time.monotonic() - last_record >= silence and _at_end(consumer):
            return


def commit(consumer: KafkaConsumer) -> None:
    """Commit the consumer's positions. Where that fails, some records come again; none is left out."""
    try:
        consumer.commit(timeout_ms=COMMIT_MS)
    except KafkaError as error:  # Kafka is unreachable, or another consumer has the partition now
        log.warning(f"Not committed ({type(error).__name__}): some messages may come once more.")


def close(consumer: KafkaConsumer) -> None:
    """Leave the group without another commit, also where Kafka is unreachable."""
    with suppress(KafkaError):
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)


def _recreated(topic_ids: TopicIds, polled: Iterable[TopicPartition], stop: Stop) -> list[str]:
    """Ask which of the topics were recreated; that has to be known before these records can be trusted."""
    while not stop.requested:
        try:
            return topic_ids.recreated({partition.topic for partition in polled})
        except (RetriableError, *REFUSALS):
            stop.wait(RETRY_SECONDS)
    return []


def _at_end(consumer: KafkaConsumer) -> bool:
    """Ask the broker whether all records were read: the client is as silent while Kafka is unreachable."""
    try:
        ends = consumer.end_offsets(consumer.assignment(), timeout_ms=ASK_MS)
        return all(consumer.position(partition, timeout_ms=ASK_MS) >= end for partition, end in ends.items())
    except KafkaError:
        return False
