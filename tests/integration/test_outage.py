"""A broker is killed and comes back: all four scripts wait for it and go on, nothing is lost or doubled."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.broker import LOCAL_TOOL, Broker
from pipeline.dead_letters import read_dead_letter
from pipeline.local_kafka import LocalKafka
from tests.integration.conftest import free_port
from tests.integration.pipelines import Pipeline, wait_until

SENT = re.compile(r"(?:sent  |broken) (\S+)\[(\d+)]@(\d+) ")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker of its own, because it is killed."""
    made = LocalKafka(port=free_port(), home=tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def pipeline(cluster: LocalKafka) -> Iterator[Pipeline]:
    """Its topics are gone with the cluster, which may not even run at the end of a test."""
    made = Pipeline(Broker(cluster.bootstrap_servers, "for this test", f"{LOCAL_TOOL} exec ", stop=None))
    yield made
    made.end_scripts()


def kill(cluster: LocalKafka) -> None:
    [node] = cluster.nodes
    assert node.process
    node.process.kill()
    wait_until(lambda: not cluster.running, "killed")


def test_all_four_scripts_outlive_a_restart_of_the_broker(cluster: LocalKafka, pipeline: Pipeline) -> None:
    processor = pipeline.start("stream_processor.py")
    consumer = pipeline.start("consumer_analytics.py", "--json")
    producers = [
        pipeline.start(script, "--count", "400", "--rate", "20")
        for script in ("producer_web.py", "producer_purchase.py")
    ]
    wait_until(lambda: len(consumer.stdout.splitlines()) > 50, "events come through")
    threads = psutil.Process(processor.process.pid).num_threads()
    kill(cluster)
    wait_until(lambda: "is away; waiting for it." in processor.stderr, "it is told")
    cluster.start()
    wait_until(lambda: "is back." in processor.stderr, "it is told")

    for producer in producers:
        assert producer.process.wait(120) == 0
        producer.stop()
    pipeline.wait_until_processed()
    sent = [SENT.match(line) for producer in producers for line in producer.stdout.splitlines()]
    letters = [read_dead_letter(record.headers) for record in pipeline.read(pipeline.dlq)]
    clean = [json.loads(record.value)["event_id"] for record in pipeline.read(pipeline.analytics)]
    assert len(sent) == len(clean) + len(letters) == 800
    assert set(Counter(clean).values()) == {1}
    assert len({(letter.topic, letter.partition, letter.offset) for letter in letters if letter}) == len(
        letters
    )

    wait_until(lambda: len(consumer.stdout.splitlines()) >= len(clean), "the consumer printed all")
    assert {json.loads(line)["event_id"] for line in consumer.stdout.splitlines()} == set(clean)
    wait_until(lambda: psutil.Process(processor.process.pid).num_threads() <= threads, "old clients are gone")
    assert processor.stop() == consumer.stop() == 0


def test_ctrl_c_stops_all_four_scripts_in_5_seconds_while_the_broker_is_away(
    cluster: LocalKafka, pipeline: Pipeline
) -> None:
    consumer = pipeline.start("consumer_analytics.py")
    scripts = [
        consumer,
        pipeline.start("stream_processor.py"),
        pipeline.start("producer_web.py", "--rate", "100"),
        pipeline.start("producer_purchase.py", "--rate", "100"),
    ]
    wait_until(lambda: len(consumer.stdout.splitlines()) > 50, "events come through")
    kill(cluster)
    wait_until(lambda: all("is away" in running.stderr for running in scripts), "all noticed", 30)

    asked = time.monotonic()
    for running in scripts:
        running.process.send_signal(signal.SIGINT)
    for running in scripts:
        assert running.process.wait(10) == 0
    assert time.monotonic() - asked < 5
    for running in scripts:
        running.stop()
        assert "Traceback" not in running.stderr
