"""Records that other clients can make: each comes out as it is, or there is one clear stop with a way out.

librdkafka sends them, because kafka-python can't, and reads what came out.
"""

import socket
import struct
import time
from itertools import product
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import InvalidRecordError, for_code
from kafka.record.legacy_records import LegacyRecordBatchBuilder

from pipeline.client.admin import ensure_topics
from pipeline.dead_letters import DELIVERY_COUNT, NAMES, read_dead_letter
from pipeline.schema import decode
from tests.broken_events import web
from tests.integration.other_client import SECONDS, Headers, Seen, judge, new_producer, read, send
from tests.integration.pipelines import LIMIT_BYTES, Pipeline, Sent, wait_until

BROKER_LIMIT_BYTES = 1_048_588  # message.max.bytes of a broker, unless somebody changed it
OF_ANY_TIME = "9223372036854775807"
YEAR_9999_MS = 253_402_300_799_999

VALUES = {"clean": web(), "broken": b"broken", "null": None, "empty": b""}
KEYS = {"of 1 MB": b"k" * 1_000_000, "null": None, "empty": b"", "not UTF-8": b"\xff\x00\xfe"}
HEADERS: dict[str, Headers] = {
    "null value": [("null", None), ("empty", b""), ("null", None)],
    "empty name": [("", b"1"), ("", None), ("", b"")],
    "name of 30 KB": [("n" * 30_000, b"1")],
    "value of 30 KB": [("n", b"\xff" * 30_000)],
    "100": [(f"name-{number}", b"%d" % number) for number in range(100)],
    "10,000": [(f"name-{number}", None if number % 3 else b"%d" % number) for number in range(10_000)],
    "duplicate names": [("n", b"1"), ("n", b"1"), ("N", b"1"), ("n", b"2"), ("n", None)],
    "forged letter": [(name, b"9") for name in NAMES],
    "forged letter with times and numbers": list(
        zip(
            NAMES,
            [b"web-events", b"0", b"0", b"g", b"m", b"e", b"2026-11-22T00:00:00+00:00", b"1"],
            strict=True,
        )
    ),
    "forged letter without values": [(name, None) for name in NAMES],
    "forged letter, the other way round": [(name, b"9") for name in NAMES[::-1]],
    "forged count of none": [(DELIVERY_COUNT, b"0")],
    "forged count of a replay": [("n", None), (DELIVERY_COUNT, b"1")],
}
TIMESTAMPS = (-1, -5, -86_400_000, 1)


@pytest.fixture
def made(pipeline: Pipeline) -> Pipeline:
    """A pipeline whose topics exist."""
    ensure_topics(
        pipeline.kafka.cluster, pipeline.web, pipeline.purchase, pipeline.analytics, pipeline.dlq,
        outputs=(pipeline.analytics, pipeline.dlq),
    )  # fmt: skip
    return pipeline


def process(pipeline: Pipeline) -> None:
    """Run a processor until all sources are processed, and judge what came out."""
    with pipeline.processor():
        pipeline.wait_until_processed()
    judge(pipeline)


def alter(pipeline: Pipeline, settings: dict[str, str], *topics: str) -> None:
    """Change the settings of topics, and wait until the broker knows them."""
    with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
        admin.alter_configs([ConfigResource("TOPIC", topic, settings) for topic in topics])
        resources = [ConfigResource("TOPIC", topic) for topic in topics]

        def known() -> bool:
            described = admin.describe_configs(resources, config_filter="all")["topic"]
            return all(
                described[topic][name]["value"] == value
                for topic in topics
                for name, value in settings.items()
            )

        wait_until(known, "the broker knows the settings")


def stops_with(pipeline: Pipeline, *words: str) -> None:
    """Check that the processor stops at once, twice, with one line that has these words, and does nothing."""
    before = [read(pipeline, topic) for topic in (pipeline.analytics, pipeline.dlq)]
    for _ in range(2):
        stopped = pipeline.run("stream_processor.py")
        assert (stopped.returncode, stopped.stdout) == (1, ""), stopped.stderr
        assert "Traceback" not in stopped.stderr
        last = stopped.stderr.splitlines()[-1]
        assert all(word in last for word in words), last
    assert [read(pipeline, topic) for topic in (pipeline.analytics, pipeline.dlq)] == before


