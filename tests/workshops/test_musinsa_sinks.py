"""Products are stored in PostgreSQL and OpenSearch once each, in their newest state, whatever fails when."""

import random
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics, topic_id
from pipeline.dead_letters import read_dead_letter
from pipeline.local.broker import LOCAL_TOOL, Broker
from pipeline.local.kafka import LocalKafka
from tests.conftest import free_port
from tests.faults.flow import kill_broker
from tests.integration.pipelines import Pipeline, Running, Sent, wait_until
from tests.integration.scraping import Watched
from tests.workshops.services import Postgres, Search, Service

COMPARED = ("name", "brand", "price", "category", "image_url")
EVENT_FIELDS = ("event_type", "source", "user_id", "details")
RECORDS_A_KILL = 1500
ONE_BATCH_BYTES = 600  # what is printed of ten records at least
URL = "https://www.musinsa.com/products/{}"


class Shop:
    """Products in a topic of their own, and what a service must hold of them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.topic = pipeline.prefix + "musinsa-products"
        self.dlq = self.topic + "-dlq"
        self.records = 0  # in the topic
        self.newest: dict[str, dict[str, Any]] = {}
        self._dice = random.Random(5)
        self._price = 0

    def make_topic(self) -> None:
        ensure_topics(Cluster(self.pipeline.kafka.servers), self.topic)

    def fill(self, records: int, products: int = 300) -> None:
        """Publish states of some products, each newer than the one before."""
        states = []
        for _ in range(records):
            url = URL.format(self._dice.randint(1, products))
            self._price += 1
            state = product(url, name=f"패딩 자켓 {self._price}", price=self._price)
            self.newest[url] = state
            states.append(as_sent(state))
        self.records += records
        self.pipeline.produce(self.topic, states)

    def check(self, service: Service) -> None:
        """Everything is done, and exactly the newest states are stored."""
        service.wait_until_done(self.pipeline, self.topic, self.records)
        stored = service.stored(self.topic, "url")
        assert {url: _compared(state) for url, state in stored.items()} == {
            url: _compared(state) for url, state in self.newest.items()
        }


def product(url: str, **fields: object) -> dict[str, Any]:
    return {
        "url": url, "name": "테스트 패딩 자켓 - 블랙", "brand": "테스트", "price": 89000, "category": None,
        "image_url": None, "published_at": "2026-11-22T00:00:00+00:00", **fields,
    }  # fmt: skip


def as_sent(state: Mapping[str, Any], partition: int | None = None) -> Sent:
    return Sent(msgspec.json.encode(state), key=state["url"].encode(), partition=partition)


def _compared(state: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(state[name] for name in COMPARED)


def kill(consumer: Running) -> None:
    consumer.process.kill()
    consumer.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    kafka = LocalKafka(port=free_port(), home=tmp_path)
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def shop(pipeline: Pipeline) -> Shop:
    made = Shop(pipeline)
    made.make_topic()
    return made


def test_the_lines_are_those_of_the_text(shop: Shop, service: Service) -> None:
    shop.fill(12, products=3)
    consumer = service.consumer(shop.pipeline)
    shop.check(service)
    assert consumer.stop() == 0, consumer.stderr
    first, *lines = consumer.stdout.splitlines()
    if service.name == "PostgreSQL":
        assert first == "🐘 PostgreSQL Consumer:"
        stored = [
            line for line in lines if re.fullmatch(r"    📝 (INSERT|UPDATE): https://\S+/products/\d", line)
        ]
        done = [line for line in lines if re.fullmatch(r"    ✅ 처리 완료: partition=\d, offset=\d+", line)]
        assert (len(stored), len(done)) == (12, 12)
        assert lines[0::2] == stored
        assert sum("INSERT" in line for line in stored) == len(shop.newest)
    else:
        assert first == "🔍 OpenSearch Consumer:"
        stored = [
            line
            for line in lines
            if re.fullmatch(r"    🔍 OpenSearch (created|updated): https://\S+/\d", line)
        ]
        assert len(stored) == 12
        assert sum("created" in line for line in stored) == len(shop.newest)
        assert [line for line in lines if line not in stored] == [
            "    📝 오프셋 커밋: 10건 처리됨",
            "    📝 오프셋 커밋: 2건 처리됨",
        ]


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.thorough)])
def test_kills_at_random_instants(shop: Shop, services: list[Service], kills: int) -> None:
    """kill -9 of both consumers, most of them in the middle of a batch."""
    for _ in range(kills):
        shop.fill(RECORDS_A_KILL)
        consumers = [service.consumer(shop.pipeline) for service in services]
        for consumer in consumers:
            consumer.wait_for_output(ONE_BATCH_BYTES)
        for consumer in random.sample(consumers, len(consumers)):
            with suppress(subprocess.TimeoutExpired):
                consumer.process.wait(random.uniform(0, 0.4))
            kill(consumer)
    shop.fill(RECORDS_A_KILL)
    for service in services:
        consumer = service.consumer(shop.pipeline)
        shop.check(service)
        assert consumer.stop() == 0, consumer.stderr


@pytest.mark.thorough
def test_two_consumers_and_one_that_was_thought_dead(shop: Shop, service: Service) -> None:
    """SIGSTOP in the middle of a batch, until another consumer has its partitions; then it continues."""
    shop.fill(RECORDS_A_KILL)
    sleeper = service.consumer(shop.pipeline)
    sleeper.wait_for_output(ONE_BATCH_BYTES)
    sleeper.process.send_signal(signal.SIGSTOP)
    shop.fill(RECORDS_A_KILL)
    other = service.consumer(shop.pipeline)
    shop.check(service)
    sleeper.process.send_signal(signal.SIGCONT)
    shop.fill(RECORDS_A_KILL)
    shop.check(service)
    for consumer in (sleeper, other):
        assert consumer.stop() == 0, consumer.stderr


@pytest.mark.parametrize(
    "service", ["postgres", pytest.param("opensearch", marks=pytest.mark.thorough)], indirect=True
)
def test_the_service_is_killed_and_started_again(shop: Shop, service: Service) -> None:
    shop.fill(RECORDS_A_KILL)
    consumer = service.consumer(shop.pipeline)
    consumer.wait_for_output(ONE_BATCH_BYTES)
    service.kill()
    consumer.wait_for(f"{service.name} is unreachable")
    late, impatient = (service.consumer(shop.pipeline, "--group", f"{shop.topic}-{n}") for n in range(2))
    for other in (late, impatient):
        other.wait_for(f"{service.name} is unreachable")
    assert impatient.stop(signal.SIGINT) == 0
    shop.fill(RECORDS_A_KILL)
    service.start()
    consumer.wait_for(f"{service.name} is reachable again")
    late.wait_for(f"{service.name} is reachable again")
    shop.check(service)
    for waited in (consumer, late):
        assert waited.stop() == 0, waited.stderr
        assert waited.stderr.count("is unreachable") == waited.stderr.count("is reachable again") == 1, (
            waited.stderr
        )
        assert "Traceback" not in waited.stderr


@pytest.mark.thorough
def test_kafka_is_killed_and_started_again(own_kafka: LocalKafka, services: list[Service]) -> None:
    broker = Broker(Cluster(own_kafka.bootstrap_servers), "for this test", f"{LOCAL_TOOL} exec ", None)
    with Pipeline(broker) as pipeline:
        shop = Shop(pipeline)
        shop.make_topic()
        shop.fill(RECORDS_A_KILL)
        consumers = [service.consumer(pipeline) for service in services]
        for consumer in consumers:
            consumer.wait_for_output(ONE_BATCH_BYTES)
        kill_broker(own_kafka)
        for consumer in consumers:
            consumer.wait_for("is unreachable; waiting for it.")
        own_kafka.start()
        shop.fill(RECORDS_A_KILL)
        for service, consumer in zip(services, consumers, strict=True):
            shop.check(service)
            assert consumer.stop() == 0, consumer.stderr
            assert "Traceback" not in consumer.stderr


def test_what_cannot_be_stored_becomes_a_dead_letter(shop: Shop, service: Service) -> None:
    """Byte for byte, with the reason; everything around it is stored."""
    bad = [
        Sent(
            b'{"test": "connection"}', key=b"k", headers=[("trace", b"\xff")], timestamp_ms=1_700_000_000_000
        ),
        Sent(b"\xff\xfe", key=None),
        Sent(b'[{"url":', key=b"\x00\xff"),
        Sent(None, key=b"a product that was deleted"),
        as_sent(product("https://shop.example/" + "k" * 500)),
        as_sent(product("ftp://shop.example/1")),
        as_sent(product(URL.format(1), price=-1)),
        as_sent(product(URL.format(1), price="89000")),
        Sent(b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ]
    if service.name == "PostgreSQL":
        bad.append(as_sent(product(URL.format(1), name="a\0b")))
    else:
        bad.append(as_sent(product(URL.format(1), brand="b" * 40_000)))
    shop.fill(6)
    places = shop.pipeline.produce(shop.topic, bad)
    shop.records += len(bad)
    shop.fill(6)
    consumer = service.consumer(shop.pipeline)
    shop.check(service)
    assert consumer.stop() == 0, consumer.stderr
    letters = {}
    for record in shop.pipeline.read(shop.dlq):
        letter = read_dead_letter(record.headers)
        assert letter
        letters[letter.topic, letter.partition, letter.offset] = (record, letter)
    assert sorted(letters) == sorted(places)
    for place, sent in zip(places, bad, strict=True):
        record, letter = letters[place]
        assert (record.key, record.value, list(letter.headers)) == (sent.key, sent.value, list(sent.headers))
        assert (record.partition, letter.group) == (place[1], shop.topic + service.group)
        assert sent.timestamp_ms in (None, record.timestamp)
        assert letter.message
        assert f"    [DLQ] {place[0]}[{place[1]}]@{place[2]}: " in consumer.stdout


@pytest.mark.thorough
def test_a_recreated_topic_is_another_topic(shop: Shop, postgres: Postgres, opensearch: Search) -> None:
    """Its offsets begin at 0 again, and must not count as done already."""
    shop.fill(20)
    rows, documents = postgres.consumer(shop.pipeline), opensearch.consumer(shop.pipeline)
    shop.check(postgres)
    shop.check(opensearch)
    with KafkaAdminClient(bootstrap_servers=shop.pipeline.kafka.servers) as admin:
        old = topic_id(admin, shop.topic)
        admin.delete_topics([shop.topic])

        def is_another() -> bool:
            shop.make_topic()  # unless a consumer was faster: its request for metadata creates the topic
            return topic_id(admin, shop.topic) not in (None, old)

        wait_until(is_another, "recreated")
    shop.records = 0
    shop.fill(20)
    shop.check(postgres)
    assert "was deleted and recreated" in rows.stderr
    assert rows.stop() == 0, rows.stderr
    assert documents.process.wait(30) == 1  # its versions are of the old topic, so a person has to decide
    assert f"Delete {shop.topic}-1" in documents.stderr.splitlines()[-1]
    opensearch.drop(shop.topic)
    documents = opensearch.consumer(shop.pipeline, "--group", shop.topic + "-2")
    there = {record.key.decode() for record in shop.pipeline.read(shop.topic)}
    wait_until(lambda: documents.stdout.count("🔍 OpenSearch created") == len(there), "all stored")
    assert opensearch.stored(shop.topic, "url").keys() == there
    assert documents.stop() == 0, documents.stderr


def test_a_table_or_index_that_was_deleted_is_filled_from_the_first_record(
    shop: Shop, postgres: Postgres, opensearch: Search
) -> None:
    shop.fill(20)
    for service in (postgres, opensearch):
        consumer = service.consumer(shop.pipeline)
        shop.check(service)
        assert consumer.stop() == 0, consumer.stderr
    postgres.drop(shop.topic)
    rows = postgres.consumer(shop.pipeline)
    rows.wait_for_output(ONE_BATCH_BYTES)
    shop.check(postgres)
    assert rows.stop() == 0, rows.stderr
    refused = opensearch.consumer(shop.pipeline)
    refused.wait_for("Storing")
    opensearch.drop(shop.topic)
    shop.fill(1)  # must not recreate an index that holds nothing else
    assert refused.process.wait(20) == 1
    assert "Start this with another --group" in refused.stderr
    documents = opensearch.consumer(shop.pipeline, "--group", shop.topic + "-2")
    wait_until(lambda: documents.stdout.count("🔍 OpenSearch created") == len(shop.newest), "all stored")
    assert documents.stop() == 0, documents.stderr


def test_an_index_that_takes_nothing_is_waited_for(shop: Shop, opensearch: Search) -> None:
    """OpenSearch then answers almost as it does for a bad document."""
    shop.fill(10)
    consumer = opensearch.consumer(shop.pipeline)
    shop.check(opensearch)
    opensearch.client.indices.close(index=shop.topic)
    shop.fill(10)
    consumer.wait_for("OpenSearch is unreachable (index_closed_exception")
    opensearch.client.indices.open(index=shop.topic)
    consumer.wait_for("OpenSearch is reachable again.")
    shop.check(opensearch)
    assert shop.pipeline.read(shop.dlq) == []
    assert consumer.stop() == 0, consumer.stderr
    assert consumer.stderr.count("is unreachable") == 1, consumer.stderr


def test_metrics_and_health_of_a_consumer(shop: Shop, service: Service) -> None:
    """It is healthy also while its service is unreachable: to kill it would not help."""
    places = shop.pipeline.produce(shop.topic, [Sent(b"{", key=b"k"), Sent(None, key=b"k")])
    shop.records += len(places)
    shop.fill(6)
    watched = Watched(shop.pipeline, f"workshops/musinsa/{service.script}", **service.environment)
    shop.check(service)
    wait_until(
        lambda: watched.sample('pipeline_events_total{result="dead"}') == len(places), "all are counted"
    )
    samples = watched.samples()
    assert samples['pipeline_events_total{result="clean"}'] == shop.records - len(places)
    for reason in ("not_json", "no_value"):
        assert samples[f'pipeline_dead_letters_total{{reason="{reason}"}}'] == 1
    wait_until(lambda: watched.lag() == 0, "the lag is measured")
    assert watched.health().text.startswith("working: ")
    service.kill()
    shop.fill(6)
    watched.running.wait_for(f"{service.name} is unreachable")
    health = watched.health()
    assert health.status == 200
    assert health.text.startswith(f"waiting: {service.name} is unreachable (")
    service.start()
    watched.running.wait_for(f"{service.name} is reachable again")
    assert watched.running.stop() == 0, watched.running.stderr


def test_offsets_of_two_partitions_are_not_compared(shop: Shop, opensearch: Search) -> None:
    """A URL stays in one partition unless partitions are added; then nobody knows which state is newer."""
    url = URL.format(1)
    shop.pipeline.produce(shop.topic, [as_sent(product(url, price=price), partition=0) for price in range(5)])
    consumer = opensearch.consumer(shop.pipeline)
    opensearch.wait_until_done(shop.pipeline, shop.topic, 5)
    [place] = shop.pipeline.produce(shop.topic, [as_sent(product(url, price=99), partition=1)])
    opensearch.wait_until_done(shop.pipeline, shop.topic, 6)
    assert consumer.stop() == 0, consumer.stderr
    assert opensearch.stored(shop.topic, "url")[url]["price"] == 4
    [letter] = shop.pipeline.read(shop.dlq)
    found = read_dead_letter(letter.headers)
    assert found
    assert (found.topic, found.partition, found.offset) == place
    assert "version conflict" in found.message


def test_the_main_pipeline_ends_in_both(pipeline: Pipeline, services: list[Service]) -> None:
    """Exactly the clean events, and the same in both."""
    topic = pipeline.analytics
    for script in ("producer_web.py", "producer_purchase.py"):
        sent = pipeline.run(script, "--count", "100", "--rate", "0")
        assert sent.returncode == 0, sent.stderr
    with pipeline.processor():
        pipeline.wait_until_processed()
    clean = {event["event_id"]: event for event in map(as_event, pipeline.read(topic))}
    assert len(clean) > 100
    for service in services:
        consumer = service.consumer(pipeline, "--topic", topic)
        wait_until_printed(consumer, service.printed_for_each, len(clean))
        assert consumer.stop() == 0, consumer.stderr
        assert stored_events(service, topic) == {
            identity: tuple(event[name] for name in EVENT_FIELDS) for identity, event in clean.items()
        }


def wait_until_printed(consumer: Running, words: str, times: int) -> None:
    wait_until(lambda: consumer.stdout.count(words) == times, f"prints {words!r} {times} times")


def as_event(record: Any) -> dict[str, Any]:  # noqa: ANN401, the client has no types
    event: dict[str, Any] = msgspec.json.decode(record.value)
    return event


def stored_events(service: Service, topic: str) -> dict[str, tuple[Any, ...]]:
    return {
        identity: tuple(event[name] for name in EVENT_FIELDS)
        for identity, event in service.stored(topic, "event_id").items()
    }
