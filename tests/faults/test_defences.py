"""Faults of kafka-python 3.0.12 that a kill hits only by chance, made to happen every time.

Each test fails when its defence is taken out: docs/delivery.md has the table.
"""

import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer
from kafka.structs import OffsetAndMetadata, TopicPartition

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import STOP_SECONDS
from pipeline.client.consuming import subscribe
from pipeline.client.health import answers
from pipeline.client.settings import connection_settings
from pipeline.client.watchdog import HANG_SECONDS
from pipeline.local.kafka import LocalKafka
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Proxy, turn_commit_into_abort, with_a_vanished_leader
from tests.integration.pipelines import wait_until

EVENTS = 3000
JOIN_ONCE_MORE_SECONDS = 3.0  # a consumer that joins once more does so after 0.6 s


def test_records_that_expired_are_not_left_out(flow: Flow, proxy: Proxy) -> None:
    """The client would commit the transaction without the records, but with their offsets."""
    flow.fill(EVENTS)
    with proxy.cut(Api.PRODUCE):
        processor = flow.start_processor(proxy.servers)
        wait_until(
            lambda: "Recreating the Kafka clients" in processor.stderr or flow.committed(),
            "it recreates its clients, or commits",
        )
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_a_commit_that_the_broker_aborted_is_noticed(flow: Flow, proxy: Proxy) -> None:
    """The client may report an aborted transaction as committed. Here it has to: it requests a commit, and
    the proxy changes the request into one to abort.
    """
    changed: list[bytes] = []

    def abort(request: bytearray) -> None:
        if not changed:
            changed.append(bytes(request))
            turn_commit_into_abort(request)

    flow.fill(EVENTS)
    with proxy.rule(Api.END_TXN, abort):
        processor = flow.start_processor(proxy.servers)
        flow.check()
    assert changed[0][-2:] == b"\x01\x00"
    assert processor.stop() == 0, processor.stderr


def test_offsets_of_a_lost_transaction_are_never_sent_with_a_later_one(flow: Flow, proxy: Proxy) -> None:
    """The client keeps them after an abort; sent later, they would replace those of another processor."""
    flow.start_processor(proxy.servers)
    [late] = flow.wait_until_joined(1)
    flow.start_processor()
    first, *_ = flow.wait_until_joined(2)[late]
    with proxy.hold(Api.TXN_OFFSET_COMMIT) as came:
        flow.send_to(first)
        assert came.wait(20)
        flow.send_to(first)
        flow.expel(late)
        flow.wait_until_processed()  # by the other one
    flow.wait_until_joined(2)

    for partition in flow.ends().keys() - {first}:
        flow.send_to(partition)
        flow.wait_until_committed(flow.events)
    flow.check()


def test_a_processor_that_fell_out_of_its_group_commits_nothing(flow: Flow, proxy: Proxy) -> None:
    """It learns that while it waits for records. The client returns records all the same, with a membership
    so empty that the broker does not check it.
    """
    late = flow.start_processor(proxy.servers)
    [member] = flow.wait_until_joined(1)
    flow.start_processor(proxy.servers)
    members = flow.wait_until_joined(2)
    partition, *_ = members.pop(member)
    [other] = members
    flow.send_to(partition)
    flow.wait_until_committed(1)  # after this join it has compared its offsets, which takes time
    with (
        proxy.slow(Api.HEARTBEAT, 0.05),
        proxy.slow(Api.FETCH, 0.2),  # so that the heartbeat is answered first
        proxy.hold(Api.TXN_OFFSET_COMMIT, other) as busy,
    ):
        late.process.send_signal(signal.SIGSTOP)
        last_answer = time.monotonic() + 1
        flow.expel(member)
        flow.wait_until_joined(1)
        wait_until(lambda: time.monotonic() > last_answer, "its last fetch brought nothing")
        flow.send_to(partition)
        assert busy.wait(20)  # the other one is about to commit
        late.process.send_signal(signal.SIGCONT)
        wait_until(
            lambda: "Recreating the Kafka clients" in late.stderr or flow.committed().get(partition, 0) > 1,
            "it recreates its clients, or commits",
            20,
        )
    flow.wait_until_joined(2)
    flow.check()
    assert late.stop() == 0, late.stderr


def test_positions_from_before_a_lost_membership_are_not_used(flow: Flow, proxy: Proxy) -> None:
    """A client that falls out of its group while it joins keeps them, and would use them after it joined."""
    late = flow.start_processor(proxy.servers)
    flow.fill(EVENTS)
    flow.wait_until_processed()
    with proxy.hold(Api.SYNC_GROUP) as came:
        other = flow.start_processor()
        assert came.wait(20)
        flow.wait_until_joined(1)
        flow.fill(EVENTS)
        flow.wait_until_processed()
        assert other.stop() == 0, other.stderr
    flow.fill(EVENTS)
    flow.check()
    assert late.stop() == 0, late.stderr


