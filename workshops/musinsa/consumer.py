"""The base of both consumers: stores the records of a topic; those that can't be stored become dead letters.

Whatever fails (a service or Kafka is unreachable, another consumer of the group has our partitions), the
answer is the same: drop all positions and ask for them again. Whom to ask, the subclass knows.
"""

import argparse
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import group_name, option_parser
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.admin import admin_client, ensure_topics, topic_id
from pipeline.client.consuming import SESSION_MS, close, count_partitions, subscribe
from pipeline.client.errors import FINAL_ERRORS, describe
from pipeline.client.health import answers, report_outages
from pipeline.client.metrics import serve_metrics
from pipeline.client.settings import connection_settings
from pipeline.client.watchdog import Watchdog, restart_process
from pipeline.dead_letters import place_of
from pipeline.text import printable
from workshops.musinsa.config import PARTITIONS, PRODUCTS, dlq_of
from workshops.musinsa.kinds import KINDS, UnstorableError
from workshops.musinsa.letters import DeadLetterQueue, Letter

POLL_MS = 500
HANG_SECONDS = 60.0  # far more than a batch takes
CHECK_SECONDS = 3.0  # while nothing comes
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between two attempts to reach a service; the last one is repeated

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class UnreachableError(Exception):
    """The service can't be reached, or can't store anything now; the message is the reason."""


class OvertakenError(Exception):
    """Another consumer continued with one of our partitions, or held a lock; nothing is stored."""


