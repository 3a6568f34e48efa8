"""What the two producers tell of their events."""

import os
import subprocess
import sys

from pipeline.broker import PROJECT

THREADS, EVENTS = 4, 2000
# A process of its own: Stop listens for signals.
TELL = f"""
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace as Metadata

from pipeline.event_producer import Deliveries
from pipeline.process import Stop
from pipeline.status import say

deliveries = Deliveries(Stop())

def tell(partition):
    for offset in range({EVENTS}):
        deliveries.wait_for_room()
        deliveries.sent("sent  ", b"{{}}", Metadata(topic="web-events", partition=partition, offset=offset))
        say(f"{{partition}} {{offset}}")

with ThreadPoolExecutor({THREADS}) as threads:
    list(threads.map(tell, range({THREADS})))
say(f"Sent {{deliveries.progress.count}} events.")
"""


def test_lines_stay_whole_whichever_thread_tells() -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # as in a container: print() writes a line and its end
    )  # fmt: skip
    events = [(partition, offset) for partition in range(THREADS) for offset in range(EVENTS)]
    assert sorted(told.stdout.splitlines()) == sorted(f"sent   web-events[{p}]@{o} {{}}" for p, o in events)
    *said, sent = told.stderr.splitlines()
    assert sorted(said) == sorted(f"{p} {o}" for p, o in events)
    assert sent == f"Sent {len(events)} events."
