"""A source topic is deleted and recreated: none of its new events is taken for one that was read before."""

import signal

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from pipeline.client.admin import create_topics, topic_id
from tests.faults.flow import Flow
from tests.integration.pipelines import Running, Sent, wait_until

WEB_EVENT = (
    b'{"event_id": "6ba7b810-9dad-41d1-80b4-%012d", "event_type": "click", "user_id": 7, "page": "/",'
    b' "timestamp": "2026-01-01T00:00:00+09:00"}'
)
ANALYTICS_EVENT = (
    b'{"event_id":"6ba7b810-9dad-41d1-80b4-%012d","event_type":"click","source":"web","user_id":7,'
    b'"occurred_at":"2026-01-01T00:00:00Z","details":{}}'
)


def events(flow: Flow, first: int, count: int) -> list[int]:
    """Send numbered web events, a third of them to each partition; return their numbers."""
    numbers = list(range(first, first + count))
    flow.produce(flow.web, [Sent(WEB_EVENT % number, partition=number % 3) for number in numbers])
    return numbers


def recreate(flow: Flow, topic: str) -> str:
    """Delete a topic and create it again; return the id that it had."""
    with KafkaAdminClient(bootstrap_servers=flow.kafka.servers) as admin:
        old = topic_id(admin, topic)
        assert old
        admin.delete_topics([topic])
        wait_until(lambda: topic not in admin.list_topics(), "it is deleted")
        wait_until(lambda: create_topics(admin, [topic]), "it is created again")
        wait_until(lambda: topic_id(admin, topic) not in (None, old), "it has another id")
        return old


def came_out(flow: Flow) -> list[int]:
    """Return the numbers of the clean events, in ascending order."""
    return sorted(int(record.value.split(b'"event_id":"')[1][24:36]) for record in flow.read(flow.analytics))


def commit_by_hand(flow: Flow, offset: int, metadata: str) -> None:
    """Commit an offset in each partition of web-events, as a transaction does that ends late."""
    consumer = KafkaConsumer(bootstrap_servers=flow.kafka.servers, group_id=flow.group)
    consumer.commit(
        {TopicPartition(flow.web, number): OffsetAndMetadata(offset, metadata, -1) for number in range(3)}
    )
    consumer.close(autocommit=False)


def wait_until_out(flow: Flow, numbers: list[int], processor: Running) -> None:
    wait_until(lambda: len(came_out(flow)) >= len(numbers) or processor.process.poll(), "all come out", 30)
    assert came_out(flow) == sorted(numbers), processor.stderr
    assert processor.stop() == 0, processor.stderr


def test_a_topic_that_was_recreated_while_the_processor_slept(flow: Flow) -> None:
    """Between two of its fetches the topic has grown past its old position."""
    processor = flow.start_processor()
    numbers = events(flow, 0, 900)
    flow.wait_until_committed(900)
    processor.process.send_signal(signal.SIGSTOP)
    recreate(flow, flow.web)
    numbers += events(flow, 900, 1500)
    processor.process.send_signal(signal.SIGCONT)
    wait_until_out(flow, numbers, processor)


@pytest.mark.thorough
def test_a_committed_offset_of_a_deleted_topic_is_not_used(flow: Flow) -> None:
    """A transaction that was ending while its topic was deleted commits an offset to the new topic."""
    processor = flow.start_processor()
    numbers = events(flow, 0, 90)
    flow.wait_until_committed(90)
    assert processor.stop() == 0
    old = recreate(flow, flow.web)
    numbers += events(flow, 90, 150)
    commit_by_hand(flow, 30, f"topic-id={old}")
    wait_until_out(flow, numbers, flow.start_processor())


@pytest.mark.thorough
def test_the_metadata_that_another_program_committed_says_nothing(flow: Flow) -> None:
    events(flow, 0, 90)
    commit_by_hand(flow, 10, "something else")
    processor = flow.start_processor()
    flow.wait_until_committed(90)
    assert came_out(flow) == list(range(30, 90))
    assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_the_consumer_prints_all_of_a_topic_that_was_recreated_while_it_slept(flow: Flow) -> None:
    consumer = flow.start("consumer_analytics.py", "--json")
    wait_until(lambda: "Reading" in consumer.stderr, "it starts")
    values = [ANALYTICS_EVENT % number for number in range(90)]
    flow.produce(flow.analytics, [Sent(value, partition=at % 3) for at, value in enumerate(values[:30])])
    consumer.wait_for_lines(30)
    consumer.process.send_signal(signal.SIGSTOP)
    recreate(flow, flow.analytics)
    flow.produce(flow.analytics, [Sent(value, partition=at % 3) for at, value in enumerate(values[30:])])
    consumer.process.send_signal(signal.SIGCONT)
    consumer.wait_for("was deleted and recreated")
    consumer.wait_for_lines(90)
    assert sorted(consumer.stdout.splitlines()) == sorted(value.decode() for value in values)
    assert consumer.stop() == 0
