"""A producer is killed: what it reported as sent is in its topic, once."""

import re
from collections import Counter

import pytest

from tests.faults.conftest import Scale
from tests.faults.flow import PRODUCERS, Flow

REPORTED = re.compile(r"(sent  |broken) (?P<topic>\S+)\[(?P<partition>\d+)]@(?P<offset>\d+) (?P<value>.*)")
LINE_BYTES = 200  # about


@pytest.mark.parametrize("script", PRODUCERS)
def test_what_a_killed_producer_reported_as_sent_is_there_once(flow: Flow, scale: Scale, script: str) -> None:
    source = flow.web if "web" in script else flow.purchase
    reported = set()
    kills = scale.rounds(1, 5)
    for _ in range(kills):
        producer = flow.start(script, "--rate", "0")
        producer.wait_for_output(scale.events // kills * LINE_BYTES)
        producer.process.kill()
        producer.stop()
        for line in producer.stdout.split("\n")[:-1]:  # the last one was cut by the kill, or is empty
            match = REPORTED.fullmatch(line)
            assert match, line
            reported.add((match["topic"], int(match["partition"]), int(match["offset"]), match["value"]))
    there = [(r.topic, r.partition, r.offset, r.value.decode()) for r in flow.read(source)]
    assert reported <= set(there)
    times = Counter(value for *_, value in there)
    ids = [value for *_, value in reported if '_id":"' in value and value.endswith("}")]
    assert len(ids) > scale.events // 100
    assert {times[value] for value in ids} == {1}
