"""stream_processor.py on a real broker: one record in, exactly one out, whatever the record is."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from kafka.errors import MessageSizeTooLargeError

from pipeline.client.admin import create_topics
from pipeline.client.records import read_any_header_name
from pipeline.dead_letters import read_dead_letter
from pipeline.local import PROJECT
from pipeline.schema import decode, encode, normalize_web
from pipeline.text import NotUtf8
from tests.broken_events import PURCHASE, TABLE, WEB, Broken, purchase, web
from tests.integration.pipelines import Pipeline, Sent, wait_until

DLQ_LINE = "[DLQ] 처리 실패 이벤트를 analytics-dlq 토픽으로 전송합니다."
BROKER_LIMIT_BYTES = 1_048_588  # message.max.bytes of a broker, unless somebody changed it
TIMESTAMP_MS = 1_795_300_000_123

# Every form that Kafka allows and kafka-python can send; test_hostile_records.py has the others.
KEYS = {"a key": b"7", "no key": None, "an empty key": b"", "a key that is not UTF-8": b"\xff\x00\xfe"}
HEADERS = (
    ("trace", b"1"),
    ("trace", b"1"),  # exactly the same once more
    ("trace", b"2"),
    ("empty", b""),
    ("", b"no name"),
    ("not text", b"\xff\x00"),
    ("한국어", "값".encode()),
    ("__dlq.errors.message", b"not ours"),
)


def test_every_broken_event_ends_as_a_dead_letter_byte_for_byte(pipeline: Pipeline) -> None:
    assert pipeline.run("producer_web.py", "--count", "0").returncode == 0  # creates the topic
    assert pipeline.run("producer_purchase.py", "--count", "0").returncode == 0
    topics = {WEB: pipeline.web, PURCHASE: pipeline.purchase}
    sent: dict[tuple[str, int, int], tuple[Broken, Sent]] = {}
    for source, topic in topics.items():
        cases = [
            (broken, Sent(broken.value, key, headers, TIMESTAMP_MS))
            for broken in TABLE
            if broken.source == source
            for key in KEYS.values()
            for headers in ((), HEADERS)
        ]
        places = pipeline.produce(topic, [record for _, record in cases])
        sent.update(zip(places, cases, strict=True))

    with pipeline.processor() as processor:
        pipeline.wait_until_processed()
    lines = processor.stdout.splitlines()

    assert pipeline.read(pipeline.analytics) == []
    letters = pipeline.read(pipeline.dlq)
    assert len(letters) == len(sent)
    for record in letters:
        letter = read_dead_letter(record.headers)
        assert letter is not None
        broken, original = sent.pop((letter.topic, letter.partition, letter.offset))
        assert (record.value, record.key) == (original.value, original.key), broken.name
        assert letter.headers == list(original.headers), broken.name
        assert (record.timestamp, record.partition) == (TIMESTAMP_MS, letter.partition), broken.name
        assert (letter.message, letter.group, letter.delivery_count) == (broken.reason, pipeline.group, 1)
        place = lines.index(f"    {letter.topic}[{letter.partition}]@{letter.offset}: {broken.reason}")
        assert lines[place - 1] == DLQ_LINE
    assert len(lines) == 2 * len(letters)


def test_a_clean_event_keeps_key_headers_timestamp_and_partition(pipeline: Pipeline) -> None:
    pipeline.run("producer_web.py", "--count", "0")
    records = [Sent(web(page=name), key, HEADERS, TIMESTAMP_MS) for name, key in KEYS.items()]
    places = pipeline.produce(pipeline.web, records)

    with pipeline.processor():
        pipeline.wait_until_processed()

    clean = {
        json.loads(record.value)["details"]["page"]: record for record in pipeline.read(pipeline.analytics)
    }
    assert len(clean) == len(records)
    for (name, key), sent, place in zip(KEYS.items(), records, places, strict=True):
        record = clean[name]
        assert record.value == encode(normalize_web(sent.value))
        assert (record.key, record.headers) == (key, list(HEADERS))
        assert (record.timestamp, record.partition) == (TIMESTAMP_MS, place[1])


@pytest.mark.parametrize(
    ("made_by", "kind"),
    [
        ("us", "broken"),
        ("the broker", "clean"),
        pytest.param("us", "clean", marks=pytest.mark.thorough),
        pytest.param("the broker", "broken", marks=pytest.mark.thorough),
    ],
)
def test_a_record_as_large_as_the_broker_takes_is_not_pushed_over_the_limit(
    pipeline: Pipeline, kind: str, made_by: str
) -> None:
    pipeline.run("producer_web.py", "--count", "0")
    if made_by == "the broker":
        with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
            admin.create_topics([pipeline.analytics, pipeline.dlq], wait_for_metadata=True)
    frame = web(page="") if kind == "clean" else b""
    for overhead in range(150, 400):
        letters = b"x" * (BROKER_LIMIT_BYTES - len(frame) - overhead)
        largest = Sent(web(page=letters.decode()) if kind == "clean" else letters, b"7", HEADERS)
        try:
            pipeline.produce(pipeline.web, [largest])
            break
        except MessageSizeTooLargeError:
            continue

    with pipeline.processor():
        pipeline.wait_until_processed()

    [record] = pipeline.read(pipeline.analytics if kind == "clean" else pipeline.dlq)
    assert record.value == (encode(normalize_web(largest.value)) if kind == "clean" else largest.value)
    assert len(record.value) > BROKER_LIMIT_BYTES - 500


def test_a_header_name_that_is_not_utf8_makes_a_dead_letter_and_holds_nothing_up(pipeline: Pipeline) -> None:
    """kafka-python by itself can't read such a record, nor any behind it."""
    read_any_header_name()
    name, bad = NotUtf8(b"caf\xe9"), [(NotUtf8(b"caf\xe9"), b"\xff"), ("second", b"2")]
    pipeline.run("producer_web.py", "--count", "0")
    pipeline.produce(
        pipeline.web,
        [Sent(web(page="before"), partition=0), Sent(web(page="bad"), headers=bad, partition=0),
         Sent(b"broken", headers=bad, partition=0), Sent(web(page="behind"), partition=0)],
    )  # fmt: skip

    with pipeline.processor() as processor:
        pipeline.wait_until_processed()
        processor.wait_for_lines(4)

    assert [decode(record.value).details["page"] for record in pipeline.read(pipeline.analytics)] == [
        "before", "behind",
    ]  # fmt: skip
    letters = pipeline.read(pipeline.dlq)
    assert [record.value for record in letters] == [web(page="bad"), b"broken"]
    for record in letters:
        letter = read_dead_letter(record.headers)
        assert letter
        assert [(name.encode(), value) for name, value in letter.headers] == [
            (b"caf\xe9", b"\xff"), (b"second", b"2"),
        ]  # fmt: skip
        assert letter.message == f"Header name is not UTF-8: {name}" == r"Header name is not UTF-8: caf\xe9"


