"""--metrics-port and --log-format on real scripts; tests/faults/test_health.py has those that hang."""

import json
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.local import PROJECT
from pipeline.schema import REASON_CLASSES
from tests.broken_events import PURCHASE, TABLE, WEB, purchase, web
from tests.integration.pipelines import Pipeline, Sent, wait_until
from tests.integration.scraping import Watched

CLEAN = 40
# Not made with the code under test
CLASSES = {
    "cut JSON": "not_json",
    "not JSON": "not_json",
    "BOM": "not_json",
    "null value": "no_value",
    "empty value": "no_value",
    "not UTF-8": "not_utf8",
    "10,000 levels in a field that is dropped": "too_deep",
    "user id below 64 bits": "bad_value",
    "text": "wrong_type",
}


def test_the_counters_of_a_processor_agree_with_what_was_sent(pipeline: Pipeline) -> None:
    broken = [row for row in TABLE if row.name in CLASSES]
    assert len(broken) == len(CLASSES)
    watched = Watched(pipeline, "stream_processor.py")
    watched.running.wait_for("Processing")
    topics = {WEB: pipeline.web, PURCHASE: pipeline.purchase}
    for row in broken:
        pipeline.produce(topics[row.source], [Sent(row.value)])
    pipeline.produce(pipeline.web, [Sent(web())] * CLEAN)
    pipeline.produce(pipeline.purchase, [Sent(purchase())] * CLEAN)
    pipeline.wait_until_processed()
    events = 2 * CLEAN + len(broken)
    wait_until(lambda: watched.sample("pipeline_events_read_total") == events, "all are counted")

    wait_until(lambda: watched.sample('pipeline_events_total{result="clean"}') == 2 * CLEAN, "clean ones")
    samples = watched.samples()
    assert samples['pipeline_events_total{result="dead"}'] == len(broken)
    expected = Counter(CLASSES.values())
    assert {reason: samples[f'pipeline_dead_letters_total{{reason="{reason}"}}'] for reason in expected} == (
        expected
    )
    assert sum(
        samples[f'pipeline_dead_letters_total{{reason="{reason}"}}'] for reason in REASON_CLASSES
    ) == len(broken)
    committed = samples['pipeline_transactions_total{result="committed"}']
    assert 1 <= committed <= events
    assert samples["pipeline_transaction_seconds_count"] == committed
    assert samples["pipeline_assigned_partitions"] == 6
    assert samples["pipeline_watchdog_restarts_total"] == 0
    assert samples['pipeline_transactions_total{result="failed"}'] == 0
    assert samples["process_resident_memory_bytes"] > 0

    wait_until(lambda: watched.lag() == 0, "the lag is measured")
    health = watched.health()
    assert health.status == 200
    assert re.fullmatch(r"working: last progress \d s ago\n", health.text)
    assert watched.running.stop() == 0, watched.running.stderr


def test_events_make_no_new_time_series(pipeline: Pipeline) -> None:
    watched = Watched(pipeline, "stream_processor.py")
    watched.running.wait_for("Processing")
    pipeline.produce(pipeline.web, [Sent(web())])
    pipeline.wait_until_processed()
    wait_until(lambda: "pipeline_lag_events{" in watched.page("/metrics"), "the lag is measured")
    before = watched.samples().keys()
    pipeline.produce(pipeline.web, [Sent(web(event_type=f'"}} {number}\nx 1')) for number in range(50)])
    pipeline.produce(pipeline.web, [Sent(row.value, key=f"k{row.name}".encode()) for row in TABLE])
    pipeline.wait_until_processed()
    wait_until(
        lambda: watched.sample('pipeline_events_total{result="dead"}') == 50 + len(TABLE), "all are counted"
    )
    assert watched.samples().keys() == before


def test_markers_of_transactions_are_no_events_that_wait(pipeline: Pipeline) -> None:
    """They have offsets, and a consumer's committed offset stays before the last one."""
    with pipeline.processor():
        pipeline.produce(pipeline.web, [Sent(web())] * 10)
        pipeline.wait_until_processed()
    pipeline.produce(pipeline.web, [Sent(web())] * 7)
    watched = Watched(pipeline, "consumer_analytics.py", "--group", pipeline.group + "-none")
    wait_until(lambda: watched.sample('pipeline_events_total{result="clean"}') == 10, "read")
    assert watched.sample('pipeline_transactions_total{result="committed"}') > 0
    wait_until(lambda: watched.lag() <= 3, "only the markers of transactions are left")
    assert watched.health().status == 200
    assert watched.running.stop() == 0


def test_a_consumer_counts_what_it_skips(pipeline: Pipeline) -> None:
    watched = Watched(pipeline, "consumer_analytics.py", "--log-format", "json")
    watched.running.wait_for("Reading")
    pipeline.produce(pipeline.analytics, [Sent(b"no event\x1b[2J")])
    wait_until(lambda: watched.sample('pipeline_events_total{result="skipped"}') == 1, "counted")
    assert watched.running.stop() == 0
    lines = [json.loads(line) for line in watched.running.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "info"]
    assert {line["script"] for line in lines} == {"consumer_analytics.py"}
    assert lines[1]["message"].startswith("Not an analytics event: ")


@pytest.mark.parametrize("script", ["stream_processor.py", "consumer_analytics.py"])
def test_a_port_in_use_is_one_line(pipeline: Pipeline, script: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        done = pipeline.run(script, "--metrics-port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"{script}: --metrics-port {port}: address already in use. Choose another port.\n"


def test_the_package_is_needed_only_with_the_option(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'prometheus_client'\")"
    )
    done = pipeline.run("stream_processor.py", "--metrics-port", "1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "stream_processor.py: --metrics-port: not installed: prometheus_client. "
        "pip install -r requirements/metrics.txt\n"
    )
    without = pipeline.start("stream_processor.py", PYTHONPATH=str(tmp_path))
    without.wait_for("Processing")
    assert without.stop() == 0, without.stderr


def test_nothing_is_imported_without_the_option() -> None:
    code = "import stream_processor, consumer_analytics, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_other_paths_say_which_there_are(pipeline: Pipeline) -> None:
    watched = Watched(pipeline, "stream_processor.py")
    with pytest.raises(OSError, match="404"):
        watched.page("/")
    assert watched.health().status == 200


def test_a_processor_logs_json(pipeline: Pipeline) -> None:
    running = pipeline.start("stream_processor.py", "--log-format", "json")
    running.wait_for("Processing")
    assert running.stop() == 0
    lines = [json.loads(line) for line in running.stderr.splitlines()]
    assert [line["message"].partition(" ")[0] for line in lines] == ["Processing", "Stopped"]
    assert all(line.keys() == {"time", "level", "script", "message"} for line in lines)
