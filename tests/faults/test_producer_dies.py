"""A producer is killed: what it printed as sent is in its topic, once."""

import re
from collections import Counter

import pytest

from tests.faults.conftest import Scale
from tests.faults.flow import Flow

TOLD = re.compile(r"(?:sent  |broken) (\S+)\[(\d+)]@(\d+) (.*)")


@pytest.mark.parametrize("script", ["producer_web.py", "producer_purchase.py"])
def test_what_a_killed_producer_told_as_sent_is_there_once(flow: Flow, scale: Scale, script: str) -> None:
    source = flow.web if "web" in script else flow.purchase
    told = []
    for _ in range(scale.rounds(1, 5)):
        producer = flow.start(script, "--rate", "0")
        producer.wait_for_output(scale.events * 20)  # a line has about 200 bytes
        producer.process.kill()
        producer.stop()
        lines = producer.stdout.split("\n")[:-1]  # the last one was cut by the kill, or is empty
        told += [match for line in lines if (match := TOLD.fullmatch(line))]
        assert len(told) >= len(lines)
    there = Counter((r.topic, r.partition, r.offset, r.value.decode()) for r in flow.read(source))
    assert set(there.values()) == {1}
    assert {(m[1], int(m[2]), int(m[3]), m[4]) for m in told} <= there.keys()
    values = Counter(value for _, _, _, value in there)
    assert all(values[m[4]] == 1 for m in told if "_id" in m[4])
