"""A processor that runs for long needs no more memory than one that just warmed up."""

import psutil
import pytest

from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.integration.pipelines import wait_until

GROWS_BY_AT_MOST = 1.1  # the short form, too, detects a processor that keeps the values of all events
SAMPLES = 20
# glibc keeps freed memory, sometimes 13 MB and sometimes none; with this setting it returns most of it.
RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "131072"}


@pytest.mark.thorough
def test_memory_stays_flat(flow: Flow, scale: Scale) -> None:
    total = scale.rounds(200_000, 1_000_000)
    flow.reader.stop()  # it would keep all records in memory
    flow.fill(total)
    processor = flow.start("stream_processor.py", **RETURN_FREED_MEMORY)
    memory = psutil.Process(processor.process.pid)

    def resident_after(events: int) -> int:
        wait_until(lambda: sum(flow.committed().values()) >= events, f"{events} are processed", 600)
        return memory.memory_info().rss

    # A single sample depends on the batch at hand, so the largest samples of both halves are compared.
    sizes = [resident_after(total * number // SAMPLES) for number in range(1, SAMPLES + 1)]
    first, second = max(sizes[: SAMPLES // 2]), max(sizes[SAMPLES // 2 :])
    assert second < first * GROWS_BY_AT_MOST, sizes
    assert processor.stop() == 0, processor.stderr
