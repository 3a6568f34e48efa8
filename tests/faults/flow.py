"""Events that flow through real scripts under faults, and the check that each counted exactly once."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError, RetriableError

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics
from pipeline.client.settings import connection_settings
from pipeline.demo.scripts import PRODUCERS as PRODUCER_NAMES
from pipeline.local.broker import LOCAL_TOOL, Broker
from pipeline.local.kafka import LocalKafka
from tests.broken_events import purchase, web
from tests.faults import account
from tests.integration.pipelines import Pipeline, Running, Sent, partitions_of, wait_until

AnyKafka = TypeVar("AnyKafka", bound=LocalKafka)
PRODUCERS = tuple(f"{name}.py" for name in PRODUCER_NAMES)


def kill_broker(cluster: LocalKafka, which: int = 1) -> None:
    """Kill a broker with SIGKILL."""
    node = cluster.nodes[which - 1]
    assert node.process
    node.process.kill()
    wait_until(lambda: node not in cluster.running, "killed")


@contextmanager
def running(kafka: AnyKafka) -> Iterator[AnyKafka]:
    """Run a cluster inside the with block."""
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


class Reader:
    """A read_committed reader that runs during the faults; it must see each record once, too."""

    def __init__(self, cluster: Cluster, *topics: str) -> None:
        self.records: dict[TopicPartition, list[Any]] = {}
        self.seen = 0
        self._cluster = cluster
        self._topics = topics
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()

    def _read(self) -> None:
        consumer = KafkaConsumer(
            **connection_settings(self._cluster),
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        self.records = {partition: [] for partition in partitions_of(consumer, *self._topics)}
        consumer.assign(list(self.records))
        consumer.seek_to_beginning()
        while not self._enough.is_set():
            try:
                polled = consumer.poll(timeout_ms=200)
            except KafkaError:  # the broker is unreachable
                continue
            for partition, records in polled.items():
                self.records[partition] += records
                self.seen += len(records)
        consumer.close()


class Flow(Pipeline):
    """A pipeline with a Reader, and a check of all records at the end."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(Broker(cluster, "for fault tests", f"{LOCAL_TOOL} exec ", stop=None))
        self.sources = {"web": self.web, "purchase": self.purchase}
        ensure_topics(cluster, *self.sources.values(), self.analytics, self.dlq)
        self.reader = Reader(cluster, self.analytics, self.dlq)
        self.events = 0

    def __enter__(self) -> "Flow":
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.stop()
        super().__exit__()

    def fill(self, events: int) -> None:
        """Let both producers send half of the events each (rounded down), as fast as they can."""
        for producer in self._start_producers("--count", str(events // 2), "--rate", "0"):
            assert producer.process.wait(600) == 0, producer.stderr
        self.events += events // 2 * 2

    def send_to(self, partition: TopicPartition) -> None:
        """Send one clean event to this partition."""
        event = web() if partition.topic == self.web else purchase()
        self.produce(partition.topic, [Sent(event, partition=partition.partition)])
        self.events += 1

    @contextmanager
    def producers(self, events: int, seconds: int) -> Iterator[None]:
        """Let both producers send steadily inside the with block, and until `events` came out.

        Args:
            events: the least number that must come out.
            seconds: how long sending them takes.
        """
        producers = self._start_producers("--rate", str(events // 2 // seconds))
        yield
        self.wait_until_seen(self.events + events, seconds * 3)
        for producer in producers:
            self.stop_producer(producer)

    def stop_producer(self, producer: Running) -> None:
        """Stop a producer, and count the events that it reports as sent."""
        assert producer.stop() == 0, producer.stderr
        [sent] = re.findall(r"^Sent (\d+) events", producer.stderr, re.M)
        self.events += int(sent)

    def _start_producers(self, *options: str) -> list[Running]:
        return [self.start(script, *options) for script in PRODUCERS]

    def start_processor(self, servers: str | None = None) -> Running:
        """Start one more processor; it connects to the broker, or to a proxy before it."""
        return self.start("stream_processor.py", KAFKA_BOOTSTRAP_SERVERS=servers or self.kafka.servers)

    def wait_until_seen(self, events: int, seconds: float = 60.0) -> None:
        """Wait until the reader has seen so many events come out."""
        wait_until(lambda: self.reader.seen >= events, f"{events} of {self.events} events came out", seconds)

    def committed(self) -> dict[TopicPartition, int]:
        """Return the group's committed offsets; none while a restarted broker can't answer yet."""
        with KafkaAdminClient(**connection_settings(self.kafka.cluster)) as admin:
            try:
                offsets = admin.list_group_offsets([self.group])[self.group]
            except RetriableError:
                return {}
        return {partition: committed.offset for partition, committed in offsets.items()}

    def wait_until_committed(self, records: int) -> None:
        """Wait until the group's committed offsets are past exactly so many records."""
        wait_until(lambda: sum(self.committed().values()) == records, f"{records} records committed", 20)

    def members(self) -> dict[str, set[TopicPartition]]:
        """Return the processors in the group and their partitions; none while that is not settled."""
        with KafkaAdminClient(**connection_settings(self.kafka.cluster)) as admin:
            try:
                [group] = admin.describe_groups([self.group]).values()
            except RetriableError:
                return {}
        if group["group_state"] != "Stable":
            return {}
        return {
            member["member_id"]: {
                TopicPartition(assigned["topic"], number)
                for assigned in member["member_assignment"]["assigned_partitions"]
                for number in assigned["partitions"]
            }
            for member in group["members"]
        }

    def expel(self, member: str) -> None:
        """Remove a processor from the group; it may join again."""
        with KafkaAdminClient(**connection_settings(self.kafka.cluster)) as admin:
            admin.remove_group_members(self.group, [MemberToRemove(member_id=member)])

    def wait_until_joined(self, processors: int) -> dict[str, set[TopicPartition]]:
        """Wait until so many processors are in the group, and return their partitions."""

        def joined() -> dict[str, set[TopicPartition]]:
            members = self.members()
            return members if len(members) == processors else {}

        members: dict[str, set[TopicPartition]] = wait_until(joined, f"{processors} processors in the group")
        return members

    def check(self) -> None:
        """Check that each event came out exactly once, in order, byte for byte.

        The committed offsets must be at the end of the sources, and the reader must have seen the same.
        """
        self.wait_until_processed()
        outputs = {topic: self.read(topic) for topic in (self.analytics, self.dlq)}
        sources = {source: self.read(topic) for source, topic in self.sources.items()}
        assert sum(map(len, sources.values())) == self.events
        names = {topic: source for source, topic in self.sources.items()}
        account.assert_same(
            account.expected(sources), account.came(outputs[self.analytics], outputs[self.dlq], names)
        )
        wait_until(lambda: self.reader.seen >= self.events, "the reader saw all")
        saw = {(r.topic, r.partition, r.offset) for r in chain.from_iterable(self.reader.records.values())}
        there = {(r.topic, r.partition, r.offset) for r in chain.from_iterable(outputs.values())}
        assert saw == there, "the reader saw what was aborted, or did not see what was committed"
        assert self.reader.seen == self.events, "the reader saw something twice"
