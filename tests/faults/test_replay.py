"""Replays are killed, started twice, and lose their broker; each dead letter is still replayed once."""

import random
import signal
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import chain

import pytest

from pipeline.local.kafka import LocalKafka
from tests.faults.conftest import Scale
from tests.faults.flow import Flow, kill_broker
from tests.faults.proxy import Api, Proxy, turn_commit_into_abort
from tests.integration.letters import Source, letter
from tests.integration.pipelines import wait_until

LETTERS = 1000
MANY_LETTERS = 10_000

Place = tuple[str, int]


def fill_queue(flow: Flow, letters: int) -> dict[Place, list[bytes]]:
    """Fill the queue, and return the values that must be replayed to each partition of the sources."""
    places = [(topic, partition) for topic in (flow.web, flow.purchase) for partition in range(3)]
    values: dict[Place, list[bytes]] = defaultdict(list)
    records = []
    for number in range(letters):
        topic, partition = random.choice(places)
        values[topic, partition].append(b"%d" % number)
        source = Source(topic, partition, len(values[topic, partition]))
        records.append(letter(source, b"%d" % number)._replace(key=b"%d" % (number % 100)))
    flow.produce(flow.dlq, records)
    return values


def assert_each_replayed_once(flow: Flow, values: dict[Place, list[bytes]]) -> None:
    """Check that each value came to its partition once, in order."""
    came: dict[Place, list[bytes]] = defaultdict(list)
    for topic in (flow.web, flow.purchase):
        for record in flow.read(topic):
            came[topic, record.partition].append(record.value)
    for place in values:
        twice = len(came[place]) - len(set(came[place]))
        lost = set(values[place]) - set(came[place])
        assert came[place] == values[place], f"{place}: {len(lost)} lost, {twice} too many, or out of order"


def replay(flow: Flow, servers: str | None = None) -> tuple[int, list[str], str]:
    """Run a replay to its end; return its exit code, the lines of the letters it sent, and its stderr."""
    done = flow.run("dlq.py", "replay", KAFKA_BOOTSTRAP_SERVERS=servers or flow.kafka.servers)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines(), done.stderr


def assert_the_next_one_sends_all(
    flow: Flow, values: dict[Place, list[bytes]], stderr: str, reason: str
) -> None:
    """Check that a replay that sent nothing reported the reason, and that the next one sends all."""
    assert reason in stderr.splitlines()[-1]
    assert "start the replay again" in stderr.splitlines()[-1]
    code, lines, stderr = replay(flow)
    assert (code, len(lines)) == (0, LETTERS), stderr
    assert_each_replayed_once(flow, values)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.thorough)])
def test_a_replay_is_killed_again_and_again(flow: Flow, scale: Scale, kills: int) -> None:
    values = fill_queue(flow, MANY_LETTERS)
    reported: list[str] = []
    for _ in range(scale.rounds(kills, 2 * kills)):
        running = flow.start("dlq.py", "replay", "--rate", "2000")
        running.wait_for("Replaying")
        time.sleep(random.uniform(0, 0.8))  # the instant is the point
        running.process.kill()
        running.stop()
        reported += running.stdout.splitlines(keepends=True)
    code, _, stderr = replay(flow)
    assert code == 0, stderr
    assert_each_replayed_once(flow, values)
    # What a replay reported as sent is in its source, also if the replay was killed right after.
    records = chain(flow.read(flow.web), flow.read(flow.purchase))
    there = {f"{record.topic}[{record.partition}]@{record.offset}": record.value for record in records}
    for line in reported:
        if line.endswith("\n"):  # the last one may be cut
            _, _, _, place, *_, value = line.split()
            assert there[place].decode() == value


@pytest.mark.thorough
def test_ctrl_c_and_sigterm_come_at_any_instant_of_a_replay(flow: Flow, scale: Scale) -> None:
    values = fill_queue(flow, MANY_LETTERS)
    for number in range(scale.rounds(8, 20)):
        running = flow.start("dlq.py", "replay")
        running.wait_for("Replaying")
        time.sleep(random.uniform(0, 0.5))  # the instant is the point
        asked = time.monotonic()
        code = running.stop(signal.SIGINT if number % 2 else signal.SIGTERM)
        assert (code, time.monotonic() - asked < 5) == (0, True), running.stderr
        last = running.stderr.splitlines()[-1]
        assert last.startswith(f"Replayed: {len(running.stdout.splitlines()):,}"), last
    assert replay(flow)[0] == 0
    assert_each_replayed_once(flow, values)


