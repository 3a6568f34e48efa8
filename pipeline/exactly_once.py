"""Consume, process, produce: every source record counts exactly once. Knows no events.

A batch of records, what was made of them and the group's new offsets are one Kafka transaction: all of it is
committed or none. The defences against what kafka-python 3.0.12 really does stand where they act, each with
its reason, here and in transactions.py. The most important one: there is a single answer to any error. Both
clients are closed and begun anew from the committed offsets.
"""

import gc
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata, TopicPartition

from pipeline import connection
from pipeline.process import PipelineError, Stop
from pipeline.status import say
from pipeline.transactions import (
    EXPIRY_SECONDS,
    FINAL_ERRORS,
    HANG_SECONDS,
    RETRY_MS,
    TRANSACTION_SECONDS,
    TransactionalProducer,
    close_in_background,
    told,
)
from pipeline.watchdog import Watchdog, restart_process

POLL_MS = 500  # how long an idle loop sleeps before it looks at its stop flag
# A batch is what has come since the last one: a few records when there is little to do, and when there is
# much, so many that what a transaction costs by itself (10 to 20 ms) hardly counts.
MAX_BATCH_RECORDS = 5000

# How long the others wait for a processor that was killed: its partitions are given away after the session
# time-out, its open transaction is aborted after the transaction time-out.
SESSION_SECONDS = 6  # the least that a broker allows unless it is told otherwise
REJOIN_SECONDS = 15  # less than HANG_SECONDS
RETRY_SECONDS = 1.0

Headers = Sequence[tuple[str, bytes | None]]


