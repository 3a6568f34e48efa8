"""What a user sees of the four scripts: options, output, exit codes, Ctrl-C, an unreachable broker."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from kafka import KafkaAdminClient

from pipeline.local import PROJECT
from pipeline.schema import decode, encode, normalize_web
from tests.broken_events import VALID_WEB, web
from tests.integration.pipelines import Pipeline, Sent, call_main, wait_until

SCRIPTS = ("producer_web.py", "producer_purchase.py", "stream_processor.py", "consumer_analytics.py")
PRODUCERS = SCRIPTS[:2]
WITH_DLQ = (*SCRIPTS, "dlq.py")
SLOWEST_FAILURE_SECONDS = 10.0
SLOWEST_STOP_SECONDS = 5.0


TLS_ALERT = (
    b"\x15\x03\x03\x00\x02\x02\x28"  # handshake failure: a server that asks for a certificate (RFC 8446)
)


@pytest.fixture(params=["closed", "silent", pytest.param("web", marks=pytest.mark.thorough), "tls"])
def port_without_kafka(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """A port without a Kafka that takes anybody, and what a script reports about it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if request.param == "silent":  # something accepts connections and never answers
            yield port, "is open, but nothing answers there"
        elif request.param == "web":
            threading.Thread(target=answer_all, args=(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n")).start()
            yield port, "does not speak Kafka"
        elif request.param == "tls":
            threading.Thread(target=answer_all, args=(listener, TLS_ALERT)).start()
            yield port, f"port {port} speaks TLS"
        listener.shutdown(socket.SHUT_RDWR)
    if request.param == "closed":
        yield port, "connection refused"


def answer_all(listener: socket.socket, answer: bytes) -> None:
    """Answer each connection in the same way, until the listener is shut down."""
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(1000)
                connection.sendall(answer)


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("script", WITH_DLQ)
def test_help_has_examples(script: str) -> None:
    shown = call_main(script, "--help")
    assert shown.returncode == 0
    assert f"python3 {script}" in shown.stdout
    assert "--bootstrap-servers" in shown.stdout
    assert "--log-level" in shown.stdout


@pytest.mark.parametrize("script", WITH_DLQ)
def test_bad_usage_is_the_exit_code_of_the_process(script: str) -> None:
    shown = run(script, "--no-such-option")
    assert shown.returncode == 2
    assert shown.stderr.startswith("usage:")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *((script, ("--bootstrap-servers", "nowhere")) for script in WITH_DLQ),
        ("producer_web.py", ("--count", "-1")),
        ("producer_web.py", ("--count", "1.5")),
        ("producer_web.py", ("--rate", "-1")),
        ("producer_web.py", ("--rate", "inf")),
        ("producer_web.py", ("--broken", "1.1")),
        ("producer_web.py", ("--broken", "nan")),
        ("producer_web.py", ("--rate", "1e-12")),
        ("producer_web.py", ("--bootstrap-servers", "localhost:9²")),
        ("producer_web.py", ("--bootstrap-servers", "http://localhost:9092")),
        ("stream_processor.py", ("--group", "")),
        ("consumer_analytics.py", ("--group", "")),
        ("consumer_analytics.py", ("--max-messages", "many")),
        ("dlq.py", ()),
        ("dlq.py", ("purge",)),
        ("dlq.py", ("list", "--source", "orders")),
        ("dlq.py", ("list", "--since", "yesterday")),
        ("dlq.py", ("list", "--limit", "-1")),
        ("dlq.py", ("list", "--bootstrap-servers", "nowhere")),
        ("dlq.py", ("show", "web-events")),
        ("dlq.py", ("replay", "--max-attempts", "0")),
        ("dlq.py", ("replay", "--rate", "-1")),
        ("dlq.py", ("replay", "--edit", "")),
    ],
)
def test_bad_usage_exits_with_2(script: str, arguments: tuple[str, ...]) -> None:
    shown = call_main(script, *arguments)
    assert shown.returncode == 2
    assert shown.stderr.startswith("usage:")


