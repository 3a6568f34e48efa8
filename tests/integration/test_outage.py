"""A broker is killed and comes back: all four scripts wait for it and go on, nothing is lost or doubled."""

import json
import re
from collections import Counter
from pathlib import Path

from pipeline.broker import LOCAL_TOOL, Broker
from pipeline.dead_letters import read_dead_letter
from pipeline.local_kafka import LocalKafka
from tests.integration.conftest import free_port
from tests.integration.pipelines import Pipeline, wait_until

SENT = re.compile(r"(?:sent  |broken) (\S+)\[(\d+)]@(\d+) ")


def test_all_four_scripts_outlive_a_restart_of_the_broker(tmp_path: Path) -> None:
    cluster = LocalKafka(port=free_port(), home=tmp_path)
    try:
        cluster.start()
        kafka = Broker(cluster.bootstrap_servers, "for this test", f"{LOCAL_TOOL} exec ", stop=None)
        with Pipeline(kafka) as pipeline:
            check_the_restart(cluster, pipeline)
    finally:
        cluster.stop()


def check_the_restart(cluster: LocalKafka, pipeline: Pipeline) -> None:
    processor = pipeline.start("stream_processor.py")
    consumer = pipeline.start("consumer_analytics.py", "--json")
    producers = [
        pipeline.start(script, "--count", "400", "--rate", "20")
        for script in ("producer_web.py", "producer_purchase.py")
    ]
    wait_until(lambda: len(consumer.stdout.splitlines()) > 50, "events come through")
    [node] = cluster.nodes
    assert node.process
    node.process.kill()
    wait_until(lambda: not cluster.running, "killed")
    cluster.start()

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
    assert processor.stop() == consumer.stop() == 0