def test_any_bytes_in_exactly_one_record_out(pipeline: Pipeline) -> None:
    @settings(max_examples=10, database=None)
    @given(st.lists(st.tuples(st.binary(), st.none() | st.binary(max_size=9)), min_size=1, max_size=50))
    def any_bytes_in(values: list[tuple[bytes, bytes | None]]) -> None:
        pipeline.produce(pipeline.web, [Sent(value, key) for value, key in values])
        sent.update(values)
        wait_until(lambda: len(pipeline.read(pipeline.dlq)) >= sent.total(), "all are dead letters")
        assert Counter((record.value, record.key) for record in pipeline.read(pipeline.dlq)) == sent
        assert processor.process.poll() is None

    sent: Counter[tuple[bytes, bytes | None]] = Counter()
    pipeline.run("producer_web.py", "--count", "0")
    with pipeline.processor() as processor:
        wait_until(lambda: "Processing" in processor.stderr, "the processor created its topics")
        any_bytes_in()


def test_events_of_one_user_stay_in_order_over_three_partitions(pipeline: Pipeline) -> None:
    with pipeline.processor():
        for script in ("producer_web.py", "producer_purchase.py"):
            sent = pipeline.run(script, "--count", "600", "--rate", "0", "--seed", "7")
            assert sent.returncode == 0, sent.stderr
        pipeline.wait_until_processed()

    came: dict[tuple[bytes, str], list[str]] = {}
    analytics = pipeline.read(pipeline.analytics)
    for record in analytics:
        event = json.loads(record.value)
        came.setdefault((record.key, event["source"]), []).append(event["occurred_at"])
    assert len(came) > 150
    assert {record.partition for record in analytics} == {0, 1, 2}
    for times in came.values():
        assert times == sorted(times)  # with a seed, each event is one second later than the one before
    assert len(analytics) + len(pipeline.read(pipeline.dlq)) == 1200


