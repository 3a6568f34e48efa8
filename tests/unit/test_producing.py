"""What the two producers print about their events."""

import os
import subprocess
import sys

from pipeline.local import PROJECT

THREADS, EVENTS = 4, 2000
# A process of its own: Stop listens for signals.
PROGRAM = f"""
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from kafka.future import Future

from pipeline.cli.process import Stop
from pipeline.cli.status import log, set_up_logging
from pipeline.client.producing import Deliveries, event_line

set_up_logging()
deliveries = Deliveries(Stop(), "events")

def send(partition):
    for offset in range({EVENTS}):
        deliveries.wait_for_room()
        future = Future()
        deliveries.track(future, event_line(b"{{}}", "id", as_json=False))
        future.success(SimpleNamespace(topic="web-events", partition=partition, offset=offset))
        log.info(f"{{partition}} {{offset}}")

with ThreadPoolExecutor({THREADS}) as threads:
    list(threads.map(send, range({THREADS})))
log.info(f"Sent {{deliveries.progress.count}} events.")
"""


def test_lines_stay_whole_whichever_thread_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True,
        # As in a container: print() writes a line and its end
        env={**os.environ, "PYTHONUNBUFFERED": "1", "BARE_STATUS_LINES": "yes"},
    )  # fmt: skip
    events = [(partition, offset) for partition in range(THREADS) for offset in range(EVENTS)]
    assert sorted(done.stdout.splitlines()) == sorted(f"sent   web-events[{p}]@{o} {{}}" for p, o in events)
    *lines, sent = done.stderr.splitlines()
    assert sorted(lines) == sorted(f"{p} {o}" for p, o in events)
    assert sent == f"Sent {len(events)} events."
