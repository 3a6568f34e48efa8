"""Consume, process, produce: every source record counts exactly once. Knows no events.

A batch of records, their outputs and the group's new offsets are one Kafka transaction: all of it is
committed or none. The defences against what kafka-python 3.0.12 really does under faults stand where they
act, each with its reason, here and in transactions.py. The most important one: any error has the same answer.
Both clients are closed and recreated, and the loop continues from the committed offsets.
"""

import gc
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from kafka import KafkaConsumer, KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaConnectionError, KafkaError, UnknownError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata, TopicPartition

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.admin import TopicIds, topics_of_old_format
from pipeline.client.consuming import count_partitions, subscribe
from pipeline.client.errors import FINAL_ERRORS, READ, WRITE, describe
from pipeline.client.health import answers, any_open
from pipeline.client.metrics import Metrics
from pipeline.client.refusals import ConnectionRefused, report
from pipeline.client.transactions import (
    EXPIRY_SECONDS,
    RefusedError,
    TransactionalProducer,
    close_in_background,
)
from pipeline.client.watchdog import HANG_SECONDS, Watchdog
from pipeline.dead_letters import Headers, place_of

POLL_MS = 500  # how long an idle loop waits before it checks its stop flag
# A batch is what has come since the last one: a few records when there is little to do, and when there is
# much, so many that the fixed cost of a transaction (10 to 20 ms) hardly counts.
MAX_BATCH_RECORDS = 5000
RETRY_SECONDS = 1.0
TOPIC_ID = "topic-id="  # before the id in an offset's metadata, which others may use for something else


class _Clients:
    """A consumer in its group and a producer with its transactional id, opened and closed together."""

    def __init__(
        self,
        cluster: Cluster,
        new_consumer: Callable[[], KafkaConsumer],
        new_producer: Callable[[], KafkaProducer],
        sources: Collection[str],
        outputs: Collection[str],
    ) -> None:
        self._open = ExitStack()
        # Per partition the group's generation at the last check of its offset, and of its position
        self.offset_checked: dict[TopicPartition, int] = {}
        self.confirmed: dict[TopicPartition, int] = {}
        self.settled_at = time.monotonic()  # the last time when it was not about to join the group
        try:
            self.consumer = new_consumer()
            # Each closes in a guard of its own: closing can raise, and must not keep the other one open.
            self._open.callback(
                close_in_background, self.consumer.close, autocommit=False, timeout_ms=EXPIRY_SECONDS * 1000
            )
            self.partitions = {topic: count_partitions(self.consumer, topic) for topic in outputs}
            subscribe(self.consumer, *sources)
            self.topic_ids = TopicIds(cluster, sources)  # before the first poll() asks for offsets
            self._open.callback(close_in_background, self.topic_ids.close)
            self.producer = TransactionalProducer(new_producer())
            self._open.callback(self.producer.close)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._open.close()

    def mark_of(self, topic: str) -> str:
        """Return the metadata of an offset in a topic: should it be recreated, its next reader knows."""
        return f"{TOPIC_ID}{self.topic_ids[topic]}"

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Ask the broker for the group's committed offset; None where there is none."""
        return self.consumer.committed(partition, metadata=True, timeout_ms=int(self.producer.seconds * 1000))


@dataclass
class _Batch:
    """The contents of one transaction."""

    clients: _Clients
    membership: ConsumerGroupMetadata
    offsets: dict[TopicPartition, OffsetAndMetadata]
    outputs: list[tuple[str, ConsumerRecord, bytes | None, Headers]] = field(default_factory=list)
    refusal: str = ""  # of a record that can't be sent; the transaction ends before it

    def send_outputs(self) -> None:
        """Send the outputs of all records in one go.

        Sending each by itself, after it was processed, takes 35.7 us an event, and in one go 30.0; most
        likely the code of the one evicts that of the other from the CPU's caches.
        """
        partitions, producer = self.clients.partitions, self.clients.producer
        refused: set[tuple[str, int]] = set()
        for topic, record, value, headers in self.outputs:
            partition = record.partition % partitions[topic]
            if refused and (record.topic, record.partition) in refused:
                continue  # behind the refused one
            try:
                producer.send(topic, partition, record.key, value, headers, record.timestamp)
            except RefusedError as error:
                refused.add((record.topic, record.partition))
                self._end_before(record, error)

    def _end_before(self, record: ConsumerRecord, error: RefusedError) -> None:
        """Commit what is before a record: the way past it then passes nothing else."""
        partition = TopicPartition(record.topic, record.partition)
        self.offsets[partition] = OffsetAndMetadata(record.offset, self.offsets[partition].metadata)
        self.refusal = self.refusal or (
            f"{place_of(record)} {error}. To pass it: kafka-consumer-groups "
            f"--group {self.membership.group_id} --reset-offsets --topic {record.topic}:{record.partition} "
            f"--to-offset {record.offset + 1} --execute; it stays in its topic."
        )


