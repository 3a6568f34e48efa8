"""Runs the real scripts as processes, and reads with clients of its own what they did."""

import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import chain
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from pipeline.cli.options import CONFIG_VARIABLE
from pipeline.cli.status import BARE_LINES_VARIABLE
from pipeline.client.settings import connection_settings
from pipeline.client.transactions import BytesOrNull, Contents
from pipeline.local import PROJECT
from pipeline.local.broker import Broker

PATIENCE_SECONDS = 60.0
LIMIT_BYTES = 20_000_000


class Sent(NamedTuple):
    """A record that a test produces."""

    value: bytes | None
    key: bytes | None = b"7"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:  # noqa: ANN401
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)
    return value


class Running:
    """A script that runs in the background, with what it printed so far."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._output = {"stdout": bytearray(), "stderr": bytearray()}
        self._readers = [threading.Thread(target=self._read, args=(name,)) for name in self._output]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        for line in getattr(self.process, name):
            self._output[name] += line

    @property
    def stdout(self) -> str:
        return self._output["stdout"].decode()

    @property
    def stderr(self) -> str:
        return self._output["stderr"].decode()

    def wait_for(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it has printed these words on stderr."""
        wait_until(lambda: words in self.stderr, f"says {words!r}", seconds)

    def wait_for_output(self, size: int) -> None:
        """Wait until it has printed so many bytes on stdout."""
        wait_until(lambda: len(self._output["stdout"]) >= size, f"prints {size} bytes")

    def wait_for_lines(self, number: int) -> None:
        """Wait until it has printed so many lines on stdout."""
        wait_until(lambda: self.stdout.count("\n") >= number, f"prints {number} lines")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as a user would, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        for reader in self._readers:
            reader.join()
        return code


def partitions_of(consumer: KafkaConsumer, *topics: str) -> list[TopicPartition]:
    """Return all partitions of some topics."""
    return [
        TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic)
    ]