def test_keys_headers_and_timestamps_come_out_as_they_are_and_so_do_replays(made: Pipeline) -> None:
    send(
        made,
        [
            *(
                {"value": value, "headers": headers, "partition": 0}
                for value, headers in product(VALUES.values(), HEADERS.values())
            ),
            *(
                {"value": value, "key": key, "partition": 1}
                for value, key in product(VALUES.values(), KEYS.values())
            ),
            *(
                {"value": value, "timestamp": time, "partition": 2}
                for value, time in product(VALUES.values(), TIMESTAMPS)
            ),
        ],
    )
    made.produce(
        made.web, [Sent(value, timestamp_ms=0) for value in VALUES.values()]
    )  # librdkafka can't send 0
    process(made)

    letters = read(made, made.dlq)
    first = replay(made)
    wanted = [(letter.partition, *letter[3:5], own_headers(letter), letter.timestamp) for letter in letters]
    assert first == [(*record, (*headers, (DELIVERY_COUNT, b"1")), time) for *record, headers, time in wanted]
    process_again(made, len(letters) + len(first))
    assert replay(made) == [
        (*record, (*headers, (DELIVERY_COUNT, b"2")), time) for *record, headers, time in wanted
    ]


def own_headers(letter: Seen) -> Headers:
    """Return the headers of the record that became this letter."""
    dead = read_dead_letter(letter.headers)
    assert dead
    return dead.headers