def test_a_missing_broker_is_one_line_within_10_seconds(
    pipeline: Pipeline, port_without_kafka: tuple[int, str]
) -> None:
    port, obstacle = port_without_kafka
    started = time.monotonic()
    commands = [*((script,) for script in SCRIPTS), ("dlq.py", "list"), ("dlq.py", "replay")]
    scripts = [pipeline.start(*command, "--bootstrap-servers", f"localhost:{port}") for command in commands]
    for running in scripts:
        assert running.process.wait(SLOWEST_FAILURE_SECONDS) == 1
    assert time.monotonic() - started < SLOWEST_FAILURE_SECONDS
    for running in scripts:
        running.stop()
        assert running.stdout == ""
        [line] = running.stderr.splitlines()
        assert f"No Kafka answers at localhost:{port}" in line
        assert obstacle in line
        assert "with --bootstrap-servers." in line
        assert ("python -m pipeline.local start" in line) is (obstacle == "connection refused")


def test_a_signal_stops_a_script_that_still_looks_for_its_broker(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        servers = f"127.0.0.1:{listener.getsockname()[1]}"
        scripts = [pipeline.start(script, "--bootstrap-servers", servers) for script in SCRIPTS]
        connections = [listener.accept() for _ in scripts]  # now all of them wait for an answer
        asked = time.monotonic()
        for running in scripts:
            running.process.send_signal(signal.SIGINT)
        for running in scripts:
            assert running.process.wait(SLOWEST_STOP_SECONDS) == 0
        assert time.monotonic() - asked < SLOWEST_STOP_SECONDS
        for connection, _ in connections:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_signal_stops_a_script_with_exit_0(pipeline: Pipeline, script: str, number: signal.Signals) -> None:
    running = pipeline.start(script)
    wait_until(lambda: "Ctrl-C to stop" in running.stderr, "it runs")
    asked = time.monotonic()
    assert running.stop(number) == 0
    assert time.monotonic() - asked < SLOWEST_STOP_SECONDS
    assert "Traceback" not in running.stderr


@pytest.mark.parametrize("script", PRODUCERS)
def test_a_producer_prints_what_is_in_the_topic(pipeline: Pipeline, script: str) -> None:
    done = pipeline.run(script, "--count", "200", "--rate", "0", "--broken", "0.5")
    assert done.returncode == 0, done.stderr

    reported = {}
    for line in done.stdout.splitlines():
        label, where, value = line.split(maxsplit=2)
        reported[where] = (label, value)
    topic = pipeline.web if script == "producer_web.py" else pipeline.purchase
    records = pipeline.read(topic)
    assert {f"{topic}[{record.partition}]@{record.offset}" for record in records} == set(reported)
    for record in records:
        label, value = reported[f"{topic}[{record.partition}]@{record.offset}"]
        assert record.value.decode() == value
        if label == "sent":
            assert record.key.decode() == str(json.loads(value)["user_id"])
    broken = sum(label == "broken" for label, _ in reported.values())
    assert 60 < broken < 140


@pytest.mark.parametrize("script", PRODUCERS)
def test_a_producers_json_says_the_same(pipeline: Pipeline, script: str) -> None:
    done = pipeline.run(script, "--count", "50", "--rate", "0", "--broken", "0.5", "--json")
    assert done.returncode == 0, done.stderr

    reported = list(map(json.loads, done.stdout.splitlines()))
    topic = pipeline.web if script == "producer_web.py" else pipeline.purchase
    assert sorted((event["partition"], event["offset"], event["value"]) for event in reported) == sorted(
        (record.partition, record.offset, record.value.decode()) for record in pipeline.read(topic)
    )
    assert {event["topic"] for event in reported} == {topic}
    with pipeline.processor():
        pipeline.wait_until_processed()
    came_out = {str(decode(record.value).event_id) for record in pipeline.read(pipeline.analytics)}
    assert {event["event_id"] for event in reported} == came_out | {None}


@pytest.mark.parametrize("script", ["producer_web.py", "consumer_analytics.py"])
def test_a_full_disk_is_one_line(pipeline: Pipeline, script: str) -> None:
    pipeline.produce(pipeline.analytics, [Sent(encode(normalize_web(web())))])
    count = "--count" if script == "producer_web.py" else "--max-messages"
    command = f"{shlex.quote(sys.executable)} {script} {count} 1 > /dev/full"
    shown = pipeline.run("bash", "-c", command)
    assert shown.returncode == 1
    assert f"{script}: [Errno 28] No space left on device" in shown.stderr.splitlines()
    assert "Traceback" not in shown.stderr


def test_a_terminal_that_knows_no_korean_is_no_reason_to_stop(pipeline: Pipeline) -> None:
    pipeline.run("producer_web.py", "--count", "0")
    pipeline.produce(pipeline.web, [Sent(b"broken")])
    processor = pipeline.start("stream_processor.py", PYTHONIOENCODING="ascii")
    wait_until(lambda: f"{pipeline.web}[" in processor.stdout, "it printed the dead letter")
    assert processor.stop() == 0


def test_a_producer_keeps_its_rate(pipeline: Pipeline) -> None:
    pipeline.run("producer_web.py", "--count", "0")
    started = time.monotonic()
    assert pipeline.run("producer_web.py", "--count", "11", "--rate", "5").returncode == 0
    assert time.monotonic() - started >= 2.0


def test_topics_are_made_with_three_partitions(pipeline: Pipeline) -> None:
    running = pipeline.start("stream_processor.py")
    wait_until(lambda: "Processing" in running.stderr, "the processor created its topics")
    described = pipeline.tool("kafka-topics", "--describe").stdout
    for topic in (pipeline.web, pipeline.purchase, pipeline.analytics, pipeline.dlq):
        [line] = [line for line in described.splitlines() if line.startswith(f"Topic: {topic}\t")]
        assert "PartitionCount: 3" in line


class TestConsumer:
    @pytest.fixture
    def events(self, pipeline: Pipeline) -> list[dict[str, object]]:
        """Ten clean events in analytics-events."""
        pipeline.run("producer_web.py", "--count", "0")
        pages = [f"/{number}" for number in range(9)] + ["/\x1b[2J"]
        pipeline.produce(pipeline.web, [Sent(web(page=page), page.encode()) for page in pages])
        with pipeline.processor():
            pipeline.wait_until_processed()
        return [json.loads(record.value) for record in pipeline.read(pipeline.analytics)]

    def test_prints_a_line_for_each_event(self, pipeline: Pipeline, events: list[dict[str, object]]) -> None:
        shown = pipeline.run("consumer_analytics.py", "--max-messages", "10")
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) == len(events)
        line = next(line for line in shown.stdout.splitlines() if line.endswith("page=/7"))
        assert line == "2026-11-22T09:00:00+09:00  web       page_view    user 7    page=/7"
        assert "\x1b" not in shown.stdout
        assert r"page=/\x1b[2J" in shown.stdout

    def test_json_is_one_object_a_line_and_nothing_else(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        shown = pipeline.run("consumer_analytics.py", "--max-messages", "10", "--json")
        printed = [json.loads(line) for line in shown.stdout.splitlines()]
        assert sorted(printed, key=str) == sorted(events, key=str)
        assert printed[0]["event_id"] == VALID_WEB["event_id"]

    def test_continues_where_its_group_stopped(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        first = pipeline.run("consumer_analytics.py", "--max-messages", "4", "--json").stdout.splitlines()
        rest = pipeline.run("consumer_analytics.py", "--max-messages", "6", "--json").stdout.splitlines()
        assert len(first) == 4
        assert sorted((json.loads(line) for line in first + rest), key=str) == sorted(events, key=str)

    def test_from_beginning_starts_over_and_another_group_has_its_own_place(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        for arguments in ((), ("--from-beginning",), ("--group", pipeline.prefix + "other")):
            shown = pipeline.run("consumer_analytics.py", "--max-messages", "10", "--json", *arguments)
            assert len(shown.stdout.splitlines()) == len(events), arguments

    def test_a_foreign_record_is_named_and_passed_over(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        pipeline.produce(pipeline.analytics, [Sent(b"\xff\x1b[2J", partition=0)])
        shown = pipeline.run("consumer_analytics.py", "--max-messages", "11", "--json")
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) == len(events)
        assert f"Not an analytics event: {pipeline.analytics}[0]@" in shown.stderr

    @pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
    def test_no_event_can_command_the_terminal_or_break_its_line(
        self, pipeline: Pipeline, option: tuple[str, ...]
    ) -> None:
        """U+009B is what a terminal takes for ESC [; other programs print JSON over several lines."""
        pipeline.run("consumer_analytics.py", "--max-messages", "0")
        event = {
            "event_id": VALID_WEB["event_id"], "event_type": "\x1b[2J\u009b31m\n", "source": "web",
            "user_id": 7, "occurred_at": "2026-11-22T00:00:00Z", "details": {"이름": "\u009b2J\u2028"},
        }  # fmt: skip
        pipeline.produce(pipeline.analytics, [Sent(json.dumps(event, ensure_ascii=False, indent=2).encode())])
        shown = pipeline.run("consumer_analytics.py", "--max-messages", "1", *option)
        assert shown.stdout.endswith("\n")
        assert shown.stdout.removesuffix("\n").isprintable(), shown.stdout
        if option:
            assert json.loads(shown.stdout) == event

    def test_a_reader_that_leaves_a_quiet_topic_ends_the_consumer(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        """All its lines have gone out in one write, before the reader left; nothing more comes."""
        command = f"{shlex.quote(sys.executable)} consumer_analytics.py | head -n 1"
        shown = pipeline.run("bash", "-c", f"set -o pipefail; {command}", PYTHONUNBUFFERED="")
        assert (shown.returncode, len(shown.stdout.splitlines())) == (0, 1)
        assert "Stopped after 10 events." in shown.stderr

    def test_a_reader_that_leaves_is_no_error(
        self, pipeline: Pipeline, events: list[dict[str, object]]
    ) -> None:
        command = f"{shlex.quote(sys.executable)} consumer_analytics.py --max-messages 10 | head -n 1"
        shown = pipeline.run("bash", "-c", f"set -o pipefail; {command}")
        assert len(shown.stdout.splitlines()) == 1
        assert "Traceback" not in shown.stderr
        assert "Exception" not in shown.stderr
        with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
            group = pipeline.prefix + "analytics-consumer"
            assert admin.describe_groups([group])[group]["members"] == [], "it has left its group"


def test_only_dead_letters_are_in_the_dlq_as_the_console_consumer_shows_it(pipeline: Pipeline) -> None:
    pipeline.run("producer_web.py", "--count", "0")
    values = [web(page="/clean"), b"broken one", web(user_id="broken two")]
    pipeline.produce(pipeline.web, [Sent(value) for value in values])
    with pipeline.processor():
        pipeline.wait_until_processed()
    shown = pipeline.tool(
        "kafka-console-consumer", "--topic", pipeline.dlq, "--from-beginning", "--max-messages", "2"
    )
    assert sorted(shown.stdout.splitlines()) == sorted(value.decode() for value in values[1:])


def test_create_topic(pipeline: Pipeline) -> None:
    name = pipeline.prefix + "made"
    made = pipeline.run("-m", "pipeline.client.create_topic", name, "2", "1")
    assert made.stdout == f"Created topic {name}: 2 partitions, replication 1.\n"
    assert "PartitionCount: 2" in pipeline.tool("kafka-topics", "--describe", "--topic", name).stdout
    again = pipeline.run("-m", "pipeline.client.create_topic", name)
    assert (again.returncode, again.stderr) == (1, f"create_topic.sh: Topic {name} exists already.\n")
    for numbers in (("0",), ("99999999999",), ("1", "40000")):
        assert pipeline.run("-m", "pipeline.client.create_topic", name, *numbers).returncode == 2
    refused = pipeline.run("-m", "pipeline.client.create_topic", pipeline.prefix + "a b")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