class Pipeline:
    """Topics and groups with a prefix of their own on a broker that may hold a user's data."""

    def __init__(self, kafka: Broker) -> None:
        self.kafka = kafka
        self.prefix = f"test-{uuid.uuid4().hex[:8]}-"
        self.web, self.purchase, self.analytics, self.dlq = (
            self.prefix + name
            for name in ("web-events", "purchase-events", "analytics-events", "analytics-dlq")
        )
        self.group = self.prefix + "stream-processor"
        self.environment = {
            **os.environ,
            "TOPIC_PREFIX": self.prefix,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
            "PYTHONUNBUFFERED": "1",
            "TZ": "KST-9",  # people read local times; the tests run where the students are
            BARE_LINES_VARIABLE: "yes",  # status lines as on a terminal; test_status.py has the others
        }
        self.environment.pop("BROKER", None)
        if kafka.cluster.config_file:
            self.environment[CONFIG_VARIABLE] = kafka.cluster.config_file
        self._running: list[Running] = []

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self.end_scripts()
        with KafkaAdminClient(**connection_settings(self.kafka.cluster)) as admin:
            ours = [topic for topic in admin.list_topics() if topic.startswith(self.prefix)]
            if ours:
                admin.delete_topics(ours)  # and with them the groups, which have no other offsets

    def end_scripts(self) -> None:
        """Kill all processes that are left, also those of a test that failed."""
        for running in self._running:
            running.process.kill()
            running.stop()

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a script to its end."""
        return subprocess.run(
            _command(command), cwd=PROJECT, env={**self.environment, **environment},
            capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def tool(self, name: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run one of Kafka's console tools, in the container or from the local broker's jars."""
        assert self.kafka.tool
        prefix = self.kafka.tool.replace("docker exec", "docker exec -i").split()
        if prefix[0] != "docker":
            prefix[0] = sys.executable
        return subprocess.run(
            [*prefix, name, "--bootstrap-server", self.kafka.servers, *arguments], cwd=PROJECT, input=stdin,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def start(self, *command: str, **environment: str) -> Running:
        """Run a script in the background; it is ended with the test at the latest."""
        running = Running(
            subprocess.Popen(
                _command(command), cwd=PROJECT, env={**self.environment, **environment},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            )
        )  # fmt: skip
        self._running.append(running)
        return running

    def produce(self, topic: str, records: Sequence[Sent]) -> list[tuple[str, int, int]]:
        """Send records as they are, and return the (topic, partition, offset) of each."""
        producer = KafkaProducer(
            **connection_settings(self.kafka.cluster),
            value_serializer=BytesOrNull(),
            max_request_size=LIMIT_BYTES,
        )
        futures = [
            producer.send(
                topic,
                value=Contents(record.value),
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp_ms,
                partition=record.partition,
            )
            for record in records
        ]
        sent = [future.get(30) for future in futures]
        producer.close()
        return [(metadata.topic, metadata.partition, metadata.offset) for metadata in sent]

    @contextmanager
    def processor(self) -> Iterator[Running]:
        """Run a stream processor inside the with block; it must stop cleanly at its end."""
        running = self.start("stream_processor.py")
        yield running
        assert running.stop() == 0, running.stderr

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end offsets of the sources."""
        consumer = KafkaConsumer(**connection_settings(self.kafka.cluster))
        ends: dict[TopicPartition, int] = consumer.end_offsets(
            partitions_of(consumer, self.web, self.purchase)
        )
        consumer.close()
        return ends

    def wait_until_processed(self) -> None:
        """Wait until the group's committed offsets are at the end of both sources."""
        ends = {source: end for source, end in self.ends().items() if end}
        consumer = KafkaConsumer(
            **connection_settings(self.kafka.cluster), group_id=self.group, isolation_level="read_committed",
            enable_auto_commit=False,
        )  # fmt: skip
        wait_until(
            lambda: all(consumer.committed(source) == end for source, end in ends.items()), "all processed"
        )
        consumer.close()

    def wait_until_stable(self, topic: str) -> dict[TopicPartition, int]:
        """Wait until no transaction is open in a topic, and return its end offsets."""
        committed = KafkaConsumer(**connection_settings(self.kafka.cluster), isolation_level="read_committed")
        uncommitted = KafkaConsumer(**connection_settings(self.kafka.cluster))
        ends: dict[TopicPartition, int] = uncommitted.end_offsets(partitions_of(uncommitted, topic))
        wait_until(
            lambda: all(stable >= ends[key] for key, stable in committed.end_offsets(list(ends)).items()),
            f"no open transaction in {topic}",
        )
        committed.close()
        uncommitted.close()
        return ends

    def read(self, topic: str) -> list[Any]:
        """Wait until no transaction is open in a topic, and return all records that are committed."""
        ends = self.wait_until_stable(topic)
        consumer = KafkaConsumer(
            **connection_settings(self.kafka.cluster), isolation_level="read_committed",
            enable_auto_commit=False, max_partition_fetch_bytes=LIMIT_BYTES,
        )  # fmt: skip
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        records: list[Any] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            records += chain.from_iterable(consumer.poll(timeout_ms=200).values())
        consumer.close()
        return records


def module_of(script: str) -> str:
    """Return what `python -m` calls a workshop's script."""
    return script.removesuffix(".py").replace("/", ".")


def call_main(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in this process, as long as it parses its options; that is 0.4 s faster than a new one."""
    out, errors = io.StringIO(), io.StringIO()
    module = importlib.import_module(module_of(script))
    with (
        patch.object(sys, "argv", [script, *arguments]),
        patch.object(module, "Stop", side_effect=AssertionError(f"{arguments} is accepted")),
        redirect_stdout(out),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        module.main()
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), errors.getvalue())


def _command(command: Sequence[str]) -> list[str]:
    script, *options = command
    if script.startswith("workshops/"):  # as a module, so that it finds the project in any environment
        return [sys.executable, "-m", module_of(script), *options]
    return [sys.executable, *command] if script.endswith(".py") or script == "-m" else list(command)