def test_the_same_seed_sends_the_same_events(pipeline: Pipeline) -> None:
    for _ in range(2):
        assert pipeline.run("producer_web.py", "--count", "50", "--rate", "0", "--seed", "3").returncode == 0
    times = Counter(record.value for record in pipeline.read(pipeline.web))
    assert set(times.values()) == {2}


def test_the_processor_continues_where_it_stopped(pipeline: Pipeline) -> None:
    pipeline.run("producer_purchase.py", "--count", "0")
    for number in range(3):
        pipeline.produce(pipeline.purchase, [Sent(purchase(product_id=str(number)))])
        with pipeline.processor():
            pipeline.wait_until_processed()
    clean = [
        json.loads(record.value)["details"]["product_id"] for record in pipeline.read(pipeline.analytics)
    ]
    assert sorted(clean) == ["0", "1", "2"]


def test_a_dlq_that_takes_no_such_record_stops_the_processor_with_one_line(pipeline: Pipeline) -> None:
    """It must neither skip the record nor retry for ever."""
    pipeline.run("producer_web.py", "--count", "0")
    limit = {"configs": {"max.message.bytes": "1000"}, "num_partitions": 3}
    with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
        admin.create_topics({pipeline.dlq: limit}, wait_for_metadata=True)
    pipeline.produce(pipeline.web, [Sent(web(), partition=0), Sent(b"x" * 2000, partition=0)])

    stopped = pipeline.run("stream_processor.py")

    assert stopped.returncode == 1
    assert stopped.stdout == ""
    last = stopped.stderr.splitlines()[-1]
    assert f"Topic {pipeline.dlq}: MessageSizeTooLargeError" in last
    assert "max.message.bytes" in last
    assert pipeline.read(pipeline.analytics) == []

    with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
        admin.alter_configs([ConfigResource("TOPIC", pipeline.dlq, {"max.message.bytes": "100000"})])
    with pipeline.processor():
        pipeline.wait_until_processed()
    assert len(pipeline.read(pipeline.analytics)) == len(pipeline.read(pipeline.dlq)) == 1


def test_a_reader_that_takes_no_lines_holds_nothing_up(pipeline: Pipeline) -> None:
    """A terminal is stopped with Ctrl-S: the processor continues, and prints its lines later."""
    assert pipeline.run("producer_web.py", "--count", "0").returncode == 0  # creates the topic
    letters = 3000  # many more lines than a pipe holds
    pipeline.produce(pipeline.web, [Sent(b"broken", partition=0)] * letters)
    with subprocess.Popen(
        [sys.executable, "stream_processor.py"], cwd=PROJECT, env=pipeline.environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as processor:  # fmt: skip
        pipeline.wait_until_processed()
        assert len(pipeline.read(pipeline.dlq)) == letters
        processor.terminate()
        printed, _ = processor.communicate(timeout=10)
    assert printed.count(DLQ_LINE) == letters
    assert processor.returncode == 0


def test_batches_larger_than_a_topic_allows_are_split(pipeline: Pipeline) -> None:
    """Each record fits, but not the batch that they are sent in."""
    with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
        create_topics(admin, [pipeline.analytics], settings={"max.message.bytes": "10000"})
    assert pipeline.run("producer_web.py", "--count", "3000", "--rate", "0", "--broken", "0").returncode == 0
    with pipeline.processor():
        pipeline.wait_until_processed()
    events = [json.loads(record.value)["event_id"] for record in pipeline.read(pipeline.analytics)]
    assert len(events) == len(set(events)) == 3000
