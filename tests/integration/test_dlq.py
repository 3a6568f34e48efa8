"""dlq.py on a real broker: every filter, every kind of replay, and no record where it should not be."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import psutil
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics
from pipeline.client.records import read_any_header_name
from pipeline.dead_letters import DELIVERY_COUNT, NAMES, read_dead_letter
from pipeline.local import PROJECT
from pipeline.text import NotUtf8
from tests.broken_events import web
from tests.integration.letters import NO_PAGE, TIMESTAMP_MS, Source, letter
from tests.integration.pipelines import Pipeline, Sent, wait_until

SEOUL = timezone(timedelta(hours=9))  # where pipelines.py runs the scripts
HEADERS = (("trace", b"1"), ("trace", b"\xff"), (DELIVERY_COUNT, b"not ours"))
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e\x7f"


def dlq(pipeline: Pipeline, *arguments: str, code: int = 0) -> str:
    """Run a command, and return what it prints on stdout."""
    done = pipeline.run("dlq.py", *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def listed(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dlq(pipeline, "list", "--json", *arguments).splitlines()]


def local(when: datetime) -> str:
    return when.astimezone(SEOUL).isoformat(timespec="seconds")


def process(pipeline: Pipeline) -> None:
    """Run a processor until an output has come out for each source record."""

    def all_came_out() -> bool:
        sources, outputs = (pipeline.web, pipeline.purchase), (pipeline.analytics, pipeline.dlq)
        return sum(len(pipeline.read(topic)) for topic in sources) == sum(
            len(pipeline.read(topic)) for topic in outputs
        )

    with pipeline.processor() as processor:
        processor.wait_for("Processing")
        wait_until(all_came_out, "all came out")


def edit(code: str) -> str:
    """Return a command that changes the event `e`, also on machines without jq."""
    program = f"import json, sys; e = json.load(sys.stdin); {code}; print(json.dumps(e))"
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"


@pytest.fixture
def made(pipeline: Pipeline) -> Pipeline:
    """A pipeline whose topics exist."""
    ensure_topics(Cluster(pipeline.kafka.servers), pipeline.web, pipeline.purchase, pipeline.dlq)
    return pipeline


@pytest.fixture
def now() -> datetime:
    """When this test began; the module was imported many minutes before."""
    return datetime.now(timezone.utc)


@pytest.fixture
def four(made: Pipeline, now: datetime) -> dict[str, str]:
    """Four letters of both sources, with different reasons and ages: the place of each by its name."""
    purchases = Source(made.purchase, partition=1)
    letters = {
        "old": letter(Source(made.web, offset=1), failed_at=now - timedelta(hours=3)),
        "cut": letter(purchases, b'{"a', "Input data was truncated", now - timedelta(minutes=30)),
        "new": letter(Source(made.web, offset=2), failed_at=now - timedelta(minutes=5)),
        "int": letter(purchases._replace(offset=4), b"1", "Expected `object`, got `int`", now),
    }
    made.produce(made.dlq, list(letters.values()))
    return {
        name: f"{made.web}[0]@{number}" if name in ("old", "new") else f"{made.purchase}[1]@{number}"
        for name, number in {"old": 1, "cut": 0, "new": 2, "int": 4}.items()
    }


def filters(now: datetime) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return options, each with the names of the letters that they select."""
    return [
        ((), ["old", "cut", "new", "int"]),
        (("--source", "web"), ["old", "new"]),
        (("--source", "purchase"), ["cut", "int"]),
        (("--reason", "EXPECTED"), ["int"]),
        (("--reason", "OBJECT"), ["old", "new", "int"]),
        (("--since", "10m"), ["new", "int"]),
        (("--since", "1h"), ["cut", "new", "int"]),
        (("--since", (now - timedelta(minutes=29)).isoformat()), ["new", "int"]),
        (
            ("--since", f"{now.astimezone(SEOUL) - timedelta(minutes=31):%Y-%m-%dT%H:%M:%S}"),
            ["cut", "new", "int"],
        ),
        (("--limit", "1"), ["old"]),
        (("--limit", "0"), []),
        (("--source", "purchase", "--reason", "trunc", "--since", "2h", "--limit", "5"), ["cut"]),
        (("--source", "web", "--reason", "trunc"), []),
    ]


def test_every_filter_of_list(made: Pipeline, four: dict[str, str], now: datetime) -> None:
    for arguments, expected in filters(now):
        lines = dlq(made, "list", *arguments).splitlines()
        assert [line.split()[1] for line in lines] == [four[name] for name in expected], arguments