def replay(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Replay all letters, and return what that sent: partition, key, value, headers and timestamp."""
    ends = {place.partition: end for place, end in pipeline.ends().items() if place.topic == pipeline.web}
    replayed = pipeline.run("dlq.py", "replay")
    assert replayed.returncode == 0, replayed.stderr
    sent = [record for record in read(pipeline, pipeline.web) if record.offset >= ends[record.partition]]
    return [(record.partition, *record[3:]) for record in sent]


def process_again(pipeline: Pipeline, letters: int) -> None:
    """Run a processor until there are so many dead letters, and judge what came out.

    Its offsets do not reach the ends of the sources: there are the markers of the replay's transactions.
    """
    with pipeline.processor():
        wait_until(lambda: len(read(pipeline, pipeline.dlq)) >= letters, f"{letters} letters")
    judge(pipeline)


@pytest.mark.thorough
def test_a_time_that_an_output_does_not_take_stops_the_processor_with_the_way_on(made: Pipeline) -> None:
    """By default a topic takes no time that is more than an hour ahead."""
    alter(made, {"message.timestamp.after.max.ms": OF_ANY_TIME}, made.web)
    send(made, [{"value": web(), "timestamp": time} for time in (-1, YEAR_9999_MS, 1)])
    stops_with(made, f"Topic {made.analytics}: InvalidTimestampError", "message.timestamp.after.max.ms")
    alter(made, {"message.timestamp.after.max.ms": OF_ANY_TIME}, made.analytics)
    process(made)

    send(made, [{"value": b"broken", "timestamp": time} for time in (1, YEAR_9999_MS, 2)])
    stops_with(made, f"Topic {made.dlq}: InvalidTimestampError", "message.timestamp.after.max.ms")
    alter(made, {"message.timestamp.after.max.ms": OF_ANY_TIME}, made.dlq)
    process(made)
    assert [time for *_, time in replay(made)] == [1, YEAR_9999_MS, 2]


def test_the_time_that_the_broker_set_comes_out(made: Pipeline) -> None:
    alter(made, {"message.timestamp.type": "LogAppendTime"}, made.web)
    send(made, [{"value": value, "timestamp": YEAR_9999_MS} for value in (web(), b"broken")])
    process(made)
    assert all(record.timestamp < YEAR_9999_MS for record in read(made, made.web))


@pytest.mark.thorough
def test_values_as_large_as_the_topic_allows_and_larger_ones_that_were_compressed(made: Pipeline) -> None:
    """The limit is that of a compressed batch; what comes out is not compressed."""
    empty = web(page="")
    for size in (BROKER_LIMIT_BYTES - 1, BROKER_LIMIT_BYTES):
        broken, clean = b"x" * size, web(page="x" * (size - len(empty)))
        send(made, [{"value": broken}], compression_type="gzip")
        send(made, [{"value": clean}], compression_type="zstd")
    process(made)

    send(
        made,
        [{"value": web()}, {"value": b"x" * (12 * 1024 * 1024)}, {"value": web()}],
        compression_type="lz4",
    )
    stops_with(made, f"Topic {made.dlq}: MessageSizeTooLargeError", "Raise max.message.bytes")
    alter(made, {"max.message.bytes": "20000000"}, made.dlq)
    process(made)


@pytest.mark.thorough
def test_a_record_larger_than_any_request_stops_the_processor_with_the_way_past_it(made: Pipeline) -> None:
    """Zeros, which a client compressed to a few kilobytes; a source takes them, and no output can."""
    zeros = b"\0" * (101 * 1024 * 1024)
    values = (web(page="/before"), zeros, web(page="/behind"))
    for value in values:
        send(made, [{"value": value}], compression_type="zstd", message_max_bytes=2 * len(zeros))
    command = f"--group {made.group} --reset-offsets --topic {made.web}:0 --to-offset 2 --execute"
    for _ in range(2):
        stopped = made.run("stream_processor.py")
        assert stopped.returncode == 1
        assert f"{made.web}[0]@1 is larger than a request" in stopped.stderr.splitlines()[-1]
        assert f"kafka-consumer-groups {command};" in stopped.stderr.splitlines()[-1]
        assert "Traceback" not in stopped.stderr
        assert len(read(made, made.analytics)) == 1
    moved = made.tool("kafka-consumer-groups", *command.split())
    assert moved.returncode == 0, moved.stdout + moved.stderr
    with made.processor():
        made.wait_until_processed()
    clean = [decode(record.value or b"").details["page"] for record in read(made, made.analytics)]
    assert clean == ["/before", "/behind"]
    assert read(made, made.dlq) == []


def test_compressed_batches_of_another_client(made: Pipeline) -> None:
    for codec in ("gzip", "lz4", "snappy", "zstd"):
        values = [web(page="/" * 200) if number % 2 else b"broken " * 30 for number in range(200)]
        records = [{"value": value, "key": b"7", "headers": [("n", None)]} for value in values]
        send(made, records, compression_type=codec)
    process(made)


def test_batches_that_are_split_keep_what_is_null(made: Pipeline) -> None:
    """Each record fits into the output, but not the batch that they are sent in."""
    alter(made, {"max.message.bytes": "10000"}, made.analytics, made.dlq)
    records = [{"value": value, "headers": HEADERS["null value"]} for value in VALUES.values()]
    send(made, records * 100)
    process(made)


def records_of_first_batch(pipeline: Pipeline, topic: str) -> int:
    """Return how many records the first batch of partition 0 has: that is what the smallest fetch brings."""
    consumer = KafkaConsumer(bootstrap_servers=pipeline.kafka.servers, max_partition_fetch_bytes=1)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    records = consumer.poll(timeout_ms=SECONDS * 1000, max_records=1_000_000)[partition]
    consumer.close()
    return len(records)


@pytest.mark.thorough
@pytest.mark.parametrize("records", [1, 100_000])
def test_a_batch_of_any_number_of_records(made: Pipeline, records: int) -> None:
    """A processor takes 5,000 of them at once, and the next one begins in the middle of the batch."""
    values = [b"" if number % 3 else web(page=f"/{number}") for number in range(records)]
    send(
        made, [{"value": value} for value in values], compression_type="zstd", linger_ms=5_000,
        batch_num_messages=records, batch_size=LIMIT_BYTES,
    )  # fmt: skip
    assert records_of_first_batch(made, made.web) == records
    with made.processor():
        wait_until(lambda: made.read(made.dlq) or records == 1, "some came out")
    process(made)


def test_aborted_transactions_between_committed_ones_never_come_out(made: Pipeline) -> None:
    """Two producers take turns in one partition; an open transaction is waited for."""
    first, second = (new_producer(made, transactional_id=made.prefix + name) for name in ("first", "second"))
    for producer in (first, second):
        producer.init_transactions(SECONDS)

    def produce(producer: Producer, *values: bytes) -> None:
        for value in values:
            producer.produce(made.web, value, headers=[("n", None)], partition=0)
        assert producer.flush(SECONDS) == 0

    for number in range(3):
        first.begin_transaction()
        second.begin_transaction()
        produce(first, web(page=f"/committed/{number}"), b"committed broken")
        produce(second, web(page="/aborted"), b"aborted", b"aborted")
        produce(first, web(page="/committed"))
        second.abort_transaction(SECONDS)
        first.commit_transaction(SECONDS)
    second.begin_transaction()
    produce(second, b"open")
    send(made, [{"value": web(page="/behind")}])
    first.begin_transaction()
    produce(first, b"aborted")
    first.abort_transaction(SECONDS)

    with made.processor():
        wait_until(lambda: len(read(made, made.dlq)) == 3, "all before the open transaction came out")
        assert len(read(made, made.analytics)) == 6
        second.commit_transaction(SECONDS)
        wait_until(lambda: len(read(made, made.analytics)) == 7, "the rest came out")
    judge(made)
    assert [record.value for record in read(made, made.dlq)] == [b"committed broken"] * 3 + [b"open"]


@pytest.mark.thorough
def test_tombstones_and_gaps_of_a_compacted_source(made: Pipeline) -> None:
    """What is left after compaction comes out, with the offset it always had."""
    alter(
        made,
        {
            "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "100",
        },
        made.web,
    )  # fmt: skip
    for _ in range(3):
        send(
            made, [{"value": value, "key": key} for key in (b"a", b"b") for value in (web(), b"broken", None)]
        )
        time.sleep(0.2)  # older than segment.ms
    send(made, [{"value": web(), "key": b"c"}, {"value": None, "key": b"d"}])
    wait_until(lambda: len(read(made, made.web)) < 15, "compacted")
    process(made)


def test_a_broker_takes_no_records_in_an_old_format(made: Pipeline) -> None:
    """So none can reach the processor; test_old_format.py has a broker that takes them."""
    for magic in (0, 1):
        builder = LegacyRecordBatchBuilder(magic=magic, compression_type=0, batch_size=1000)
        builder.append(0, 1, b"7", web())
        assert for_code(error_of_raw_produce(made, bytes(builder.build()))) is InvalidRecordError
    assert read(made, made.web) == []


def error_of_raw_produce(pipeline: Pipeline, records: bytes) -> int:
    """Send bytes as they are to partition 0 of web-events, and return the code of the broker's error."""

    def text(content: str) -> bytes:
        return struct.pack(">h", len(content)) + content.encode()

    version, acks, timeout_ms = 3, -1, 10_000
    topics = struct.pack(">i", 1) + text(pipeline.web) + struct.pack(">iii", 1, 0, len(records)) + records
    request = (
        struct.pack(">hhi", 0, version, 1) + text("test") + struct.pack(">hhi", -1, acks, timeout_ms) + topics
    )
    host, _, port = pipeline.kafka.servers.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=SECONDS) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(struct.pack(">i", len(request)) + request)
        before = len(struct.pack(">iiih", 0, 0, 0, 0)) + len(pipeline.web) + len(struct.pack(">ii", 0, 0))
        answer.read(before)
        (error,) = struct.unpack(">h", answer.read(2))
    return int(error)
