"""Brokers are killed and restarted: the backlog moves again, and each event still counts exactly once."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.cli.cluster import Cluster
from pipeline.local.kafka import LocalKafka
from pipeline.schema import decode
from tests.conftest import free_port
from tests.faults.conftest import Scale
from tests.faults.flow import PRODUCERS, Flow, kill_broker, running
from tests.integration.pipelines import Running, wait_until

MOVES_AGAIN_SECONDS = 20


def assert_it_moves_again(flow: Flow) -> None:
    """Check, once the broker answers again, that the processor soon continues with the backlog."""
    deadline = time.monotonic() + MOVES_AGAIN_SECONDS
    committed = wait_until(flow.committed, "the broker returns the offsets", MOVES_AGAIN_SECONDS)
    wait_until(
        lambda: (now := sum(flow.committed().values())) > sum(committed.values()) or now == flow.events,
        "the backlog moves again",
        deadline - time.monotonic(),
    )


def assert_all_printed(flow: Flow, consumer: Running) -> None:
    """Check that a consumer printed, with --json, all clean events; some of them perhaps twice."""
    events = {decode(record.value).event_id for record in flow.read(flow.analytics)}
    wait_until(
        lambda: events == {decode(line.encode()).event_id for line in consumer.stdout.splitlines()},
        "the consumer printed all",
    )


def test_the_only_broker_is_killed(cluster: LocalKafka, flow: Flow, scale: Scale) -> None:
    flow.fill(scale.events)
    processor = flow.start_processor()
    kills = scale.rounds(1, 3)
    for number in range(1, kills + 1):
        flow.wait_until_seen(number * scale.events // (kills + 2))
        kill_broker(cluster)
        cluster.start()
        assert_it_moves_again(flow)
    flow.check()
    assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_all_four_scripts_outlive_an_unreachable_broker(
    cluster: LocalKafka, flow: Flow, scale: Scale
) -> None:
    flow.fill(scale.events)
    scripts = [
        processor := flow.start_processor(),
        consumer := flow.start("consumer_analytics.py", "--json"),
        *(live := [flow.start(script, "--rate", "20") for script in PRODUCERS]),
    ]
    flow.wait_until_seen(scale.events // 4)
    wait_until(lambda: consumer.stdout, "the consumer prints")
    threads = psutil.Process(processor.process.pid).num_threads()

    kill_broker(cluster)
    down_until = time.monotonic() + scale.rounds(15, 60)
    for script in scripts:
        script.wait_for("is unreachable; waiting for it.")
    wait_until(lambda: time.monotonic() > down_until, "the outage was long enough", 100)
    assert [script.process.poll() for script in scripts] == [None] * 4
    cluster.start()
    assert_it_moves_again(flow)

    for script in scripts:
        script.wait_for("is reachable again.")
    for producer in live:
        producer.wait_for_output(len(producer.stdout) + 1)  # it sends again
        flow.stop_producer(producer)
    flow.check()
    assert_all_printed(flow, consumer)
    wait_until(
        lambda: psutil.Process(processor.process.pid).num_threads() <= threads, "old clients are closed"
    )
    assert processor.stop() == consumer.stop() == 0


@pytest.mark.thorough
def test_ctrl_c_stops_all_four_scripts_in_5_seconds_while_the_broker_is_unreachable(
    cluster: LocalKafka, flow: Flow
) -> None:
    scripts = [
        flow.start_processor(),
        consumer := flow.start("consumer_analytics.py"),
        *(flow.start(script, "--rate", "100") for script in PRODUCERS),
    ]
    wait_until(lambda: len(consumer.stdout.splitlines()) > 50, "events come through")
    kill_broker(cluster)
    wait_until(lambda: all("is unreachable" in script.stderr for script in scripts), "all noticed", 30)

    asked = time.monotonic()
    for script in scripts:
        script.process.send_signal(signal.SIGINT)
    for script in scripts:
        assert script.process.wait(10) == 0, script.stderr
    assert time.monotonic() - asked < 5
    for script in scripts:
        script.stop()
        assert "Traceback" not in script.stderr


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[LocalKafka]:
    with running(LocalKafka(brokers=3, port=free_port(brokers=3), home=tmp_path)) as cluster:
        yield cluster


@pytest.mark.thorough
def test_two_of_three_brokers_are_killed_one_after_the_other(three_brokers: LocalKafka, scale: Scale) -> None:
    """With replication 3 and min.insync.replicas 2, nothing has to wait for one unreachable broker."""
    with Flow(Cluster(three_brokers.bootstrap_servers)) as flow:
        described = flow.tool("kafka-topics", "--describe", "--topic", flow.analytics).stdout
        assert "ReplicationFactor: 3" in described
        assert "min.insync.replicas=2" in described
        processor = flow.start_processor()
        consumer = flow.start("consumer_analytics.py", "--json")
        with flow.producers(scale.events, seconds=scale.rounds(20, 60)):
            flow.wait_until_seen(scale.events // 10)
            kill_broker(three_brokers, which=1)
            flow.wait_until_seen(flow.reader.seen + scale.events // 10)
            three_brokers.start()
            kill_broker(three_brokers, which=2)
            flow.wait_until_seen(flow.reader.seen + scale.events // 10)
        flow.check()
        assert_all_printed(flow, consumer)
        assert processor.stop() == consumer.stop() == 0, processor.stderr + consumer.stderr