@pytest.mark.thorough
def test_every_filter_of_stats_and_replay(made: Pipeline, four: dict[str, str], now: datetime) -> None:
    for arguments, expected in filters(now):
        places = [four[name] for name in expected]
        lines = dlq(made, "replay", "--dry-run", *arguments).splitlines()
        assert [line.split()[2] for line in lines] == places, arguments
        if "--limit" not in arguments:
            assert json.loads(dlq(made, "stats", "--json", *arguments))["open"] == len(places)


def test_list_shows_time_place_attempt_reason_and_value(made: Pipeline) -> None:
    when = datetime(2026, 11, 22, 9, 0, 0, 123_000, timezone.utc)
    long = web(page="x" * 900_000)
    made.produce(
        made.dlq,
        [
            letter(Source(made.web, 2, 17, [(DELIVERY_COUNT, b"4")]), long, "Too long", when),
            letter(Source(made.purchase, 2, 3), None, "Value is null", when),
            letter(Source(made.purchase, 2, 4), b"", "Value is empty", when),
            letter(Source(made.purchase, 2, 5), b"\xff\x00", "Value is not UTF-8", when),
        ],
    )
    assert dlq(made, "list").splitlines() == [
        f"2026-11-22T18:00:00+09:00  {made.web}[2]@17  attempt 1  Too long  {long[:60].decode()}…",
        f"2026-11-22T18:00:00+09:00  {made.purchase}[2]@3  attempt 1  Value is null  (null)",
        f"2026-11-22T18:00:00+09:00  {made.purchase}[2]@4  attempt 1  Value is empty  (empty)",
        rf"2026-11-22T18:00:00+09:00  {made.purchase}[2]@5  attempt 1  Value is not UTF-8  \xff\x00",
    ]
    first, null, empty, binary = listed(made)
    assert first == {
        "time": "2026-11-22T09:00:00.123000Z",
        "source": "web", "topic": made.web, "partition": 2, "offset": 17, "attempt": 1,
        "exception": "BrokenEventError", "group": "the-group", "reason": "Too long",
        "key": "7", "value": long.decode(), "dead_letter": f"{made.dlq}[2]@0", "replayed_at": None,
    }  # fmt: skip
    assert (null["value"], empty["value"], binary["value_base64"]) == (None, "", "/wA=")


def test_stats_count_by_source_and_reason(made: Pipeline, now: datetime) -> None:
    early, late = now - timedelta(days=2), now - timedelta(days=1)
    missing = [letter(Source(made.web, 0, number), failed_at=late) for number in range(20)]
    cut = [letter(Source(made.purchase, 1, 3), b"{", "Input data was truncated", early)]
    made.produce(made.dlq, [*missing, *cut, Sent(b"foreign", timestamp_ms=TIMESTAMP_MS)])

    lines = [line.split(maxsplit=6) for line in dlq(made, "stats").splitlines()]
    assert " ".join(lines[0]) == f"{made.dlq}: 21 open, 0 replayed, 1 foreign"
    seen = [local(late), "to", local(late)]
    assert lines[1] == ["20", "█" * 20, *seen, "web", "Object missing required field `page`"]
    seen = [local(early), "to", local(early)]
    assert lines[3] == ["1", "█", *seen, "purchase", "Input data was truncated"]
    assert lines[2][5] == "foreign"

    counted = json.loads(dlq(made, "stats", "--json"))
    assert (counted["open"], counted["replayed"], counted["foreign"]) == (21, 0, 1)
    assert [(group["source"], group["count"]) for group in counted["reasons"]] == [
        ("web", 20), ("foreign", 1), ("purchase", 1),
    ]  # fmt: skip
    assert datetime.fromisoformat(counted["reasons"][2]["last_seen"].replace("Z", "+00:00")) <= early


def test_show_prints_everything(made: Pipeline, now: datetime) -> None:
    source = Source(made.web, 1, 17, [("trace", b"1"), ("bin", b"\xff")])
    long = web(page="x" * 5000)
    made.produce(made.dlq, [letter(source, long, failed_at=now), letter(source, long, group="second-try")])

    shown = dlq(made, "show", f"{made.web}:1:17")
    assert shown == dlq(made, "show", f"{made.web}[1]@17")
    for words in (
        f"{made.web}[1]@17", local(now), "Object missing required field `page`",
        "BrokenEventError", "the-group", "second-try", f"{made.dlq}[1]@0", f"{made.dlq}[1]@1",
        "2026-11-22T07:26:40+09:00", "trace: 1", r"bin: \xff", f"{len(long)} bytes", long.decode(),
    ):  # fmt: skip
        assert words in shown, words
    assert "__dlq" not in shown

    missing = made.run("dlq.py", "show", f"{made.web}:1:18")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert f"no letter of {made.web}[1]@18" in missing.stderr


