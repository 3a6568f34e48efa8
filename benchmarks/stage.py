"""Topics and a group for one measurement: sends its events, and reads what comes out."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Thread
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

import producer_purchase
import producer_web
from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.admin import admin_client, ensure_topics
from pipeline.topics import (
    ANALYTICS_DLQ,
    ANALYTICS_EVENTS,
    PARTITIONS,
    PROCESSOR_GROUP,
    PURCHASE_EVENTS,
    WEB_EVENTS,
)

SHARE_OF_BROKEN = 0.1
TIMESTAMP = "2026-11-22T09:00:00.000+09:00"
LOAD_SECONDS = 60  # a backlog is one transaction of the loader, and must be sent before that times out
LOOK_SECONDS = 0.02
QUIET_SECONDS = 1.0  # nothing more comes out
PATIENCE_SECONDS = 10.0  # the same, where something is missing
MOST_READ_AT_ONCE = 1000


class Event(NamedTuple):
    """A source record with a unique key, and whether it has to become a dead letter."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    is_broken: bool


def make_events(count: int) -> list[Event]:
    """Return events of both sources in turns, spread evenly over the partitions; a tenth of them is broken.

    Args:
        count: the number of events.
    """
    dice = random.Random(1)
    events = []
    for number in range(count):
        producer, topic = ((producer_web, WEB_EVENTS), (producer_purchase, PURCHASE_EVENTS))[number % 2]
        event = producer.make_event(dice, TIMESTAMP)
        is_broken = dice.random() < SHARE_OF_BROKEN
        value = producer.break_event(dice, event) if is_broken else msgspec.json.encode(event)
        events.append(Event(topic, number // 2 % PARTITIONS, str(number).encode(), value, is_broken))
    return events


class Stage:
    """Sends events to topics of its own, and reads what the processes under test make of them."""

    def __init__(self, servers: str) -> None:
        """Create the topics.

        Args:
            servers: bootstrap servers.
        """
        self.servers = servers
        self.prefix = f"benchmark-{uuid.uuid4().hex[:8]}-"
        self.group = self.prefix + PROCESSOR_GROUP
        outputs = [self.prefix + name for name in (ANALYTICS_EVENTS, ANALYTICS_DLQ)]
        self._topics = [self.prefix + name for name in (WEB_EVENTS, PURCHASE_EVENTS)] + outputs
        ensure_topics(Cluster(servers), *self._topics, outputs=outputs)
        common = {"bootstrap.servers": servers, "log_level": 3}  # errors; each rebalance is a warning
        self._loader = Producer(
            common
            | {
                "transactional.id": self.prefix,
                "transaction.timeout.ms": LOAD_SECONDS * 1000,
                "queue.buffering.max.messages": 1_000_000,
                "linger.ms": 50,
            }
        )
        self._loader.init_transactions()
        self._sender = Producer(common)  # waits up to 5 ms for more to send, as it does by default
        read_committed = {"isolation.level": "read_committed", "enable.auto.commit": False}
        self._reader = Consumer(common | read_committed | {"group.id": self.prefix + "reader"})
        self._reader.assign(
            [TopicPartition(topic, number, 0) for topic in outputs for number in range(PARTITIONS)]
        )
        self._offsets = Consumer(common | read_committed | {"group.id": self.group})
        self._ends: dict[tuple[str, int], int] = {}
        self._sent: list[Event] = []
        self._clean: list[bytes] = []
        self._dead: list[bytes] = []

    def close(self) -> None:
        """Delete the topics."""
        self._reader.close()
        self._offsets.close()
        with admin_client(Cluster(self.servers)) as admin:
            admin.delete_topics(self._topics)

    def load(self, events: Sequence[Event]) -> float:
        """Send events in one transaction, so that all of them become visible at the same moment.

        Returns:
            That moment, on the clock of time.monotonic().
        """
        self._loader.begin_transaction()
        for event in events:
            self._produce(self._loader, event)
        self._loader.flush()
        self._loader.commit_transaction()
        return time.monotonic()

    def wait_until_drained(self, seconds: float, look: Callable[[], None]) -> float:
        """Wait until the group has committed the offsets behind all events that were sent.

        Args:
            seconds: the longest time to wait.
            look: called while waiting.

        Returns:
            When that was seen, on the clock of time.monotonic().

        Raises:
            PipelineError: not in that time.
        """
        wanted = [TopicPartition(topic, partition) for topic, partition in self._ends]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(self._is_done(place) for place in self._offsets.committed(wanted, timeout=seconds)):
                return time.monotonic()
            look()
            time.sleep(LOOK_SECONDS)
        raise PipelineError(f"It was not done within {seconds:.0f} s.")

    def wait_for_members(self, number: int, seconds: float) -> None:
        """Wait until so many processes share the partitions.

        Raises:
            PipelineError: not in that time.
        """
        deadline = time.monotonic() + seconds
        with admin_client(Cluster(self.servers)) as admin:
            while time.monotonic() < deadline:
                group = admin.describe_groups([self.group])[self.group]
                if group["group_state"] == "Stable" and len(group["members"]) == number:
                    return
                time.sleep(LOOK_SECONDS)
        raise PipelineError(f"The group did not have {number} members within {seconds:.0f} s.")

    def wait_for_first(self, seconds: float, look: Callable[[], None]) -> float:
        """Wait until the reader sees a clean event.

        Args:
            seconds: the longest time to wait.
            look: called while waiting.

        Returns:
            When that was, on the clock of time.monotonic().

        Raises:
            PipelineError: not in that time.
        """
        deadline = time.monotonic() + seconds
        while not self._clean:
            if time.monotonic() > deadline:
                raise PipelineError(f"Nothing came out within {seconds:.0f} s.")
            look()
            self._read()
        return time.monotonic()

    def latencies(
        self, events: Sequence[Event], rate: int, seconds: float, look: Callable[[], None]
    ) -> list[float]:
        """Send events at a steady rate, and return how long each took until the reader saw it.

        Args:
            events: those to send.
            rate: events per second.
            seconds: how long to wait for the last one to come out.
            look: called while waiting.

        Returns:
            Seconds from send() to the reader, in the order in which they came out.

        Raises:
            PipelineError: not all came out.
        """
        sent_at: dict[bytes, float] = {}
        given_up = Flag()

        def send() -> None:
            due = time.perf_counter()
            for event in events:
                if given_up.is_set():
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                sent_at[event.key] = time.perf_counter()
                self._produce(self._sender, event)
                due += 1 / rate
            self._sender.flush()

        sender = Thread(target=send)
        sender.start()
        deadline = time.monotonic() + len(events) / rate + seconds
        taken: list[float] = []
        try:
            while len(taken) < len(events):
                if time.monotonic() > deadline:
                    raise PipelineError(
                        f"{len(events) - len(taken)} of {len(events)} events did not come out."
                    )
                look()
                for key, seen_at in self._read():
                    if key in sent_at:  # not an event of an earlier load
                        taken.append(seen_at - sent_at[key])
        finally:
            given_up.set()
            sender.join()
        return taken

    def check(self, is_copy: bool) -> None:
        """Read all outputs, and compare them with what was sent.

        Args:
            is_copy: whether broken events had to come out unchanged, and not as dead letters.

        Raises:
            PipelineError: an event is missing, came out twice, or is in the wrong topic.
        """
        quiet_since = time.monotonic()
        missing = True
        while time.monotonic() < quiet_since + (PATIENCE_SECONDS if missing else QUIET_SECONDS):
            if self._read():
                quiet_since = time.monotonic()
                missing = len(self._clean) + len(self._dead) < len(self._sent)
        dead = Counter(event.key for event in self._sent if event.is_broken and not is_copy)
        clean = Counter(event.key for event in self._sent) - dead
        if Counter(self._clean) != clean or Counter(self._dead) != dead:
            came = f"{len(self._clean)} and {len(self._dead)}"
            kinds = f"{len(set(self._clean))} and {len(set(self._dead))}"
            raise PipelineError(
                f"Not exactly once: {clean.total()} clean events and {dead.total()} dead letters had to "
                f"come, {came} did, {kinds} different ones."
            )

    def _produce(self, producer: Any, event: Event) -> None:  # noqa: ANN401, the library is not checked
        topic = self.prefix + event.topic
        self._sent.append(event)
        while True:
            try:
                producer.produce(
                    topic, event.value, event.key, partition=event.partition, on_delivery=self._delivered
                )
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.1)

    def _delivered(self, error: object, message: Any) -> None:  # noqa: ANN401
        if error is not None:
            raise PipelineError(f"The broker did not take an event: {error}")
        place = message.topic(), message.partition()
        self._ends[place] = max(self._ends.get(place, 0), message.offset() + 1)

    def _is_done(self, place: TopicPartition) -> bool:
        return bool(place.offset >= self._ends[place.topic, place.partition])

    def _read(self) -> list[tuple[bytes, float]]:
        """Wait a moment for records; return the key of each, and when it was seen."""
        first = self._reader.poll(LOOK_SECONDS)
        messages = [first, *self._reader.consume(MOST_READ_AT_ONCE, 0)] if first else []
        seen_at = time.perf_counter()
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            is_dead = message.topic() == self.prefix + ANALYTICS_DLQ
            (self._dead if is_dead else self._clean).append(message.key())
        return [(message.key(), seen_at) for message in messages]
