"""dlq/edit.py: a value is piped through a command, and every way in which that can fail."""

import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dlq import edit
from pipeline.dlq.edit import EditFailedError, NoSuchCommandError, edited


@given(st.binary(min_size=1).filter(lambda value: value != b"\n"))
def test_any_bytes_go_through_as_they_are(value: bytes) -> None:
    assert edited("cat", value, lambda: False) == value


@pytest.mark.parametrize(
    ("value", "command", "new"),
    [
        (b"a", "tr a b; echo", b"b"),
        (b"a\n", "tr a b", b"b\n"),
        (b"a", "printf 'b\\n\\n'", b"b\n"),
        (None, "echo new", b"new"),
        (b"x" * 1_000_000, "cat", b"x" * 1_000_000),
        (b"x" * 1_000_000, "echo did not read it", b"did not read it"),
    ],
)
def test_what_a_command_prints_is_the_new_value(value: bytes | None, command: str, new: bytes) -> None:
    assert edited(command, value, lambda: False) == new


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 3", "exit code 3"),
        ("echo first >&2; printf 'l\\033[31mast' >&2; exit 1", r"exit code 1: l\x1b[31mast"),
        ("echo half; exit 1", "exit code 1"),
        ("true", "it printed nothing"),
        ("echo", "it printed nothing"),
        ("kill -9 $$", f"signal {signal.SIGKILL.value}"),
    ],
)
def test_a_command_that_fails_returns_no_value(command: str, reason: str) -> None:
    with pytest.raises(EditFailedError) as failed:
        edited(command, b"a", lambda: False)
    assert str(failed.value) == reason


def test_no_such_command_is_another_error_than_a_failure() -> None:
    with pytest.raises(NoSuchCommandError, match="exit code 127"):
        edited("no-such-command", b"a", lambda: False)


@pytest.mark.parametrize(("limit", "stopped"), [(0.3, False), (60, True)])
def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, limit: float, stopped: bool) -> None:
    monkeypatch.setattr(edit, "LIMIT_SECONDS", limit)
    started = time.monotonic()
    with pytest.raises(EditFailedError, match="did not end"):
        edited("sleep 1000 | cat", b"a", lambda: stopped)
    assert time.monotonic() - started < 5