def test_edited_events_end_in_analytics_events(made: Pipeline) -> None:
    keys = [b"7", None, b"", b"\xff"]
    places = made.produce(made.web, [Sent(NO_PAGE, key, HEADERS, TIMESTAMP_MS) for key in keys])
    process(made)
    lines = dlq(made, "replay", "--edit", edit("e['page'] = '/unknown'")).splitlines()
    process(made)

    clean = made.read(made.analytics)
    assert Counter(record.key for record in clean) == Counter(keys)
    for record in clean:
        assert json.loads(record.value)["details"] == {"page": "/unknown"}
        assert record.timestamp == TIMESTAMP_MS
        assert record.headers == [*HEADERS, (DELIVERY_COUNT, b"1")]
    assert len(made.read(made.dlq)) == len(keys)  # nothing is deleted

    replayed = made.read(made.web)[-len(keys) :]
    assert {record.partition for record in replayed} <= {partition for _, partition, _ in places}
    reported = {line.split()[1]: line.split()[3] for line in lines}
    assert set(reported) == {f"{topic}[{partition}]@{offset}" for topic, partition, offset in places}
    stored = {f"{record.topic}[{record.partition}]@{record.offset}" for record in made.read(made.web)}
    assert set(reported.values()) == stored - set(reported)
    assert all(row["replayed_at"] for row in listed(made))
    assert json.loads(dlq(made, "stats", "--json"))["replayed"] == len(keys)


def test_unedited_events_fail_again_until_their_last_attempt(made: Pipeline) -> None:
    made.produce(made.web, [Sent(NO_PAGE, b"7", HEADERS, TIMESTAMP_MS, partition=2)])
    for attempt in (1, 2, 3):
        process(made)
        letters = [record for record in made.read(made.dlq) if read_dead_letter(record.headers)]
        assert len(letters) == attempt
        last = read_dead_letter(letters[-1].headers)
        assert last is not None
        assert (letters[-1].value, letters[-1].key, letters[-1].timestamp) == (NO_PAGE, b"7", TIMESTAMP_MS)
        earlier = [] if attempt == 1 else [(DELIVERY_COUNT, str(attempt - 1).encode())]
        assert (last.delivery_count, last.headers) == (attempt, [*HEADERS, *earlier])
        done = made.run("dlq.py", "replay")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == (1 if attempt < 3 else 0)

    assert (
        f"{made.web}[2]@3 stays: tried 3 times (--max-attempts 3): Object missing required field `page`"
        in done.stderr
    )
    assert "Replayed: 0, 2 replayed before, 1 stay" in done.stderr
    assert len(made.read(made.web)) == 3
    assert len(dlq(made, "replay", "--max-attempts", "4").splitlines()) == 1  # a person may insist


def test_a_delivery_count_that_its_sender_wrote_counts_for_nothing(made: Pipeline) -> None:
    """The ledger knows how often a letter was replayed; a header is only what somebody wrote."""
    forged = [(DELIVERY_COUNT, b"99")]
    made.produce(made.web, [Sent(NO_PAGE, b"7", forged, partition=0)])
    for attempt in (1, 2):
        process(made)
        assert [row["attempt"] for row in listed(made)] == [1, 2][:attempt]
        assert len(dlq(made, "replay").splitlines()) == 1
    assert made.read(made.web)[-1].headers == [*forged, (DELIVERY_COUNT, b"2")]


def test_a_limit_of_0_is_no_empty_queue(made: Pipeline, four: dict[str, str]) -> None:
    shown = made.run("dlq.py", "list", "--limit", "0")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")
    assert "has no such letter" in made.run("dlq.py", "list", "--reason", "never seen").stderr


def test_what_a_filter_passed_over_can_go_later(made: Pipeline, four: dict[str, str]) -> None:
    sent = []
    for arguments in (("--source", "purchase"), ("--limit", "1"), (), ()):
        lines = dlq(made, "replay", *arguments).splitlines()
        sent.append([line.split()[1] for line in lines])
    assert sent == [[four["cut"], four["int"]], [four["old"]], [four["new"]], []]
    assert len(made.read(made.web)) == len(made.read(made.purchase)) == 2


