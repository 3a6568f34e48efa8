"""A processor that runs for long needs no more memory than one that just warmed up."""

import psutil

from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.integration.pipelines import wait_until

GROWS_BY_AT_MOST = 1.1  # in the short form that finds a processor that keeps the values of all its events
LOOKS = 20
# glibc keeps memory that was freed, sometimes 13 MB and sometimes none; like this it gives most of it back.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}


def test_memory_stays_flat(flow: Flow, scale: Scale) -> None:
    total = scale.rounds(200_000, 1_000_000)
    flow.reader.stop()  # it would keep all of them
    flow.fill(total)
    processor = flow.start("stream_processor.py", **GIVE_BACK)
    memory = psutil.Process(processor.process.pid)

    def resident_after(events: int) -> int:
        wait_until(lambda: sum(flow.committed().values()) >= events, f"{events} are processed", 600)
        return memory.memory_info().rss

    # Single looks differ, as batches do; so the most of half of the looks is what is compared.
    seen = [resident_after(total * look // LOOKS) for look in range(1, LOOKS + 1)]
    first, second = max(seen[: LOOKS // 2]), max(seen[LOOKS // 2 :])
    assert second < first * GROWS_BY_AT_MOST, seen
    assert processor.stop() == 0, processor.stderr
