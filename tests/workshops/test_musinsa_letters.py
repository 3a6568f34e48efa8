# ruff: noqa: F811, the fixtures are imported
"""A dead letter is in its queue when send() returns, whatever happens on the way."""

from collections.abc import Iterator

import pytest
from kafka.errors import KafkaError

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.admin import admin_client, create_topics
from pipeline.dead_letters import read_dead_letter
from tests.faults.conftest import cluster, flow, lone_broker, proxy  # noqa: F401
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Cut, Proxy, turn_commit_into_abort
from tests.integration.pipelines import Sent
from workshops.musinsa import letters
from workshops.musinsa.kinds import UnstorableError
from workshops.musinsa.letters import DeadLetterQueue

PARTITIONS = 3
BROKEN = [
    Sent(b"\xff", key=b"k", headers=[("trace", b"\x00")], timestamp_ms=1_700_000_000_000, partition=2),
    Sent(None, key=None, partition=0),
    Sent(b"", key=b"", partition=1),
]
GROUP = "group"


class Queue:
    """A dead letter queue behind the proxy, and records that belong there."""

    def __init__(self, flow: Flow, servers: str) -> None:
        self._flow = flow
        self._topic, source = flow.prefix + "x-dlq", flow.prefix + "x"
        with admin_client(Cluster(flow.kafka.servers)) as admin:
            create_topics(admin, [self._topic, source], PARTITIONS)
        flow.produce(source, BROKEN)
        self._letters = [(record, UnstorableError("no product")) for record in flow.read(source)]
        self.client = DeadLetterQueue(Cluster(servers), self._topic, GROUP)

    def set_limit(self, size: str) -> None:
        self._flow.tool(
            "kafka-configs", "--alter", "--topic", self._topic, "--add-config", f"max.message.bytes={size}"
        ).check_returncode()

    def send(self) -> None:
        self.client.send(self._letters, PARTITIONS)

    def check(self) -> None:
        """Every record is there, byte for byte; some perhaps twice."""
        found = {}
        for record in self._flow.read(self._topic):
            letter = read_dead_letter(record.headers)
            assert letter
            assert letter.group == GROUP
            found[letter.partition] = (record.key, record.value, list(letter.headers), record.timestamp)
            assert record.partition == letter.partition
        assert found == {
            record.partition: (record.key, record.value, list(record.headers), record.timestamp)
            for record, _ in self._letters
        }


@pytest.fixture
def queue(flow: Flow, proxy: Proxy) -> Iterator[Queue]:
    made = Queue(flow, proxy.servers)
    yield made
    made.client.close()


def test_letters_of_a_transaction_that_the_broker_aborted_are_not_missing(
    queue: Queue,
    proxy: Proxy,
) -> None:
    """kafka-python may report such a transaction as committed."""
    with proxy.rule(Api.END_TXN, turn_commit_into_abort):
        queue.send()
    queue.check()


def test_letters_that_expire_are_sent_again_by_a_new_producer(
    queue: Queue,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(letters, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(letters, "DELIVERY_SECONDS", 1.6)
    with proxy.hold(Api.PRODUCE) as came:
        with pytest.raises(KafkaError):
            queue.send()
        assert came.is_set()
    queue.send()
    queue.check()


def test_a_connection_that_breaks_while_letters_are_sent_loses_none(queue: Queue, proxy: Proxy) -> None:
    def cut_once(_: bytearray) -> None:
        if proxy.seen[Api.PRODUCE] == seen + 1:
            raise Cut

    seen = proxy.seen[Api.PRODUCE]
    with proxy.rule(Api.PRODUCE, cut_once):
        queue.send()
    queue.check()


def test_a_letter_that_the_queue_refuses_is_named_and_the_next_ones_are_sent(queue: Queue) -> None:
    queue.set_limit("10")
    with pytest.raises(PipelineError, match=r"^Topic test-\S+-x-dlq: .*max.message.bytes"):
        queue.send()
    queue.set_limit("1000000")
    queue.send()
    queue.check()