def test_a_dry_run_shows_what_would_be_sent_where_and_sends_nothing(
    made: Pipeline, four: dict[str, str]
) -> None:
    printed = dlq(made, "replay", "--dry-run", "--source", "web", "--edit", edit("e['page'] = '/x'"))
    edited = json.dumps({**json.loads(NO_PAGE), "page": "/x"})
    assert printed.splitlines() == [
        f"would send {four[name]} -> {made.web}[0]  attempt 2  key 7  {edited}" for name in ("old", "new")
    ]
    assert made.read(made.web) == []
    with KafkaAdminClient(bootstrap_servers=made.kafka.servers) as admin:
        assert f"{made.dlq}-replays" not in admin.list_topics()
    assert len(dlq(made, "replay").splitlines()) == 4


def foreign_records(pipeline: Pipeline) -> list[Sent]:
    ours = letter(Source(pipeline.web)).headers
    changes = {"topic": b"analytics-dlq", "partition": b"-1", "offset": b"1_0", "timestamp": b"yesterday"}
    wrong = [
        [(name, content if name.endswith(key) else value) for name, value in ours]
        for key, content in changes.items()
    ]
    return [
        Sent(b"no headers"),
        Sent(b"some", headers=[("trace", b"1")]),
        Sent(b"too few", headers=ours[1:]),
        Sent(b"not last", headers=[*ours, ("trace", b"1")]),
        Sent(b"not UTF-8", headers=[(name, b"\xff") for name in NAMES]),
        *(Sent(b"wrong", headers=headers) for headers in wrong),
        Sent(None, key=b"null"),
    ]


def test_foreign_records_are_listed_as_such_and_never_replayed(made: Pipeline) -> None:
    records = foreign_records(made)
    made.produce(made.dlq, [*records, letter(Source(made.web))])
    rows = listed(made)
    foreign = [row for row in rows if row["source"] is None]
    assert len(foreign) == len(records)
    assert {row["reason"] for row in foreign} == {"foreign record, not a dead letter of this pipeline"}
    assert len(dlq(made, "list", "--reason", "foreign").splitlines()) == len(records)
    assert "foreign record" in dlq(made, "show", foreign[0]["dead_letter"])

    done = made.run("dlq.py", "replay", "--max-attempts", "1000000")
    assert len(done.stdout.splitlines()) == 1
    assert f"Replayed: 1, {len(records)} foreign" in done.stderr
    assert len(made.read(made.web)) == 1
    assert len(made.read(made.dlq)) == len(records) + 1


def test_no_terminal_escape_reaches_the_terminal(made: Pipeline) -> None:
    bad = ESCAPES.encode()
    source = Source(made.web, headers=[(ESCAPES, bad)])
    shouting = letter(source, bad, ESCAPES, group=ESCAPES)._replace(key=bad)
    made.produce(made.dlq, [shouting, Sent(bad, bad, [(ESCAPES, bad)], partition=1)])
    shout = f"{shlex.quote(sys.executable)} -c 'import sys; sys.stderr.write({ESCAPES!r}); sys.exit(1)'"
    for arguments in (
        ("list",), ("list", "--json"), ("stats",), ("stats", "--json"), ("show", f"{made.web}:0:0"),
        ("show", f"{made.dlq}:1:0"), ("replay", "--dry-run"), ("replay", "--edit", shout),
        ("replay", "--max-attempts", "1"), ("replay",),
    ):  # fmt: skip
        done = made.run("dlq.py", *arguments)
        printed = (done.stdout + done.stderr).replace("\n", "")
        assert printed.isprintable(), (arguments, printed)
        assert "owned" in printed, arguments
    assert json.loads(dlq(made, "list", "--json").splitlines()[0])["value"] == bad.decode()


