"""An output that can't be written to stops the processor with one line; it must neither skip nor retry."""

import pytest
from kafka import KafkaAdminClient

from tests.broken_events import web
from tests.faults.flow import Flow
from tests.integration.pipelines import Running, Sent, wait_until

STOPS_SECONDS = 30


def last_line(processor: Running) -> str:
    """Wait until a processor ends by itself, and return the last line that it printed on stderr."""
    wait_until(lambda: processor.process.poll() is not None, "it stops by itself", STOPS_SECONDS)
    assert processor.stop() == 1
    assert "Traceback" not in processor.stderr
    return processor.stderr.splitlines()[-1]


@pytest.mark.thorough
def test_a_topic_that_is_gone(flow: Flow) -> None:
    topic = flow.analytics
    processor = flow.start_processor()
    flow.fill(100)
    flow.wait_until_seen(100)
    were_there = len(flow.read(topic))
    with KafkaAdminClient(bootstrap_servers=flow.kafka.servers) as admin:
        admin.delete_topics([topic])
    flow.fill(100)
    line = last_line(processor)
    assert line == (
        f"stream_processor.py: Topic {topic} does not exist. Create it with ./create_topic.sh {topic}"
    )

    processor = flow.start_processor()  # creates it, and continues at the same record
    flow.wait_until_processed()
    assert were_there + len(flow.read(topic)) + len(flow.read(flow.dlq)) == flow.events
    assert processor.stop() == 0, processor.stderr


def test_a_topic_that_the_processor_may_not_write_to(flow: Flow) -> None:
    topic = flow.dlq
    denial = ("--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", topic)
    processor = flow.start_processor()
    flow.fill(100)
    flow.wait_until_seen(100)
    denied = flow.tool("kafka-acls", "--add", *denial)
    assert denied.returncode == 0, denied.stderr
    flow.fill(100)
    for stopping in (processor, flow.start_processor()):
        line = last_line(stopping)
        assert topic in line
        assert "kafka-acls" in line

    allowed = flow.tool("kafka-acls", "--remove", "--force", *denial)
    assert allowed.returncode == 0, allowed.stderr
    processor = flow.start_processor()
    flow.check()
    assert processor.stop() == 0


def test_a_topic_that_takes_no_record_without_a_key(flow: Flow) -> None:
    """The client fails all records of a batch; the line must report the error of the one to blame."""
    setting = ("--add-config", "cleanup.policy=compact", "--entity-type", "topics")
    altered = flow.tool("kafka-configs", "--alter", *setting, "--entity-name", flow.analytics)
    assert altered.returncode == 0, altered.stderr
    flow.produce(flow.web, [Sent(web(), key, partition=0) for key in (b"7", None, b"7")])
    line = last_line(flow.start_processor())
    assert line.startswith(f"stream_processor.py: Topic {flow.analytics}: InvalidRecordError: ")
