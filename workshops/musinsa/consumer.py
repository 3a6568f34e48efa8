"""The base of both consumers: stores what a topic holds, and keeps what can't be stored as dead letters.

Whatever goes wrong, a service away, Kafka away, another consumer of the group with our partitions, there is
one answer: forget where we are and ask for it anew. Whom to ask, the subclass knows.
"""

import argparse
import socket
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipeline.connection import (
    admin_client,
    answers,
    client_settings,
    count_partitions,
    ensure_topics,
    subscribe,
    topic_id,
)
from pipeline.dead_letters import dead_letter_headers
from pipeline.options import group_name, option_parser
from pipeline.presence import tell_when_away
from pipeline.process import PipelineError, Stop
from pipeline.reading import SESSION_MS, close
from pipeline.status import say
from pipeline.text import printable
from pipeline.transactions import FINAL_ERRORS, TransactionalProducer, told
from pipeline.watchdog import Watchdog, restart_process
from workshops.musinsa.config import PARTITIONS, PRODUCTS, dlq_of
from workshops.musinsa.kinds import KINDS, UnstorableError

POLL_MS = 500
HANG_SECONDS = 60.0  # far more than a batch takes
LOOK_SECONDS = 3.0  # while nothing comes
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between two tries to reach a service; the last one again and again

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]
Letter = tuple[ConsumerRecord, UnstorableError]


class AwayError(Exception):
    """The service can't be reached, or can't store anything now; the message says why."""


class OvertakenError(Exception):
    """Another consumer went on with one of our partitions, or was in the way; nothing is stored."""