class ExactlyOnce:
    """The three steps of a loop, poll(), send() for each record and commit(), over clients that may fail.

    Use it as a context manager: leaving it closes the clients.
    """

    def __init__(
        self,
        cluster: Cluster,
        new_consumer: Callable[[], KafkaConsumer],
        new_producer: Callable[[], KafkaProducer],
        sources: Collection[str],
        outputs: Collection[str],
        stop: Stop,
        metrics: Metrics | None = None,
    ) -> None:
        """Describe the work; the first poll() connects.

        Args:
            cluster: where Kafka is; also asked whether a broker is reachable.
            new_consumer: makes a consumer of the group whose offsets are committed, without a subscription.
            new_producer: makes a transactional producer, see TransactionalProducer. Its transactional id must
                stay the same for the life of the process: a recreated producer then aborts what the one
                before left open.
            sources: topics to read.
            outputs: topics that send() accepts.
            stop: ends the waiting for a broker that is unreachable.
            metrics: counts batches and failures (default: nothing does).
        """
        self._cluster = cluster
        self._new_consumer, self._new_producer = new_consumer, new_producer
        self._sources, self._outputs = sources, outputs
        self._stop = stop
        self._metrics = metrics or Metrics()
        self._watchdog = Watchdog(
            HANG_SECONDS,
            self._metrics.restart,
            ready=lambda: answers(cluster, seconds=5) and not stop.requested,
        )
        self._clients: _Clients | None = None
        self._batch: _Batch | None = None
        self._recovering = False

    def __enter__(self) -> "ExactlyOnce":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def poll(self) -> list[ConsumerRecord]:
        """Wait for records, at most POLL_MS; those that come are one batch, and begin a transaction.

        Returns:
            The records, those of a partition in their order; an empty list when none came or Kafka is
            unreachable.

        Raises:
            PipelineError: a person has to fix something first.
        """
        try:
            with self._watchdog.watch("poll()"):
                clients = self._clients = self._clients or self._connect()
                polled = clients.consumer.poll(timeout_ms=POLL_MS, max_records=MAX_BATCH_RECORDS)
                # The membership of this moment: if the group rebalances before the commit, the broker must
                # refuse it.
                membership = clients.consumer.group_metadata()
                _confirm_settled(clients, membership)
                _confirm_topics(clients, polled)
                _confirm_offsets(clients, membership)
                self._metrics.polled(clients.consumer, polled)
                if not polled:
                    return []
                _confirm_owned(clients, membership, polled)
                clients.producer.begin()
        except KafkaError as error:
            self._recover_from(error, READ)
            return []
        offsets = {
            partition: OffsetAndMetadata(records[-1].offset + 1, clients.mark_of(partition.topic))
            for partition, records in polled.items()
        }
        self._batch = _Batch(clients, membership, offsets)
        return [record for records in polled.values() for record in records]

    def send(self, topic: str, record: ConsumerRecord, value: bytes | None, headers: Headers) -> None:
        """Add the output of a polled record to the batch; it keeps that record's key and timestamp.

        It also keeps the partition number (modulo the partitions of `topic`), and so the order.

        Args:
            topic: one of the outputs.
            record: the source record.
            value: the value to send.
            headers: the headers to send.
        """
        if self._batch is not None:  # else it is lost already, and poll() will return its records again
            self._batch.outputs.append((topic, record, value, headers))

    def commit(self) -> bool:
        """Send the batch, and commit it together with the offsets of its records.

        Returns:
            Whether it is known to be committed. If not, poll() continues from the committed offsets: it
            returns the same records again, unless only the confirmation was lost.

        Raises:
            PipelineError: a person has to fix something first.
        """
        batch = self._batch
        if batch is None:
            return True
        try:
            with self._watchdog.watch("commit()"):
                batch.send_outputs()
                batch.clients.producer.commit(batch.offsets, batch.membership)
                _confirm_committed(batch)
        except KafkaError as error:
            self._recover_from(error, WRITE)
            return False
        self._batch = None
        if batch.refusal:
            raise PipelineError(batch.refusal)
        self._metrics.committed()
        if self._recovering:
            log.info("Resumed from the committed offsets.")
            self._recovering = False
        return True

    def _connect(self) -> _Clients:
        # Check the port first: a client that waits for a broker does not notice Ctrl-C.
        if not any_open(self._cluster):
            raise KafkaConnectionError(f"no broker listens at {self._cluster}")
        gc.collect()  # clients that failed are reference cycles, which hold all that they had fetched
        return _Clients(self._cluster, self._new_consumer, self._new_producer, self._sources, self._outputs)

    def _recover_from(self, error: KafkaError, operation: str) -> None:
        """The one answer to any error: close both clients; the next poll() recreates them."""
        if isinstance(error, FINAL_ERRORS):
            raise PipelineError(describe(error, operation)) from error
        self._metrics.failed(describe(error))
        if isinstance(error, UnknownError):
            self._stop_at_an_old_format(error)
        if self._recovering:
            if isinstance(error, ConnectionRefused):
                report(error)
            self._stop.wait(RETRY_SECONDS)
        else:
            log.warning(f"Recreating the Kafka clients: {describe(error)}")
            self._recovering = True
        self._close()

    def _stop_at_an_old_format(self, error: UnknownError) -> None:
        """A broker says no more than "unknown error" of a topic that can't have transactions, for ever."""
        with suppress(KafkaError):
            if old := topics_of_old_format(self._cluster, self._outputs):
                raise PipelineError(
                    f"Topic {' and '.join(old)}: its message.format.version is from before Kafka 0.11, which "
                    "has no transactions. Raise it (kafka-configs --alter, or log.message.format.version of "
                    "the broker)."
                ) from error

    def _close(self) -> None:
        clients, self._clients, self._batch = self._clients, None, None
        if clients is not None:
            with self._watchdog.watch("close()"):
                clients.close()


