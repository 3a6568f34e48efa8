"""A record is damaged on the broker's disk: each script says where, and the way past it."""

from pathlib import Path

import pytest

from pipeline.local.kafka import LocalKafka
from tests.broken_events import web
from tests.faults.flow import Flow
from tests.integration.letters import Source, letter
from tests.integration.pipelines import Sent
from tests.integration.test_dlq import dlq, listed

pytestmark = pytest.mark.thorough
MARK = b"damage this"


def damage(cluster: LocalKafka, topic: str, partition: int = 0) -> None:
    """Change a byte of the record with MARK, under the broker's feet."""
    [log] = Path(cluster.folder).glob(f"**/{topic}-{partition}/00000000000000000000.log")
    with log.open("r+b") as file:
        file.seek(log.read_bytes().index(MARK))
        file.write(b"D")


def test_a_damaged_event_stops_the_processor_with_its_place_and_the_way_past_it(
    cluster: LocalKafka, flow: Flow
) -> None:
    for value in (web(page="before"), MARK, web(page="behind")):
        flow.produce(flow.web, [Sent(value, partition=0)])
    damage(cluster, flow.web)
    processor = flow.start_processor()
    assert processor.process.wait(30) == 1
    processor.stop()
    [line] = [line for line in processor.stderr.splitlines() if "crc" in line]
    for words in (
        f"topic='{flow.web}', partition=0",
        "offset 1",
        "--reset-offsets --to-offset",
        "delivery.md",
    ):
        assert words in line

    moved = flow.tool(
        "kafka-consumer-groups", "--group", flow.group, "--topic", f"{flow.web}:0", "--reset-offsets",
        "--to-offset", "2", "--execute",
    )  # fmt: skip
    assert moved.returncode == 0, moved.stdout + moved.stderr
    processor = flow.start_processor()
    flow.wait_until_seen(2)
    assert [b"before" in record.value for record in flow.read(flow.analytics)] == [True, False]
    assert processor.stop() == 0, processor.stderr


def test_a_damaged_letter_is_foreign_and_hides_no_others(cluster: LocalKafka, flow: Flow) -> None:
    for offset, value in enumerate((b"before", MARK, b"behind")):
        flow.produce(flow.dlq, [letter(Source(flow.web, 0, offset), value)])
    damage(cluster, flow.dlq)
    assert [row["dead_letter"] for row in listed(flow, "--source", "web")] == [
        f"{flow.dlq}[0]@0", f"{flow.dlq}[0]@2",
    ]  # fmt: skip
    assert [row["dead_letter"] for row in listed(flow, "--reason", "foreign")] == [f"{flow.dlq}[0]@1"]
    assert "foreign record, which kafka-python can't read" in dlq(flow, "show", f"{flow.dlq}:0:1")
    assert len(dlq(flow, "replay").splitlines()) == 2


def test_a_damaged_ledger_stops_a_replay(cluster: LocalKafka, flow: Flow) -> None:
    """An entry that is skipped would be a letter that is replayed twice."""
    assert flow.run("dlq.py", "replay").returncode == 0  # creates the ledger
    ledger = flow.prefix + "analytics-dlq-replays"
    flow.produce(ledger, [Sent(MARK)])
    damage(cluster, ledger)
    flow.produce(flow.dlq, [letter(Source(flow.web))])
    done = flow.run("dlq.py", "replay")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"dlq.py: {ledger}[0]@0 can't be read, so it is not known which letters" in done.stderr
    assert f"delete topic {ledger}" in done.stderr
    assert flow.read(flow.web) == []
