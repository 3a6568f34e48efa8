# ruff: noqa: F811, the fixtures are imported
"""Ctrl-C while a script of the musinsa workshop waits: for stdin, a broker, a confirmation, a shop."""

import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics
from pipeline.local import PROJECT
from tests.faults.conftest import cluster, flow, lone_broker, proxy  # noqa: F401
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Proxy
from tests.integration.pipelines import Pipeline, Running, module_of, wait_until
from tests.workshops.shops import Answer, shop
from workshops.musinsa.test_producer import ONE_BY_ONE

PRODUCER = "workshops/musinsa/producer.py"
TEST_PRODUCER = "workshops/musinsa/test_producer.py"
CONNECTION = "workshops/musinsa/test_connection.py"
CRAWLER = "workshops/musinsa/crawler.py"
AT_ONCE_SECONDS = 1.5
LONGEST_STOP_SECONDS = 5.0
LINES = b"".join(msgspec.json.encode(product) + b"\n" for product in ONE_BY_ONE)


def interrupt(running: Running) -> tuple[int, float]:
    """Press Ctrl-C; return the exit code and how long the script went on."""
    pressed = time.monotonic()
    code = running.stop(signal.SIGINT)
    return code, time.monotonic() - pressed


def start_producer(pipeline: Pipeline, servers: str, lines: bytes) -> Running:
    """Start producer.py, with some lines on a stdin that stays open."""
    process = subprocess.Popen(
        [sys.executable, "-m", module_of(PRODUCER), "--bootstrap-servers", servers],
        cwd=PROJECT, env=pipeline.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(lines)
    process.stdin.flush()
    return Running(process)


def test_a_producer_that_waits_for_stdin_ends_at_once(flow: Flow) -> None:
    topic = flow.prefix + "musinsa-products"
    ensure_topics(Cluster(flow.kafka.servers), topic)
    producer = start_producer(flow, flow.kafka.servers, LINES)
    wait_until(lambda: len(flow.read(topic)) == len(ONE_BY_ONE), "both are sent")
    code, seconds = interrupt(producer)
    assert code == 0
    assert seconds < AT_ONCE_SECONDS
    assert producer.stdout == "Published: 2, failed: 0\n"
    assert producer.stderr == "Stopped before the end of stdin.\n"


def test_a_producer_that_waits_for_a_confirmation_counts_what_is_not_published(
    flow: Flow, proxy: Proxy
) -> None:
    with proxy.hold(Api.PRODUCE) as came:
        producer = start_producer(flow, proxy.servers, LINES)
        assert came.wait(20)
        code, seconds = interrupt(producer)
    assert code == 1
    assert seconds < LONGEST_STOP_SECONDS
    assert producer.stdout == "Published: 0, failed: 2\n"
    assert producer.stderr.splitlines()[-1] == "producer.py: 2 products were not published."


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (TEST_PRODUCER, "test_producer.py: 1 products were not published."),
        (CONNECTION, "test_connection.py: Stopped before Kafka confirmed the message."),
    ],
)
def test_a_message_that_was_not_confirmed_is_reported(
    flow: Flow, proxy: Proxy, script: str, line: str
) -> None:
    with proxy.hold(Api.PRODUCE) as came:
        running = flow.start(script, "--bootstrap-servers", proxy.servers)
        assert came.wait(20)
        code, seconds = interrupt(running)
    assert code == 1
    assert seconds < LONGEST_STOP_SECONDS
    assert running.stderr.splitlines() == [line]


@pytest.mark.parametrize("script", [PRODUCER, TEST_PRODUCER, CONNECTION])
def test_a_broker_that_does_not_answer_is_left_at_once(pipeline: Pipeline, script: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        running = pipeline.start(script, "--bootstrap-servers", f"127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            code, seconds = interrupt(running)
    assert code == 0
    assert seconds < AT_ONCE_SECONDS
    assert "Traceback" not in running.stderr


def test_a_shop_that_does_not_answer_is_left_at_once(pipeline: Pipeline) -> None:
    asked, ended = threading.Event(), threading.Event()

    def say(_: str, __: int) -> Answer:
        asked.set()
        ended.wait(20)
        return Answer()

    with shop(say) as served:
        running = pipeline.start(CRAWLER, "--url", served.url)
        assert asked.wait(20)
        code, seconds = interrupt(running)
        ended.set()
    assert code == 0
    assert seconds < AT_ONCE_SECONDS
    assert running.stderr == ""
