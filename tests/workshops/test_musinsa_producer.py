"""test_connection.py and test_producer.py as the workshop shows them, and what the producer promises."""

import json
import re
import socket
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import admin_client, create_topics
from tests.integration.pipelines import Pipeline, module_of
from workshops.musinsa import producer, products, test_producer
from workshops.musinsa.producer import ProductProducer, publish_products

CONNECTION = "workshops/musinsa/test_connection.py"
PRODUCER = "workshops/musinsa/test_producer.py"
SCRIPTS = (CONNECTION, PRODUCER)
PRINTED = """\
📦 방법 1: ProductProducer 클래스
    [1] 테스트 패딩 자켓 - 블랙 → ✅ 성공
    [2] 테스트 맨투맨 - 그레이 → ✅ 성공

📦 방법 2: publish_products() 함수
    결과: 성공 3, 실패 0
"""
FAILED = PRINTED.replace("✅ 성공", "❌ 실패").replace("성공 3, 실패 0", "성공 0, 실패 3")
SENT = [*test_producer.ONE_BY_ONE, *test_producer.TOGETHER]
TINY_BYTES = "10"


@pytest.fixture
def topic(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> str:
    """The topic of the scripts and, in this process, of the producer."""
    name = pipeline.prefix + "musinsa-products"
    monkeypatch.setattr(producer, "PRODUCTS", name)
    return name


def make_topic(pipeline: Pipeline, topic: str, **settings: str) -> None:
    with admin_client(Cluster(pipeline.kafka.servers)) as admin:
        create_topics(
            admin, [topic], settings={name.replace("_", "."): value for name, value in settings.items()}
        )


class TestConnection:
    def test_prints_what_the_workshop_shows(self, pipeline: Pipeline, topic: str) -> None:
        for offset in range(2):
            done = pipeline.run(CONNECTION)
            assert (done.returncode, done.stderr) == (0, "")
            connected, cluster, topics, sent, read, passed = done.stdout.splitlines()
            assert connected == f"✅ Kafka 연결 성공: {pipeline.kafka.servers}"
            assert re.fullmatch(r"   클러스터 ID: [\w-]{22}", cluster)
            count, names = re.fullmatch(r"✅ Topic 개수: (\d+) - (.+)", topics).groups()  # type: ignore[union-attr]
            assert topic in names.split(", ")
            assert len(names.split(", ")) == int(count)
            assert "__" not in names
            assert sent == f"✅ 메시지 발행 성공! Partition: 2, Offset: {offset}"
            assert (read, passed) == ("✅ 메시지 소비 성공!", "🎉 모든 테스트 통과!")
        for offset, record in enumerate(pipeline.read(topic)):
            assert (record.partition, record.offset) == (2, offset)
            with pytest.raises(msgspec.ValidationError):  # it must not become a row of the database
                products.check(json.loads(record.value))

    def test_a_broker_that_refuses_is_one_line(self, pipeline: Pipeline, topic: str) -> None:
        make_topic(pipeline, topic, max_message_bytes=TINY_BYTES)
        done = pipeline.run(CONNECTION)
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 3
        [line] = done.stderr.splitlines()
        assert line.startswith("test_connection.py: Kafka refused: ")


class TestProducer:
    def test_prints_what_the_workshop_shows(self, pipeline: Pipeline, topic: str) -> None:
        before = datetime.now(timezone.utc)
        done = pipeline.run(PRODUCER)
        assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED, "")

        records = {record.key.decode(): record for record in pipeline.read(topic)}
        assert set(records) == {product["url"] for product in SENT}
        for product in SENT:
            record = records[product["url"]]
            value = json.loads(record.value)
            published_at = datetime.fromisoformat(value.pop("published_at").replace("Z", "+00:00"))
            assert value == product
            assert timedelta(0) <= published_at - before < timedelta(minutes=1)
            msgspec.json.decode(record.value, type=products.PublishedProduct)
        first = records["https://www.musinsa.com/products/12345"]
        assert (first.partition, first.offset) == (2, 0)  # behind the message of test_connection.py: 1

    def test_a_product_stays_in_its_partition(self, pipeline: Pipeline, topic: str) -> None:
        make_topic(pipeline, topic)
        for _ in range(3):
            assert publish_products(SENT, Cluster(pipeline.kafka.servers)) == (len(SENT), 0)
        places: dict[str, set[int]] = {}
        for record in pipeline.read(topic):
            places.setdefault(record.key.decode(), set()).add(record.partition)
        assert len(places) == len(SENT)
        assert all(len(partitions) == 1 for partitions in places.values())

    def test_what_kafka_refuses_is_reported(self, pipeline: Pipeline, topic: str) -> None:
        make_topic(pipeline, topic, max_message_bytes=TINY_BYTES)
        done = pipeline.run(PRODUCER)
        assert (done.returncode, done.stdout) == (1, FAILED)
        assert done.stderr.splitlines()[-1] == "test_producer.py: 5 products were not published."
        assert "Traceback" not in done.stderr
        assert pipeline.read(topic) == []

    def test_what_kafka_refuses_together_is_counted(self, pipeline: Pipeline, topic: str) -> None:
        """The client splits a batch that is too large, and every other time calls that an unknown error."""
        make_topic(pipeline, topic, max_message_bytes=TINY_BYTES)
        many = SENT * 4
        with ProductProducer(Cluster(pipeline.kafka.servers)) as together:
            for _ in range(20):
                assert together.publish_all(many) == (0, len(many))

    @pytest.mark.parametrize(
        "bad",
        [
            {},
            {"url": "http://shop.test/", "name": "x" * 2_000_000},
            {"url": "http://shop.test/", "name": object()},
        ],
        ids=["no URL", "too large", "not for JSON"],
    )
    def test_a_failure_is_counted_and_stops_no_other(
        self, pipeline: Pipeline, topic: str, bad: dict[str, Any]
    ) -> None:
        published = publish_products([SENT[0], bad, SENT[1]], Cluster(pipeline.kafka.servers))
        assert published == (2, 1)
        with ProductProducer(Cluster(pipeline.kafka.servers)) as one_by_one:
            assert [one_by_one.publish(product) for product in (bad, SENT[2])] == [False, True]
        assert {record.key.decode() for record in pipeline.read(topic)} == {one["url"] for one in SENT[:3]}


def test_no_broker_is_one_line(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        servers = f"localhost:{closed.getsockname()[1]}"
    for running in [pipeline.start(script, "--bootstrap-servers", servers) for script in SCRIPTS]:
        assert running.process.wait(10) == 1
        running.stop()
        assert running.stdout == ""
        [line] = running.stderr.splitlines()
        assert f"No Kafka answers at {servers}" in line


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_bad_usage(pipeline: Pipeline, script: str) -> None:
    shown = pipeline.run(script, "--help")
    assert (shown.returncode, f"python -m {module_of(script)}" in shown.stdout) == (0, True)
    assert pipeline.run(script, "--bootstrap-servers", "nowhere").returncode == 2