class _Clients:
    """A consumer in its group and a producer with its transactional id, opened and closed together."""

    def __init__(
        self, servers: str, group: str, transactional_id: str, sources: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self._open = ExitStack()
        self.confirmed: dict[TopicPartition, int] = {}  # in which generation of the group
        self.settled_at = time.monotonic()  # when it was last seen in a group, or out of it, but not joining
        try:
            self.consumer = connection.connect(
                KafkaConsumer,
                **connection.client_settings(servers),
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                # For our own reading too: only then are offsets of a transaction still open waited for.
                isolation_level="read_committed",
                session_timeout_ms=SESSION_SECONDS * 1000,
                heartbeat_interval_ms=SESSION_SECONDS * 1000 // 4,
                max_poll_interval_ms=REJOIN_SECONDS * 1000,
                # By default each topic's first partitions go to the same process: of two, one would get four
                # partitions of two topics, and the other one two.
                partition_assignment_strategy=[RoundRobinPartitionAssignor],
                retry_backoff_ms=RETRY_MS,
                metrics_enabled=False,
            )
            # Each closes in a guard of its own: closing can raise, and must not keep the other one open.
            self._open.callback(
                close_in_background, self.consumer.close, autocommit=False, timeout_ms=EXPIRY_SECONDS * 1000
            )
            self.partitions = {topic: connection.count_partitions(self.consumer, topic) for topic in outputs}
            connection.subscribe(self.consumer, *sources)
            self.producer = TransactionalProducer(servers, transactional_id)
            self._open.callback(self.producer.close)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._open.close()


@dataclass
class _Batch:
    """What one transaction is made of."""

    clients: _Clients
    membership: ConsumerGroupMetadata
    offsets: dict[TopicPartition, OffsetAndMetadata]
    outputs: list[tuple[str, ConsumerRecord, bytes | None, Headers]] = field(default_factory=list)

    def send_outputs(self) -> None:
        """Send what became of the records, all in one go.

        Each by itself, after it was processed, takes 35.7 us an event, and in one go 30.0; most likely the
        code of the one pushes that of the other out of the CPU's caches.
        """
        partitions, producer = self.clients.partitions, self.clients.producer
        for topic, record, value, headers in self.outputs:
            partition = record.partition % partitions[topic]
            producer.send(topic, partition, record.key, value, headers, record.timestamp)


class ExactlyOnce:
    """A loop's three steps, poll(), send() for each record and commit(), over clients that may die.

    Use it as a context manager: leaving it closes the clients.
    """

    def __init__(
        self, servers: str, group: str, sources: Sequence[str], outputs: Sequence[str], stop: Stop
    ) -> None:
        """Describe the work; the first poll() connects.

        Args:
            servers: bootstrap servers.
            group: the consumer group whose offsets are committed.
            sources: topics to read.
            outputs: topics that send() may be given.
            stop: ends the waiting for a broker that is away.
        """
        self._servers, self._group, self._sources, self._outputs = servers, group, sources, outputs
        self._stop = stop
        # One id for the life of the process: beginning anew with it aborts what was left open.
        self._transactional_id = f"{group}-{socket.gethostname()}-{uuid.uuid4()}"
        self._watchdog = Watchdog(
            HANG_SECONDS,
            restart_process,
            ready=lambda: connection.answers(servers, seconds=5) and not stop.requested,
        )
        self._clients: _Clients | None = None
        self._batch: _Batch | None = None
        self._in_trouble = False

    def __enter__(self) -> "ExactlyOnce":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def poll(self) -> list[ConsumerRecord]:
        """Wait for records, at most POLL_MS; those that come are one batch and one transaction.

        Returns:
            The records, those of a partition in their order; an empty list when none came or Kafka is away.

        Raises:
            PipelineError: a person has to mend something first.
        """
        try:
            with self._watchdog.watch("poll()"):
                clients = self._clients = self._clients or self._connect()
                polled = clients.consumer.poll(timeout_ms=POLL_MS, max_records=MAX_BATCH_RECORDS)
                # The membership of now: if the group rebalances before the commit, the broker must refuse it.
                membership = clients.consumer.group_metadata()
                _confirm_settled(clients, membership)
                if not polled:
                    return []
                _confirm_owned(clients, membership, polled)
                clients.producer.begin()
        except KafkaError as error:
            self._begin_anew(error)
            return []
        offsets = {
            partition: OffsetAndMetadata(records[-1].offset + 1) for partition, records in polled.items()
        }
        self._batch = _Batch(clients, membership, offsets)
        return [record for records in polled.values() for record in records]

    def send(self, topic: str, record: ConsumerRecord, value: bytes | None, headers: Headers) -> None:
        """Add to the batch what became of a polled record; it has that record's key and timestamp.

        It goes to the same partition number (modulo the partitions of `topic`), so that what was in order
        stays in order.

        Args:
            topic: one of the outputs.
            record: the source record.
            value: the value to send.
            headers: the headers to send.
        """
        if self._batch is not None:  # else it is lost already; poll() gives its records again
            self._batch.outputs.append((topic, record, value, headers))

    def commit(self) -> bool:
        """Send the batch, and commit it together with the offsets of what was read.

        Returns:
            Whether the batch is done. If not, nothing of it counts, and poll() will give its records again.

        Raises:
            PipelineError: a person has to mend something first.
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
            self._begin_anew(error)
            return False
        self._batch = None
        if self._in_trouble:
            say("Going on from the committed offsets.")
            self._in_trouble = False
        return True

    def _connect(self) -> _Clients:
        # Knock first: a client that waits for a broker hears no Ctrl-C.
        if not connection.any_open(self._servers):
            raise KafkaConnectionError(f"no broker listens at {self._servers}")
        gc.collect()  # clients that failed refer to each other, and to all that they had fetched
        return _Clients(self._servers, self._group, self._transactional_id, self._sources, self._outputs)

    def _begin_anew(self, error: KafkaError) -> None:
        """The one answer to any error: close both clients; the next poll() opens new ones."""
        if isinstance(error, FINAL_ERRORS):
            raise PipelineError(told(error)) from error
        if self._in_trouble:
            self._stop.wait(RETRY_SECONDS)
        else:
            say(f"Beginning anew: {told(error)}")
            self._in_trouble = True
        self._close()

    def _close(self) -> None:
        clients, self._clients, self._batch = self._clients, None, None
        if clients is not None:
            with self._watchdog.watch("close()"):
                clients.close()


def _confirm_settled(clients: _Clients, membership: ConsumerGroupMetadata) -> None:
    """Joining takes no longer than REJOIN_SECONDS; but the client can drop it halfway, and wait for ever."""
    now = time.monotonic()
    if membership.state is not MemberState.REBALANCING:
        clients.settled_at = now
    elif now > clients.settled_at + HANG_SECONDS:
        raise KafkaError(f"joining the group was not done within {HANG_SECONDS:.0f} s")


def _confirm_owned(
    clients: _Clients,
    membership: ConsumerGroupMetadata,
    polled: Mapping[TopicPartition, Sequence[ConsumerRecord]],
) -> None:
    """Ask whether these records are this processor's, and still to be done.

    A client that fell out of its group while it waited in poll() gives out records all the same, with a
    membership so empty that no broker checks it. One that fell out while it joined goes on at its old
    positions, whatever others did in between.
    """
    if membership.state is not MemberState.STABLE:
        raise KafkaError("this processor fell out of its group")
    for partition, records in polled.items():
        if clients.confirmed.get(partition) == membership.generation_id:
            continue  # since then nobody else could commit
        committed = clients.consumer.committed(partition, timeout_ms=TRANSACTION_SECONDS * 1000) or 0
        # An offset behind the partition's end is nobody's work: it was set by hand, or the log was cut.
        if records[0].offset < committed <= clients.consumer.end_offsets([partition])[partition]:
            raise KafkaError(f"another processor went on with {partition.topic}[{partition.partition}]")
        clients.confirmed[partition] = membership.generation_id


def _confirm_committed(batch: _Batch) -> None:
    """Ask the broker: commit_transaction() can return normally although the broker aborted.

    A transaction is all or nothing, so one of its offsets tells of all. If it has gone on further, the
    partition was given to another processor; beginning anew is right then, too.
    """
    partition, sent = next(iter(batch.offsets.items()))
    committed = batch.clients.consumer.committed(partition, timeout_ms=TRANSACTION_SECONDS * 1000)
    if committed != sent.offset:
        raise KafkaError(
            f"the committed offset of {partition.topic}[{partition.partition}] is {committed}, "
            f"not the {sent.offset} of this transaction"
        )