def test_replays_at_the_same_time(flow: Flow) -> None:
    values = fill_queue(flow, MANY_LETTERS)
    replays = [flow.start("dlq.py", "replay") for _ in range(3)]
    codes = [running.process.wait(60) for running in replays]
    for code, running in zip(codes, replays, strict=True):
        running.stop()
        assert code == 0 or "Another replay was started" in running.stderr, running.stderr
    assert 0 in codes
    assert replay(flow)[:2] == (0, [])
    assert_each_replayed_once(flow, values)
    assert sum(len(running.stdout.splitlines()) for running in replays) <= MANY_LETTERS


def test_a_replay_ends_the_one_before_in_the_middle_of_its_commit(flow: Flow, proxy: Proxy) -> None:
    values = fill_queue(flow, LETTERS)
    with proxy.hold(Api.END_TXN) as came:
        first = flow.start("dlq.py", "replay", KAFKA_BOOTSTRAP_SERVERS=proxy.servers)
        assert came.wait(20)
        code, lines, stderr = replay(flow)
        assert (code, len(lines)) == (0, LETTERS), stderr
    assert first.process.wait(20) == 1
    first.stop()
    assert first.stdout == ""
    assert "Another replay was started" in first.stderr.splitlines()[-1]
    assert_each_replayed_once(flow, values)


def test_a_commit_of_a_replay_that_the_broker_aborted_is_noticed(flow: Flow, proxy: Proxy) -> None:
    """The client is made to report an aborted transaction as committed, as it now and then does."""
    values = fill_queue(flow, LETTERS)
    with proxy.rule(Api.END_TXN, turn_commit_into_abort):
        code, lines, stderr = replay(flow, proxy.servers)
    assert (code, lines) == (1, [])
    assert_the_next_one_sends_all(flow, values, stderr, "aborted")


@pytest.mark.thorough
def test_a_replay_whose_commit_hangs_ends_with_one_line(flow: Flow, proxy: Proxy) -> None:
    values = fill_queue(flow, LETTERS)
    with proxy.cut(Api.END_TXN):
        code, lines, stderr = replay(flow, proxy.servers)
    assert (code, lines) == (1, [])
    assert_the_next_one_sends_all(flow, values, stderr, "did not return within")


@pytest.mark.thorough
def test_a_replay_that_can_not_confirm_its_commit_ends_with_one_line(flow: Flow, proxy: Proxy) -> None:
    """The commit succeeds, and then the ledger can't be read: its letters are replayed, but not reported."""
    values = fill_queue(flow, LETTERS)
    with ExitStack() as at_the_end:

        def cut_what_follows(_: bytearray) -> None:
            at_the_end.enter_context(proxy.cut(Api.FETCH))

        with proxy.rule(Api.END_TXN, cut_what_follows):
            code, lines, stderr = replay(flow, proxy.servers)
    assert (code, lines) == (1, [])
    last = stderr.splitlines()[-1]
    assert f"{flow.prefix}analytics-dlq-replays[0]@0 could not be read" in last
    assert "start the replay again" in last
    code, lines, stderr = replay(flow)
    assert (code, len(lines)) == (0, LETTERS // 2), stderr  # those of the second transaction
    assert_each_replayed_once(flow, values)


@pytest.mark.thorough
def test_the_broker_is_killed_during_a_replay(flow: Flow, cluster: LocalKafka) -> None:
    values = fill_queue(flow, MANY_LETTERS)
    running = flow.start("dlq.py", "replay", "--rate", "2000")
    wait_until(lambda: running.stdout, "some are replayed")
    kill_broker(cluster)
    assert running.process.wait(30) == 1
    running.stop()
    last = running.stderr.splitlines()[-1]
    assert last.startswith(f"dlq.py: Kafka at {flow.kafka.servers} is unreachable."), last
    assert "start the replay again" in last
    assert "Traceback" not in running.stderr
    cluster.start()
    code, lines, stderr = replay(flow)
    assert code == 0, stderr
    assert lines
    assert_each_replayed_once(flow, values)
