"""Workshop 004."""

import json
import re

import pytest

from tests.integration.pipelines import Pipeline, Sent

PRODUCER = "workshops/bulk_gzip/producer.py"
CONSUMER = "workshops/bulk_gzip/consumer.py"
FRAME = ["[Start] get consumer", "[End] get consumer"]


def line(topic: str, offset: int, value: object) -> str:
    return f"Topic : {topic}, Partition : 0, Offset : {offset}, Key : None, value : {value}"


@pytest.mark.parametrize("options", [(), ("--batched",)])
def test_a_thousand_messages_there_and_back(pipeline: Pipeline, options: tuple[str, ...]) -> None:
    topic = pipeline.prefix + "topic1"
    done = pipeline.run(PRODUCER, *options)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[Done\]: \d+\.\d+\n", done.stdout)
    shown = pipeline.run(CONSUMER)
    assert shown.returncode == 0, shown.stderr
    expected = [line(topic, number, {"str": f"result{number}"}) for number in range(1000)]
    assert shown.stdout.splitlines() == [FRAME[0], *expected, FRAME[1]]
    assert pipeline.run(CONSUMER).stdout.splitlines() == FRAME  # the group has read all


def test_batched_sends_more_messages_in_a_request(pipeline: Pipeline) -> None:
    said = [pipeline.run(PRODUCER, "--count", "300", *options).stderr for options in ((), ("--batched",))]
    one_by_one, batched = (float(text.split()[0]) for text in said)
    assert one_by_one == 1.0
    assert batched > 2
    assert len(pipeline.read(pipeline.prefix + "topic1")) == 600


def test_what_is_not_json_is_named_and_passed_over(pipeline: Pipeline) -> None:
    topic = pipeline.prefix + "topic1"
    assert pipeline.run(PRODUCER, "--count", "0").returncode == 0
    values = [b"no JSON", None, b"\xff", json.dumps("\x1b").encode(), b'{"str": "result0"}']
    pipeline.produce(topic, [Sent(value, key=b"" if value is None else None) for value in values])
    shown = pipeline.run(CONSUMER)
    assert shown.stdout.splitlines() == [
        FRAME[0],
        line(topic, 3, r"\x1b"),
        line(topic, 4, {"str": "result0"}),
        FRAME[1],
    ]
    assert [f"{topic}[0]@{offset}:" in shown.stderr for offset in range(4)] == [True] * 3 + [False]