def test_an_edit_that_fails_leaves_its_letter_as_it_was(made: Pipeline, four: dict[str, str]) -> None:
    done = made.run("dlq.py", "replay", "--edit", edit("e['page'] = '/x'"))
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == [four["old"], four["new"]]
    for name in ("cut", "int"):
        assert f"{four[name]} stays: --edit failed: exit code 1: " in done.stderr
    assert "2 letters could not be replayed" in done.stderr.splitlines()[-1]
    assert made.read(made.purchase) == []

    done = made.run("dlq.py", "replay", "--edit", "no-such-command")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--edit can't be run: exit code 127" in done.stderr

    assert len(dlq(made, "replay", "--edit", "cat").splitlines()) == 2
    assert sorted(record.value for record in made.read(made.purchase)) == [b"1", b'{"a']


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
@pytest.mark.usefixtures("four")
def test_a_signal_ends_a_replay_and_its_edit(made: Pipeline, number: signal.Signals) -> None:
    running = made.start("dlq.py", "replay", "--edit", "sleep 1000 | cat")
    process = psutil.Process(running.process.pid)
    children = wait_until(lambda: process.children(recursive=True)[1:], "it edits")
    asked = time.monotonic()
    assert running.stop(number) == 0
    assert time.monotonic() - asked < 5
    assert "Replayed: 0, stopped" in running.stderr
    wait_until(lambda: not any(child.is_running() for child in children), "nothing is left of the edit")

    slow = made.start("dlq.py", "replay", "--rate", "0.1")
    slow.wait_for_output(1)
    assert slow.stop(number) == 0
    assert "Replayed: 1, stopped" in slow.stderr
    assert len(dlq(made, "replay").splitlines()) == 3


def test_letters_are_replayed_no_faster_than_asked(made: Pipeline) -> None:
    made.produce(made.dlq, [letter(Source(made.web, 0, number)) for number in range(9)])
    started = time.monotonic()
    assert len(dlq(made, "replay", "--rate", "4").splitlines()) == 9
    assert time.monotonic() - started >= 2
    assert len(made.read(made.web)) == 9


@pytest.mark.parametrize("timestamps", ["CreateTime", "LogAppendTime"])
def test_an_event_that_failed_in_two_groups_is_replayed_once(made: Pipeline, timestamps: str) -> None:
    with KafkaAdminClient(bootstrap_servers=made.kafka.servers) as admin:
        admin.alter_configs([ConfigResource("TOPIC", made.dlq, {"message.timestamp.type": timestamps})])
    source = Source(made.web, 0, 5)
    for group in ("the-group", "second-try"):
        made.produce(made.dlq, [letter(source, group=group)])
    done = made.run("dlq.py", "replay")
    assert len(done.stdout.splitlines()) == 1
    assert "Replayed: 1, 1 further letters of an event" in done.stderr
    assert dlq(made, "replay") == ""


def test_an_event_in_a_recreated_topic_is_another_one(made: Pipeline) -> None:
    source = Source(made.web, 0, 5)
    made.produce(made.dlq, [letter(source)])
    assert len(dlq(made, "replay").splitlines()) == 1
    made.produce(made.dlq, [letter(source)._replace(timestamp_ms=TIMESTAMP_MS + 1)])
    assert len(dlq(made, "replay").splitlines()) == 1


def test_the_notes_are_kept_for_ever(made: Pipeline, four: dict[str, str]) -> None:
    """Also where somebody created the ledger before, with the broker's settings."""
    ledger = f"{made.dlq}-replays"
    with KafkaAdminClient(bootstrap_servers=made.kafka.servers) as admin:
        admin.create_topics({ledger: {"num_partitions": 3}}, wait_for_metadata=True)
        assert len(dlq(made, "replay", "--limit", "1").splitlines()) == 1
        settings = admin.describe_configs([ConfigResource("TOPIC", ledger)], config_filter="all")
    assert settings["topic"][ledger]["cleanup.policy"]["value"] == "compact"
    [entry] = made.read(ledger)
    assert entry.key == f"{made.web}:0:1:{TIMESTAMP_MS}".encode()
    assert json.loads(entry.value) | {"sent": ""} == {
        "dead_letter": f"{made.dlq}[0]@0", "edited": False, "sent": "",
    }  # fmt: skip

    made.produce(ledger, [Sent(None, entry.key, partition=0)])  # cancelled by hand
    assert [line.split()[1] for line in dlq(made, "replay", "--source", "web").splitlines()] == [
        four["old"], four["new"],
    ]  # fmt: skip


def test_a_partition_that_its_source_no_longer_has(made: Pipeline) -> None:
    made.produce(made.dlq, [letter(Source(made.web, 1, 0))])
    lost = letter(Source(made.web, 7, 0))._replace(partition=1)
    made.produce(made.dlq, [lost])
    done = made.run("dlq.py", "replay")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert f"{made.web}[7]@0 stays: {made.web} has no partition 7" in done.stderr


