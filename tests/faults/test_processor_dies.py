"""Processors are killed, stopped, joined by others and left by them; each event still counts exactly once."""

import random
import signal
import time

import pytest

from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Proxy
from tests.integration.pipelines import Running, wait_until

MOVES_ON_SECONDS = 15


def kill(processor: Running) -> None:
    processor.process.kill()
    processor.stop()


@pytest.mark.parametrize("processors", [pytest.param(1, marks=pytest.mark.thorough), 3])
def test_processors_are_killed(flow: Flow, scale: Scale, processors: int) -> None:
    flow.fill(scale.events)
    running = [flow.start_processor() for _ in range(processors)]
    kills = scale.rounds(2, 5)
    for number in range(1, kills + 1):
        flow.wait_until_seen(number * scale.events // (kills + 1))
        kill(running.pop(random.randrange(processors)))
        running.append(flow.start_processor())
    flow.check()
    for processor in running:
        assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_the_others_take_over_from_one_of_three_that_was_killed(flow: Flow, scale: Scale) -> None:
    """Every partition makes progress, also those of the killed processor."""
    processors = [flow.start_processor() for _ in range(3)]
    flow.wait_until_joined(3)
    with flow.producers(scale.events, seconds=scale.rounds(20, 50)):
        flow.wait_until_seen(scale.events // 5)
        kill(processors.pop())
        sent = flow.ends()

        def moved_on() -> bool:
            committed = flow.committed()
            return all(committed.get(partition, 0) >= end for partition, end in sent.items())

        wait_until(moved_on, "what was sent before the kill is processed", MOVES_ON_SECONDS)
    flow.check()


def test_a_stopped_processor_continues_when_others_have_its_work(
    flow: Flow, scale: Scale, proxy: Proxy
) -> None:
    """SIGSTOP in the middle of a commit, until session and transaction timed out: a laptop that sleeps."""
    flow.fill(scale.events)
    with proxy.hold(Api.END_TXN) as came:
        sleeper = flow.start_processor(proxy.servers)
        assert came.wait(20)
        sleeper.process.send_signal(signal.SIGSTOP)
        other = flow.start_processor()
        flow.wait_until_seen(scale.events)
    sleeper.process.send_signal(signal.SIGCONT)
    flow.wait_until_joined(2)
    flow.fill(1000)  # it takes part again
    flow.check()
    for processor in (sleeper, other):
        assert processor.stop() == 0, processor.stderr


@pytest.mark.thorough
def test_processors_join_and_leave_during_the_flow(flow: Flow, scale: Scale) -> None:
    processors = [flow.start_processor()]
    with flow.producers(scale.events, seconds=scale.rounds(10, 40)):
        for members in (2, 3):
            flow.wait_until_seen(flow.reader.seen + scale.events // 10)
            processors.append(flow.start_processor())
            flow.wait_until_joined(members)
        for _ in range(2):
            flow.wait_until_seen(flow.reader.seen + scale.events // 10)
            assert processors.pop(0).stop() == 0
    flow.check()
    assert processors[0].stop() == 0


def test_ctrl_c_and_sigterm_come_at_any_instant(flow: Flow, scale: Scale) -> None:
    with flow.producers(scale.events, seconds=scale.rounds(12, 45)):
        for number in range(scale.rounds(6, 20)):
            processor = flow.start_processor()
            processor.wait_for("Processing")
            time.sleep(random.uniform(0, 1.5))  # the instant is the point
            asked = time.monotonic()
            code = processor.stop(signal.SIGINT if number % 2 else signal.SIGTERM)
            assert (code, time.monotonic() - asked < 5) == (0, True), processor.stderr
            assert "Traceback" not in processor.stderr
        flow.start_processor()
    flow.check()


@pytest.mark.thorough
def test_each_start_delivers_its_first_event_within_10_seconds(flow: Flow, scale: Scale) -> None:
    starts = scale.rounds(5, 30)
    for _ in range(starts):
        seen = flow.events
        flow.fill(scale.events // starts)
        processor = flow.start_processor()
        flow.wait_until_seen(seen + 1, seconds=10)
        flow.wait_until_processed()
        assert processor.stop() == 0, processor.stderr
    processor = flow.start_processor()
    flow.check()