def consumer_parser(description: str, examples: str, service: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both consumers have.

    Args:
        description: the script's docstring, for --help.
        examples: command lines for --help, one a line.
        service: its name, which ends the default name of the group.
    """
    parser = option_parser(description, examples, metrics=True)
    parser.add_argument(
        "--topic", choices=sorted(KINDS), default=PRODUCTS, metavar="TOPIC",
        help=f"what to store: {' or '.join(sorted(KINDS))} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--group", type=group_name, help=f"consumer group (default: TOPIC-{service})")
    return parser


class StoringConsumer(ABC):
    """Stores each record of a topic.

    Attributes:
        service: its name, for people.
        positions: the next offset per assigned partition, where known; a subclass that needs it keeps it up
            to date.
    """

    service: str

    def __init__(
        self, cluster: Cluster, topic: str, group: str, stop: Stop, metrics_port: int | None
    ) -> None:
        """Create the topics that are missing.

        Args:
            cluster: where Kafka is, and how to connect.
            topic: one of KINDS.
            group: the consumer group.
            stop: ends run().
            metrics_port: of --metrics-port.

        Raises:
            PipelineError: no broker answers, or the port is in use.
        """
        self.topic, self.group, self.kind = topic, group, KINDS[topic]
        self.positions: dict[TopicPartition, int] = {}
        self._cluster = cluster
        self._stop = stop
        self._metrics = serve_metrics(metrics_port, cluster, group, [topic], HANG_SECONDS)
        self._dlq = dlq_of(topic)
        self._letters = DeadLetterQueue(cluster, self._dlq, group)
        ensure_topics(cluster, topic, self._dlq, reads=[topic], partitions=PARTITIONS, outputs=[self._dlq])
        self._admin = admin_client(cluster)
        # A recreated topic is another topic: its offsets begin at 0 again.
        self.topic_id = topic_id(self._admin, topic)
        self._next_check = 0.0
        self._lines: list[str] = []
        self._watchdog = Watchdog(
            HANG_SECONDS,
            self._metrics.restart,
            ready=lambda: answers(cluster, seconds=5) and not stop.requested,
        )
        self.consumer = KafkaConsumer(
            **connection_settings(cluster),
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
        )

    @property
    @abstractmethod
    def batch_records(self) -> int:
        """The largest number of records to store at once."""

    @abstractmethod
    def open(self) -> None:
        """Connect to the service where that is not done yet, and create what is missing there.

        Raises:
            UnreachableError: it can't be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection; the next open() makes a new one."""

    @abstractmethod
    def next_offset(self, partition: TopicPartition) -> int:
        """Ask for the next offset of a partition.

        Raises:
            UnreachableError: the service can't be reached.
        """

    @abstractmethod
    def store(self, batch: Batch) -> None:
        """Store the records of a batch, dead-letter those that can't be stored, and record the new offsets.

        Raises:
            UnreachableError: some or all of it is not stored.
            OvertakenError: another consumer has stored it.
        """

    def has_read(self) -> bool:
        """Return whether offsets of the group are committed in Kafka."""
        [offsets] = self._admin.list_group_offsets([self.group]).values()
        return any(partition.topic == self.topic for partition in offsets)

    def print_later(self, lines: Sequence[str]) -> None:
        """Print lines about what is done, after the service has committed it.

        Not at once: a terminal that was stopped with Ctrl-S is no reason to start over.
        """
        self._lines += lines

    def idle(self) -> None:  # noqa: B027, a subclass may have nothing to do
        """Do what can wait until nothing comes."""

    def run(self) -> None:
        """Store records until a stop is requested; wait while Kafka or the service is unreachable.

        Raises:
            PipelineError: a person has to fix something first.
        """
        report_outages(self._cluster)
        subscribe(self.consumer, self.topic, listener=_DropPositions(self.drop_positions))
        try:
            self._store_until_stopped()
            with suppress(UnreachableError, OvertakenError, KafkaError):
                self.idle()
            self._print()
        finally:  # also where the reader of a pipe left: the next consumer need not wait
            self._start_over()
            close(self.consumer)
        log.info("Stopped.")

    def _store_until_stopped(self) -> None:
        failures = 0
        while not self._stop.requested:
            self._print()
            try:
                # The client of a server that neither answers nor closes the connection waits without a limit.
                with self._watchdog.watch(f"Storing in {self.service}"):
                    self.open()
                    works = self._step()
                if failures and works:
                    log.info(f"{self.service} is reachable again.")
                    failures = 0
            except UnreachableError as error:
                self._metrics.failed(f"{self.service} is unreachable ({error})")
                if not failures:
                    log.warning(printable(f"{self.service} is unreachable ({error}); waiting for it."))
                self._start_over()
                self._stop.wait(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
            except OvertakenError:
                self._metrics.failed("another consumer continued with a partition")
                self._start_over()
            except KafkaError as error:
                if isinstance(error, FINAL_ERRORS):
                    raise PipelineError(describe(error)) from error
                self._metrics.failed(describe(error))
                self._start_over()
                self._stop.wait(PAUSES[0])

    def _step(self) -> bool:
        """Store what comes; return whether the service has shown that it works."""
        batch = self.consumer.poll(timeout_ms=POLL_MS, max_records=self.batch_records)
        fresh = self.consumer.assignment() - self.positions.keys()
        for partition in fresh:
            self.positions[partition] = self.next_offset(partition)
            self.consumer.seek(partition, self.positions[partition])
            batch.pop(partition, None)  # read from the position that Kafka has for the group
        self._metrics.polled(self.consumer, batch)
        if batch:
            self.store(batch)
            self._metrics.committed()
            return True
        self.idle()
        self._check_for_a_recreated_topic()
        return not fresh

    def _check_for_a_recreated_topic(self) -> None:
        """The client does not notice one: it reads by name, and continues at its old offset."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_SECONDS
        if topic_id(self._admin, self.topic) not in (None, self.topic_id):
            self._print()
            self._start_over()
            restart_process(f"Topic {self.topic} was deleted and recreated")

    def dead_letter(self, letters: Sequence[Letter]) -> None:
        """Send records that can't be stored to the dead letter queue, and return when Kafka has them.

        Args:
            letters: the records and the reasons.

        Raises:
            KafkaError: Kafka may not have them.
            PipelineError: the queue does not take one of them.
        """
        for _, error in letters:
            self._metrics.dead(error)
        if letters:
            self._letters.send(letters, count_partitions(self.consumer, self._dlq))

    def _print(self) -> None:
        if self._lines:
            print("\n".join(self._lines), flush=True)
        self._lines.clear()

    def drop_positions(self) -> None:
        """Drop all positions; they are asked for again."""
        self.positions.clear()

    def _start_over(self) -> None:
        """Drop all that may be wrong now: positions and connections."""
        self.drop_positions()
        self.close()
        self._letters.close()


class _DropPositions(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """When partitions are assigned or revoked, other consumers may have changed their offsets."""

    def __init__(self, drop_positions: Callable[[], None]) -> None:
        self._drop_positions = drop_positions

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Drop them."""
        self._drop_positions()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Drop them."""
        self._drop_positions()


def dlq_line(record: ConsumerRecord, error: UnstorableError) -> str:
    """Return the line that reports a dead letter."""
    return f"    [DLQ] {place_of(record)}: {printable(str(error))}"