def consumer_parser(description: str, examples: str, service: str) -> argparse.ArgumentParser:
    """Give a parser with the options that both consumers have.

    Args:
        description: what the script does.
        examples: command lines, one a line.
        service: its name, the end of the group's.
    """
    parser = option_parser(description, examples)
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
        positions: of each partition that is ours and that we know where to go on in, the offset we came to;
            a subclass that needs it keeps it up to date.
    """

    service: str

    def __init__(self, servers: str, topic: str, group: str, stop: Stop) -> None:
        """Make the topics that are missing.

        Args:
            servers: bootstrap servers.
            topic: one of KINDS.
            group: the consumer group.
            stop: ends run().

        Raises:
            PipelineError: no broker answers.
        """
        self.topic, self.group, self.kind = topic, group, KINDS[topic]
        self.positions: dict[TopicPartition, int] = {}
        self._servers = servers
        self._stop = stop
        self._letters: TransactionalProducer | None = None
        self._dlq = dlq_of(topic)
        ensure_topics(servers, topic, self._dlq, partitions=PARTITIONS, outputs=[self._dlq])
        self._admin = admin_client(servers)
        # A topic that is deleted and made anew is another topic: its offsets begin at 0 once more.
        self.topic_id = topic_id(self._admin, topic)
        self._next_look = 0.0
        self._lines: list[str] = []
        self._watchdog = Watchdog(
            HANG_SECONDS,
            restart_process,
            ready=lambda: answers(servers, seconds=5) and not stop.requested,
        )
        self.consumer = KafkaConsumer(
            **client_settings(servers),
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
        )

    @property
    @abstractmethod
    def batch_records(self) -> int:
        """How many records to store at once, at most."""

    @abstractmethod
    def open(self) -> None:
        """Connect to the service where that is not done yet, and make what is missing there.

        Raises:
            AwayError: it can't be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connection up; the next open() makes a new one."""

    @abstractmethod
    def next_offset(self, partition: TopicPartition) -> int:
        """Ask where to go on in a partition.

        Raises:
            AwayError: the service can't be reached.
        """

    @abstractmethod
    def store(self, batch: Batch) -> None:
        """Store a batch's records, bury those that can't be stored, and note how far that is.

        Raises:
            AwayError: some or all of it is not stored.
            OvertakenError: it was another consumer's to store.
        """

    def has_read(self) -> bool:
        """Tell whether offsets of the group are committed in Kafka."""
        [offsets] = self._admin.list_group_offsets([self.group]).values()
        return any(partition.topic == self.topic for partition in offsets)

    def tell(self, lines: Sequence[str]) -> None:
        """Have lines printed, of what is done and stays so.

        Not at once: a terminal that was stopped with Ctrl-S is no reason to begin anew.
        """
        self._lines += lines

    def rest(self) -> None:  # noqa: B027, a subclass that has nothing to do then need not say so
        """Do what can wait until nothing comes."""

    def run(self) -> None:
        """Store records until a stop is requested; wait for Kafka and for the service where these are away.

        Raises:
            PipelineError: a person has to mend something first.
        """
        tell_when_away(self._servers)
        subscribe(self.consumer, self.topic, listener=_Forget(self.forget))
        failures = 0
        while not self._stop.requested:
            self._print()
            try:
                # A server that neither answers nor closes the connection is not away for its client, nor is
                # Kafka where it does not answer the end of a transaction: both wait without a limit.
                with self._watchdog.watch(f"Storing in {self.service}"):
                    self.open()
                    works = self._step()
                if failures and works:
                    say(f"{self.service} is back.")
                    failures = 0
            except AwayError as error:
                if not failures:
                    say(printable(f"{self.service} is away ({error}); waiting for it."))
                self._begin_anew()
                self._stop.wait(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
            except OvertakenError:
                self._begin_anew()
            except KafkaError as error:
                if isinstance(error, FINAL_ERRORS):
                    raise PipelineError(told(error)) from error
                self._begin_anew()
                self._stop.wait(PAUSES[0])
        self._finish()

    def _step(self) -> bool:
        """Store what comes; give back whether the service has shown that it works."""
        batch = self.consumer.poll(timeout_ms=POLL_MS, max_records=self.batch_records)
        fresh = self.consumer.assignment() - self.positions.keys()
        for partition in fresh:
            self.positions[partition] = self.next_offset(partition)
            self.consumer.seek(partition, self.positions[partition])
            batch.pop(partition, None)  # read from where Kafka thinks that we are
        if batch:
            self.store(batch)
            return True
        self.rest()
        self._look_for_a_new_topic()
        return not fresh

    def _look_for_a_new_topic(self) -> None:
        """The client does not notice one: it reads by name, and goes on at its old offset."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if topic_id(self._admin, self.topic) not in (None, self.topic_id):
            self._print()
            self._begin_anew()
            restart_process(f"Topic {self.topic} was deleted and made anew")

    def bury(self, letters: Sequence[Letter]) -> None:
        """Send what can't be stored to the dead letter queue, and return when Kafka has it.

        Args:
            letters: records and why they can't be stored.

        Raises:
            KafkaError: Kafka may not have it.
        """
        if not letters:
            return
        if self._letters is None:
            self._letters = TransactionalProducer(
                self._servers, f"{self.group}-{socket.gethostname()}-{uuid.uuid4()}"
            )
        partitions = count_partitions(self.consumer, self._dlq)
        self._letters.begin()
        for record, error in letters:
            headers = dead_letter_headers(record, error, self.group)
            self._letters.send(
                self._dlq, record.partition % partitions, record.key, record.value, headers, record.timestamp
            )
        self._letters.commit()

    def _print(self) -> None:
        if self._lines:
            print("\n".join(self._lines), flush=True)
        self._lines.clear()

    def forget(self) -> None:
        """Forget where we are: whoever knows it is asked anew."""
        self.positions.clear()

    def _begin_anew(self) -> None:
        """Whatever we know may be wrong now, and whatever we hold open may be of no use."""
        self.forget()
        self.close()
        if self._letters:
            self._letters.close()
            self._letters = None

    def _finish(self) -> None:
        with suppress(AwayError, OvertakenError, KafkaError):
            self.rest()
        self._print()
        self._begin_anew()
        close(self.consumer)
        say("Stopped.")


class _Forget(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Partitions come and go; where to go on in those that come, others may have changed."""

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forget."""
        self._forget()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Forget."""
        self._forget()


def buried_line(record: ConsumerRecord, error: UnstorableError) -> str:
    """Give the line that tells of a dead letter."""
    return f"    [DLQ] {record.topic}[{record.partition}]@{record.offset}: {printable(str(error))}"
