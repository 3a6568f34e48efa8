"""When a loop counts as stuck, and when it only waits."""

import os

import pytest

from pipeline.client.liveness import CARRIED, Liveness

LIMIT = 40.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Liveness:
    return Liveness(LIMIT, clock)


def test_a_loop_has_as_long_for_its_first_progress_as_for_any(loop: Liveness, clock: Clock) -> None:
    clock.now += LIMIT
    assert not loop.stuck()
    clock.now += 1
    assert loop.stuck() == "a call has not returned for 41 s"


def test_calls_that_return_are_no_progress_where_there_is_something_to_read(
    loop: Liveness, clock: Clock
) -> None:
    clock.now += LIMIT + 1
    loop.step()
    assert loop.stuck() == "no event was processed for 41 s, and there are some to read"
    loop.progress()
    assert not loop.stuck()
    assert loop.summary() == "working: last progress 0 s ago"


def test_a_call_that_hangs_is_stuck_also_where_there_is_nothing_to_read(loop: Liveness, clock: Clock) -> None:
    clock.now += LIMIT + 1
    loop.progress()
    assert loop.stuck()
    assert loop.summary() == "stuck: a call has not returned for 41 s"


def test_a_loop_that_has_to_wait_is_not_stuck_and_then_has_time_to_begin(
    loop: Liveness, clock: Clock
) -> None:
    for _ in range(100):
        clock.now += 10
        loop.excuse("Kafka is unreachable")
    assert loop.summary() == "waiting: Kafka is unreachable"
    assert loop.seconds_since_progress == 1000
    clock.now += LIMIT
    assert not loop.stuck()
    clock.now += 1
    assert loop.stuck() == "a call has not returned for 1041 s"


def test_the_process_that_replaces_one_that_hung_goes_on_with_its_times(
    loop: Liveness, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that hangs after each restart would never count as stuck."""
    monkeypatch.setenv(CARRIED, "")  # and it is as before after the test
    clock.now += 21
    loop.carry_over()
    successor = Liveness(LIMIT, clock)
    assert CARRIED not in os.environ
    clock.now += 21
    assert successor.stuck() == "a call has not returned for 42 s"


def test_after_an_outage_the_process_that_replaces_one_that_hung_has_time_to_begin(
    loop: Liveness, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CARRIED, "")
    clock.now += 600
    loop.excuse("Kafka is unreachable")
    loop.carry_over()
    successor = Liveness(LIMIT, clock)
    clock.now += LIMIT
    assert not successor.stuck()
    clock.now += 1
    assert successor.stuck()