def test_offsets_of_a_transaction_still_open_are_waited_for(flow: Flow, proxy: Proxy) -> None:
    """Otherwise the processor that takes over would process again what the other is just committing."""
    flow.fill(EVENTS)
    ended = proxy.seen[Api.END_TXN]
    with proxy.hold(Api.END_TXN) as came:
        sleeper = flow.start_processor(proxy.servers)
        assert came.wait(20)
        sleeper.process.send_signal(signal.SIGSTOP)
        asked = proxy.seen[Api.OFFSET_FETCH]
        flow.start_processor(proxy.servers)
        # It gets no offsets yet and asks again; or, without the defence, it gets them and commits, too.
        wait_until(
            lambda: proxy.seen[Api.OFFSET_FETCH] >= asked + 2 or proxy.seen[Api.END_TXN] >= ended + 2,
            "another one took over",
        )
    sleeper.process.send_signal(signal.SIGCONT)
    flow.check()


def test_a_call_that_hangs_ends_and_the_work_continues(flow: Flow, proxy: Proxy) -> None:
    flow.fill(EVENTS)
    with proxy.cut(Api.END_TXN):  # which the client retries for ever
        processor = flow.start_processor(proxy.servers)
        processor.wait_for("restarting this process", 2 * HANG_SECONDS)
    assert "commit() did not return within" in processor.stderr
    flow.check()
    assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_ctrl_c_ends_a_call_that_hangs(flow: Flow, proxy: Proxy) -> None:
    """Also when the watchdog is about to restart the process: the new one would not know of the Ctrl-C."""
    flow.fill(EVENTS)
    with proxy.cut(Api.END_TXN) as came:
        processor = flow.start_processor(proxy.servers)
        assert came.wait(20)
        nearly = time.monotonic() + HANG_SECONDS - STOP_SECONDS / 2
        wait_until(lambda: time.monotonic() > nearly, "the watchdog is about to act")
        assert processor.stop() == 0, processor.stderr
    assert "restarting this process" not in processor.stderr


def test_offsets_behind_the_end_are_no_reason_to_try_for_ever(flow: Flow) -> None:
    """Such offsets were set by hand, or the log was cut: nobody has processed the records that are there."""
    flow.fill(100)
    ends = flow.ends()
    consumer = KafkaConsumer(
        bootstrap_servers=flow.kafka.servers, group_id=flow.group, enable_auto_commit=False
    )
    consumer.assign(list(ends))
    consumer.commit({partition: OffsetAndMetadata(end + 1000) for partition, end in ends.items()})
    consumer.close()
    processor = flow.start_processor()
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_a_transaction_that_timed_out_is_no_final_error(flow: Flow, proxy: Proxy) -> None:
    """The client then reports that it was fenced, as if another process used its transactional id."""
    flow.fill(EVENTS)
    with proxy.cut(Api.END_TXN) as came:
        processor = flow.start_processor(proxy.servers)
        assert came.wait(20)
        assert flow.read(flow.analytics) == []  # returns when the broker has aborted the transaction
    flow.check()
    assert "ProducerFencedError" in processor.stderr
    assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_a_producer_that_can_not_be_closed_holds_nothing_up(flow: Flow, proxy: Proxy) -> None:
    """Its close() raises while records wait; the consumer must be closed all the same."""
    flow.fill(EVENTS)
    with proxy.cut(Api.ADD_PARTITIONS_TO_TXN):
        processor = flow.start_processor(proxy.servers)
        processor.wait_for("Recreating the Kafka clients", 30)
        before = proxy.seen[Api.INIT_PRODUCER_ID]
        wait_until(lambda: proxy.seen[Api.INIT_PRODUCER_ID] > before, "a new producer is there", 30)
    flow.check()
    assert "Resumed from the committed offsets." in processor.stderr
    assert processor.stop() == 0, processor.stderr


def test_a_start_does_not_hang_when_the_group_is_slow(flow: Flow, proxy: Proxy) -> None:
    """A consumer that subscribes before it knows its topics is assigned no partition and joins once more. If
    the answer takes longer than a poll, it does not notice that it has joined, and waits for ever.
    """
    flow.fill(100)
    with proxy.slow(Api.SYNC_GROUP, seconds=0.8):
        processor = flow.start_processor(proxy.servers)
        flow.wait_until_seen(100, seconds=15)
        consumers = [
            flow.start(
                "consumer_analytics.py",
                "--group",
                f"{flow.prefix}{number}",
                KAFKA_BOOTSTRAP_SERVERS=proxy.servers,
            )
            for number in range(5)
        ]
        wait_until(lambda: all(consumer.stdout for consumer in consumers), "all consumers print", 15)
    for script in (processor, *consumers):
        assert script.stop() == 0, script.stderr


