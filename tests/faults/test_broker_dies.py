"""Brokers are killed and come back: the backlog moves again, and each event still counts exactly once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local_kafka import LocalKafka
from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.integration.conftest import free_port
from tests.integration.pipelines import wait_until

MOVES_AGAIN_SECONDS = 20


def kill(cluster: LocalKafka, which: int = 1) -> None:
    node = cluster.nodes[which - 1]
    assert node.process
    node.process.kill()
    wait_until(lambda: node not in cluster.running, "killed")


def assert_it_moves_again(flow: Flow) -> None:
    """Called when the broker answers again: the backlog must not stand still for long."""
    committed = wait_until(flow.committed, "the broker tells the offsets", MOVES_AGAIN_SECONDS)
    wait_until(
        lambda: sum(flow.committed().values()) > sum(committed.values()),
        "the backlog moves again",
        MOVES_AGAIN_SECONDS,
    )


def test_the_only_broker_is_killed(cluster: LocalKafka, flow: Flow, scale: Scale) -> None:
    flow.fill(scale.events)
    processor = flow.start_processor()
    kills = scale.rounds(1, 3)
    for number in range(1, kills + 1):
        flow.wait_until_seen(number * scale.events // (kills + 2))
        kill(cluster)
        cluster.start()
        assert_it_moves_again(flow)
    flow.check()
    assert processor.stop() == 0, processor.stderr


def test_the_broker_is_away_for_a_while(cluster: LocalKafka, flow: Flow, scale: Scale) -> None:
    flow.fill(scale.events)
    processor = flow.start_processor()
    flow.wait_until_seen(scale.events // 4)
    kill(cluster)
    away_until = time.monotonic() + scale.rounds(20, 60)
    wait_until(lambda: time.monotonic() > away_until, "it was away long enough", 100)
    assert processor.process.poll() is None, processor.stderr
    cluster.start()
    assert_it_moves_again(flow)
    flow.check()
    assert processor.stop() == 0, processor.stderr


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[LocalKafka]:
    cluster = LocalKafka(brokers=3, port=free_port(brokers=3), home=tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_two_of_three_brokers_are_killed_one_after_the_other(three_brokers: LocalKafka, scale: Scale) -> None:
    """Replication 3, min.insync.replicas 2: with one of them away nothing has to wait for it."""
    with Flow(three_brokers.bootstrap_servers) as flow:
        processor = flow.start_processor()
        with flow.producers(scale.events, seconds=20):
            for which in (1, 2):
                flow.wait_until_seen(flow.reader.seen + scale.events // 10)
                kill(three_brokers, which)
                flow.wait_until_seen(flow.reader.seen + scale.events // 10)
                three_brokers.start()
        flow.check()
        assert processor.stop() == 0, processor.stderr
