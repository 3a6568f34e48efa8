"""The account of a run: what it counts, and what the counting costs."""

import threading
from typing import Any, NamedTuple

import pytest

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import Stop
from pipeline.client.producing import SentEvent
from pipeline.dead_letters import Headers, dead_letter_headers, place_of
from pipeline.demo import summary
from pipeline.demo.summary import Account, RunSummary
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, WEB_EVENTS

ID = "6f0f3a3e-52b9-4b5e-9b1d-8d3f6d0b{:04x}"
CLEAN = (
    b'{"event_id":"%s","event_type":"click","source":"web","user_id":7,"occurred_at":"2026-11-22T00:00:00Z",'
    b'"details":{}}'
)


class NeverStopped(Stop):
    def __init__(self) -> None: ...  # it would listen to the signals of the whole test run


class Record(NamedTuple):
    topic: str
    value: bytes | None
    headers: Headers = ()
    partition: int = 0
    offset: int = 0


def sent(number: int, broken: bool = False) -> SentEvent:
    return SentEvent(WEB_EVENTS, 0, number, None if broken else ID.format(number), "")


def clean(number: int) -> Record:
    return Record(ANALYTICS_EVENTS, CLEAN % ID.format(number).encode())


def dead(number: int) -> Record:
    source = Record(WEB_EVENTS, b"", offset=number)
    return Record(ANALYTICS_DLQ, b"", dead_letter_headers(source, ValueError("broken"), "group"))


def test_what_did_not_come_out_is_a_loss_only_where_the_run_was_not_stopped() -> None:
    account, events = Account(), [sent(1), sent(2, broken=True), sent(3)]
    account.count([clean(1), dead(2)])
    assert "each once: NO (3 and 1 + 1)" in account.describe(events)
    stopped = account.describe(events, stopped=True)
    assert "  to come               1 " in stopped
    assert "sent = clean + dead letters + to come, each once: yes (3 and 1 + 1 + 1)" in stopped


def test_what_came_out_twice_is_seen_also_where_the_run_was_stopped() -> None:
    account = Account()
    account.count([clean(1), clean(1)])
    assert "each once: NO (1 and 2 + 0)" in account.describe([sent(1)], stopped=True)


def test_records_of_others_are_no_error() -> None:
    account = Account()
    deep = b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    values = (deep, b"\xff", b"{}", None)
    others = [Record(topic, value) for value in values for topic in (ANALYTICS_EVENTS, ANALYTICS_DLQ)]
    assert account.count(others) == []


def test_the_counting_takes_as_long_for_each_event_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One at a time: where each poll went through all events again, 500,000 of them took for ever."""
    events = [sent(number) for number in range(1000)]
    looks = 0

    class OneByOne:
        """A tail whose records come one by one."""

        def __init__(self, *_: str) -> None:
            self._left = [clean(number) for number in range(1000)]

        def poll(self) -> list[Record]:
            return [self._left.pop()] if self._left else []

        def ends(self) -> None: ...

        def is_at(self, _: None) -> bool:
            return not self._left

    class Committed:
        """A group that has committed all of them."""

        def __init__(self, *_: str) -> None: ...

        def reached(self, *_: object) -> bool:
            return True

    def counted(place: Any) -> str:  # noqa: ANN401
        nonlocal looks
        looks += 1
        return place_of(place)

    monkeypatch.setattr(summary, "Tail", OneByOne)
    monkeypatch.setattr(summary, "GroupOffsets", Committed)
    monkeypatch.setattr(summary, "place_of", counted)
    all_sent = threading.Event()
    all_sent.set()
    run = RunSummary(Cluster("nowhere:9092"))
    assert run.follow(events, all_sent, "group", NeverStopped())
    assert run.account.balanced(events)
    assert looks < 10 * len(events)