def _confirm_settled(clients: _Clients, membership: ConsumerGroupMetadata) -> None:
    """Joining must not take too long: the client may drop the attempt halfway, and wait for ever."""
    now = time.monotonic()
    if membership.state is not MemberState.REBALANCING:
        clients.settled_at = now
    elif now > clients.settled_at + HANG_SECONDS:
        raise KafkaError(f"joining the group was not done within {HANG_SECONDS:.0f} s")


def _confirm_topics(clients: _Clients, polled: Iterable[TopicPartition]) -> None:
    """Check that these records are those of the topics that this consumer began to read."""
    if recreated := clients.topic_ids.recreated({partition.topic for partition in polled}):
        raise KafkaError(f"topic {' and '.join(recreated)} was deleted and recreated")


def _confirm_offsets(clients: _Clients, membership: ConsumerGroupMetadata) -> None:
    """Check that the committed offsets from which this consumer started belong to these topics.

    Kafka deletes a group's offsets together with their topic. One whose transaction was just ending then
    comes after that, and would be the new topic's.
    """
    assigned = clients.consumer.assignment() if membership.state is MemberState.STABLE else ()
    for partition in assigned:
        if clients.offset_checked.get(partition) == membership.generation_id:
            continue
        committed = clients.committed(partition)
        ours = clients.mark_of(partition.topic)
        if committed and committed.metadata.startswith(TOPIC_ID) and committed.metadata != ours:
            first = OffsetAndMetadata(clients.consumer.beginning_offsets([partition])[partition], ours)
            clients.consumer.commit({partition: first}, timeout_ms=int(clients.producer.seconds * 1000))
            raise KafkaError(
                f"the committed offset of {partition.topic}[{partition.partition}] is that of a deleted topic"
            )
        clients.offset_checked[partition] = membership.generation_id


def _confirm_owned(
    clients: _Clients,
    membership: ConsumerGroupMetadata,
    polled: Mapping[TopicPartition, Sequence[ConsumerRecord]],
) -> None:
    """Check that these records are this processor's, and still to be processed.

    A client that fell out of its group while it waited in poll() returns records all the same, with a
    membership so empty that no broker checks it. One that fell out while it joined continues at its old
    positions, whatever others have committed in between.
    """
    if membership.state is not MemberState.STABLE:
        raise KafkaError("this processor fell out of its group")
    for partition, records in polled.items():
        if clients.confirmed.get(partition) == membership.generation_id:
            continue  # since then nobody else could commit
        offset = clients.committed(partition)
        committed = offset.offset if offset else 0
        # An offset behind the partition's end was set by hand, or the log was cut: nobody processed that.
        if records[0].offset < committed <= clients.consumer.end_offsets([partition])[partition]:
            raise KafkaError(f"another processor continued with {partition.topic}[{partition.partition}]")
        clients.confirmed[partition] = membership.generation_id


def _confirm_committed(batch: _Batch) -> None:
    """Ask the broker: commit_transaction() can return normally although the broker aborted.

    A transaction is all or nothing, so one of its offsets stands for all. If the offset is beyond ours,
    another processor has the partition now; to recreate the clients is right then, too.
    """
    partition, sent = next(iter(batch.offsets.items()))
    found = batch.clients.committed(partition)
    committed = found.offset if found else None
    if committed != sent.offset:
        raise KafkaError(
            f"the committed offset of {partition.topic}[{partition.partition}] is {committed}, "
            f"not the {sent.offset} of this transaction"
        )