def test_a_letter_that_its_source_refuses_stays_and_the_others_go(made: Pipeline) -> None:
    with KafkaAdminClient(bootstrap_servers=made.kafka.servers) as admin:
        admin.alter_configs([ConfigResource("TOPIC", made.web, {"max.message.bytes": "1000"})])
    letters = [letter(Source(made.web, 0, number), b"%d" % number) for number in range(20)]
    letters[7] = letter(Source(made.web, 0, 7), b"x" * 2000)
    made.produce(made.dlq, letters)
    done = made.run("dlq.py", "replay")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 19
    [stays] = [line for line in done.stderr.splitlines() if "stays" in line]
    assert stays.startswith(f"{made.web}[0]@7 stays: Topic {made.web}: MessageSizeTooLargeError")
    assert "Replayed: 19, 1 stay" in done.stderr
    expected = [b"%d" % number for number in range(20) if number != 7]
    assert [record.value for record in made.read(made.web)] == expected
    assert dlq(made, "replay", code=1) == ""


def test_a_header_name_that_is_not_utf8_is_shown_and_replayed_as_it_is(made: Pipeline) -> None:
    read_any_header_name()
    name = NotUtf8(b"caf\xe9")
    made.produce(made.dlq, [letter(Source(made.web, headers=((name, b"1"),)))])
    assert r"caf\xe9: 1" in dlq(made, "show", f"{made.web}:0:0")
    assert len(dlq(made, "replay").splitlines()) == 1
    [record] = made.read(made.web)
    assert [name.encode() for name, _ in record.headers] == [b"caf\xe9", b"__dlq.errors.delivery.count"]


def test_what_was_sent_is_reported_whatever_ends_the_replay(made: Pipeline) -> None:
    """Into a pipe, for which Python would buffer the lines."""
    made.produce(made.dlq, [letter(Source(made.web, 0, number)) for number in range(600)])
    buffered = {**made.environment}
    del buffered["PYTHONUNBUFFERED"]

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, shell=True, cwd=PROJECT, env=buffered, capture_output=True, text=True, timeout=60
        )

    replay = f"{shlex.quote(sys.executable)} dlq.py replay"
    made.produce(made.dlq, [letter(Source(made.purchase), b"{}"), letter(Source(made.purchase, 0, 1), b"{")])
    failed = run(f"{replay} --source purchase --edit {shlex.quote(edit('pass'))}")
    assert (failed.returncode, len(failed.stdout.splitlines())) == (1, 1)
    killed = run(f"{replay} --rate 100 | (head -1; sleep 1)")
    sent = len(made.read(made.web))
    assert len(killed.stdout.splitlines()) == 1
    assert 1 <= sent < 600
    # Nobody read the lines behind the first one; their letters are counted all the same.
    [summary] = [line for line in killed.stderr.splitlines() if line.startswith("Replayed")]
    assert summary.startswith("Replayed: ")
    assert "Traceback" not in killed.stderr


def test_the_limit_counts_what_is_sent(made: Pipeline) -> None:
    """Letters for which --edit fails do not count, and do not block the others."""
    bad = [letter(Source(made.web, 0, number), b"not JSON") for number in range(3)]
    made.produce(made.dlq, [*bad, letter(Source(made.web, 0, 3)), letter(Source(made.web, 0, 4))])
    lines = dlq(made, "replay", "--limit", "1", "--edit", edit("pass"), code=1).splitlines()
    assert [line.split()[1] for line in lines] == [f"{made.web}[0]@3"]


def test_json_stays_json_in_a_terminal_that_knows_no_korean(made: Pipeline) -> None:
    text = web(page="\u0085é한🎉")
    made.produce(made.dlq, [letter(Source(made.web), text)])
    done = made.run("dlq.py", "list", "--json", PYTHONIOENCODING="ascii")
    assert done.stdout.isascii()
    assert json.loads(done.stdout)["value"] == text.decode()


def wait_until_it_listens_for_signals(process: psutil.Process) -> None:
    """Python needs a while to start, on a busy machine a second; Ctrl-C then just kills it."""
    wait_until(lambda: process.num_threads() > 2, "it listens for signals")


def test_ctrl_c_while_counting_prints_no_half_count(made: Pipeline) -> None:
    made.produce(made.dlq, [letter(Source(made.web, 0, number)) for number in range(20_000)])
    for wait in (0.1, 0.3, 0.5, 0.7):
        running = made.start("dlq.py", "stats")
        wait_until_it_listens_for_signals(psutil.Process(running.process.pid))
        time.sleep(wait)  # the instant is the point
        assert running.stop(signal.SIGINT) == 0
        assert running.stdout == "" or "20,000 open" in running.stdout, running.stdout