class Joins(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Counts how often a consumer is assigned partitions."""

    def __init__(self) -> None:
        self.count = 0

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None: ...

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.count += 1


def test_a_consumer_joins_its_group_once(flow: Flow) -> None:
    """The client ignores metadata from before subscribe(), and would join once more when it gets new."""
    # The first group of a new broker may take longer to join than the metadata takes, and hide the fault.
    for group in ("first", "second"):
        joins = Joins()
        consumer = KafkaConsumer(
            **connection_settings(Cluster(flow.kafka.servers)), group_id=flow.prefix + group
        )
        subscribe(consumer, flow.analytics, listener=joins)
        polled_until = time.monotonic() + JOIN_ONCE_MORE_SECONDS
        while time.monotonic() < polled_until:
            consumer.poll(timeout_ms=200)
        consumer.close()
    assert joins.count == 1


@pytest.mark.thorough
def test_new_partitions_are_found_when_the_group_is_slow(flow: Flow, proxy: Proxy) -> None:
    """The client joins the group again because of them, drops the attempt halfway, and waits for ever."""
    processor = flow.start_processor(proxy.servers)
    flow.wait_until_joined(1)
    with KafkaAdminClient(bootstrap_servers=flow.kafka.servers) as admin:
        admin.create_partitions({flow.web: 4})
    with proxy.slow(Api.SYNC_GROUP, seconds=0.8):
        joined = proxy.seen[Api.SYNC_GROUP]
        with proxy.down():
            pass  # a client that connects again requests the metadata again
        wait_until(lambda: proxy.seen[Api.SYNC_GROUP] > joined, "it joins again")
    flow.send_to(TopicPartition(flow.web, 3))
    flow.wait_until_seen(1)
    assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_a_broker_that_is_reachable_again_is_found_soon(cluster: LocalKafka, proxy: Proxy) -> None:
    """By default the client's pause between two attempts doubles from 50 ms to 30 s, give or take a fifth. So
    it tries 10 to 15 s after the beginning of an outage, and not again before 20 s.
    """
    consumer = KafkaConsumer("some-topic", **connection_settings(Cluster(proxy.servers)))
    polling = threading.Event()

    def poll() -> None:
        while not polling.is_set():
            consumer.poll(timeout_ms=200)
        consumer.close()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        with proxy.down():
            up_at = time.monotonic() + 16
            wait_until(lambda: time.monotonic() > up_at, "the outage was long enough")
        attempts = proxy.attempts
        wait_until(lambda: proxy.attempts > attempts, "it is found", 3)
    finally:
        polling.set()
        thread.join()


@contextmanager
def vanished_leader(proxy: Proxy) -> Iterator[None]:
    """Let the leader of the first partitions be no broker, inside the with block.

    The block begins when a client has learned that and has asked once more; a client that is stuck does not.
    """
    with proxy.change_answers(Api.METADATA, with_a_vanished_leader) as came:
        with proxy.down():
            pass
        assert came.wait(20)
        asked = proxy.seen[Api.METADATA]
        wait_until(lambda: proxy.seen[Api.METADATA] > asked + 1, "it asks again", 20)
        yield


def test_a_consumer_outlives_one_of_several_brokers(flow: Flow, proxy: Proxy) -> None:
    """For a moment the leader of a partition is no broker any more. The client's fetch would fail, and count
    as in flight for ever: it would read nothing more from that broker, even when it is reachable again.
    """
    flow.start_processor()
    flow.send_to(TopicPartition(flow.web, 0))
    consumer = flow.start("consumer_analytics.py", KAFKA_BOOTSTRAP_SERVERS=proxy.servers)
    consumer.wait_for_lines(1)
    with vanished_leader(proxy):
        for number in range(3):
            flow.send_to(TopicPartition(flow.web, number))
        consumer.wait_for_lines(3)  # from the partitions of the others
    consumer.wait_for_lines(4)
    assert consumer.stop() == 0, consumer.stderr
    assert consumer.stdout.count("\n") == 4


def test_a_producer_outlives_one_of_several_brokers(flow: Flow, proxy: Proxy) -> None:
    """The client's sending thread would fail again and again, and send nothing more to any broker."""
    producer = flow.start("producer_web.py", "--rate", "50", KAFKA_BOOTSTRAP_SERVERS=proxy.servers)
    producer.wait_for_lines(10)
    with vanished_leader(proxy):
        producer.wait_for_lines(producer.stdout.count("\n") + 10)
    sent = producer.stdout.count(f"{flow.web}[0]@")
    wait_until(lambda: producer.stdout.count(f"{flow.web}[0]@") > sent, "it sends to that partition again")
    flow.stop_producer(producer)
    assert len(flow.read(flow.web)) == flow.events


def test_a_client_that_can_not_connect_leaves_no_thread_behind() -> None:
    """During an outage the processor creates new clients again and again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = set(threading.enumerate())
        assert not answers(Cluster(f"127.0.0.1:{silent.getsockname()[1]}"), seconds=1)
        wait_until(lambda: set(threading.enumerate()) <= before, "no thread is left", 5)
