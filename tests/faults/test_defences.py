"""What kafka-python 3.0.12 does under faults that kills only hit by chance, made to happen every time.

Each test here turns red when the defence that it names is taken out: docs/delivery.md has the table.
"""

import signal
import socket
import threading
import time

from kafka import KafkaConsumer, TopicPartition

from pipeline.connection import answers, client_settings
from pipeline.exactly_once import HANG_SECONDS
from pipeline.local_kafka import LocalKafka
from tests.broken_events import purchase, web
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Proxy
from tests.integration.pipelines import Sent, wait_until

EVENTS = 3000


def test_records_that_expired_are_not_left_out(flow: Flow, proxy: Proxy) -> None:
    """The client would commit the transaction without them, offsets included."""
    flow.fill(EVENTS)
    with proxy.cut(Api.PRODUCE):
        processor = flow.start_processor(proxy.servers)
        wait_until(lambda: "Beginning anew" in processor.stderr or flow.committed(), "it had to decide")
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_a_commit_that_the_broker_aborted_is_noticed(flow: Flow, proxy: Proxy) -> None:
    """The client can take an aborted transaction for a committed one. Here it is made to: abort is what the
    broker is asked for, and commit what the client believes to have asked for.
    """
    changed: list[bytes] = []

    def abort(request: bytearray) -> None:
        if not changed:
            changed.append(bytes(request))
            request[-2] = False  # EndTxnRequest ends with the boolean `committed` and an empty list of tags

    flow.fill(EVENTS)
    with proxy.rule(Api.END_TXN, abort):
        processor = flow.start_processor(proxy.servers)
        flow.check()
    assert changed[0][-2:] == b"\x01\x00"
    assert processor.stop() == 0, processor.stderr


def test_offsets_of_a_lost_transaction_are_never_sent_with_a_later_one(flow: Flow, proxy: Proxy) -> None:
    """After an abort the client keeps them, and would set back what another processor has committed."""

    def send(partition: TopicPartition) -> None:
        event = web() if partition.topic == flow.web else purchase()
        flow.produce(partition.topic, [Sent(event, partition=partition.partition)])
        flow.events += 1

    flow.start_processor(proxy.servers)
    [late] = flow.wait_until_joined(1)
    flow.start_processor()
    first, *_ = flow.wait_until_joined(2)[late]
    with proxy.hold(Api.TXN_OFFSET_COMMIT) as came:
        send(first)
        assert came.wait(20)
        send(first)
        flow.expel(late)
        flow.wait_until_processed()  # by the other one
    flow.wait_until_joined(2)

    for partition in flow.ends().keys() - {first}:
        send(partition)
        flow.wait_until_committed(flow.events)
    flow.check()


def test_offsets_of_a_transaction_still_open_are_waited_for(flow: Flow, proxy: Proxy) -> None:
    """Or the one that takes over would do once more what the other is just committing."""
    flow.fill(EVENTS)
    ended = proxy.seen[Api.END_TXN]
    with proxy.hold(Api.END_TXN) as came:
        sleeper = flow.start_processor(proxy.servers)
        assert came.wait(20)
        sleeper.process.send_signal(signal.SIGSTOP)
        asked = proxy.seen[Api.OFFSET_FETCH]
        flow.start_processor(proxy.servers)
        # It gets no answer yet and asks again; or it does get one, and is the second to commit.
        wait_until(
            lambda: proxy.seen[Api.OFFSET_FETCH] >= asked + 2 or proxy.seen[Api.END_TXN] >= ended + 2,
            "another one took over",
        )
    sleeper.process.send_signal(signal.SIGCONT)
    flow.check()


def test_a_call_that_hangs_ends_and_the_work_goes_on(flow: Flow, proxy: Proxy) -> None:
    flow.fill(EVENTS)
    with proxy.cut(Api.END_TXN):  # to which the client says: again
        processor = flow.start_processor(proxy.servers)
        processor.wait_for("starting this process anew", 2 * HANG_SECONDS)
    assert "commit() did not return within" in processor.stderr
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_a_transaction_that_timed_out_is_no_reason_to_give_up(flow: Flow, proxy: Proxy) -> None:
    """The client says that it was fenced then, as if another process had taken its transactional id."""
    flow.fill(EVENTS)
    with proxy.cut(Api.END_TXN) as came:
        processor = flow.start_processor(proxy.servers)
        assert came.wait(20)
        assert flow.read(flow.analytics) == []  # returns when the broker has aborted the transaction
    flow.check()
    assert "ProducerFencedError" in processor.stderr
    assert processor.stop() == 0, processor.stderr


def test_a_producer_that_can_not_be_closed_holds_nothing_up(flow: Flow, proxy: Proxy) -> None:
    """While records wait its close() raises; the consumer has to be closed all the same."""
    flow.fill(EVENTS)
    with proxy.cut(Api.ADD_PARTITIONS_TO_TXN):
        processor = flow.start_processor(proxy.servers)
        processor.wait_for("Going on from the committed offsets.", 30)
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_a_start_does_not_hang_when_the_group_is_slow(flow: Flow, proxy: Proxy) -> None:
    """A consumer that subscribes before it knows its topics is given no partition, joins once more, and does
    not notice that it has: for ever if the answer takes longer than a poll.
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


def test_a_broker_that_came_back_is_found_soon(cluster: LocalKafka, proxy: Proxy) -> None:
    """The client's own pause between two attempts grows to 30 s."""
    consumer = KafkaConsumer("some-topic", **client_settings(proxy.servers))
    polling = threading.Event()

    def poll() -> None:
        while not polling.is_set():
            consumer.poll(timeout_ms=200)
        consumer.close()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        with proxy.down():
            back_at = time.monotonic() + 10
            wait_until(lambda: time.monotonic() > back_at, "it was away for a while")
        attempts = proxy.attempts
        wait_until(lambda: proxy.attempts > attempts, "it is found", 3)
    finally:
        polling.set()
        thread.join()


def test_a_client_that_can_not_connect_leaves_no_thread_behind() -> None:
    """In an outage the processor makes new ones again and again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = threading.active_count()
        assert not answers(f"127.0.0.1:{silent.getsockname()[1]}", seconds=1)
        wait_until(lambda: threading.active_count() <= before, "no thread is left", 5)
