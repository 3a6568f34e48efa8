"""A processor that runs for long needs no more memory than one that just warmed up."""

import psutil

from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.integration.pipelines import wait_until

GROWS_BY_AT_MOST = 1.1
LOOKS = 20


def test_memory_stays_flat(flow: Flow, scale: Scale) -> None:
    total = 10 * scale.events
    flow.reader.stop()  # it would keep all of them
    flow.fill(total)
    processor = flow.start_processor()
    memory = psutil.Process(processor.process.pid)

    def resident_after(events: int) -> int:
        wait_until(lambda: sum(flow.committed().values()) >= events, f"{events} are processed", 600)
        return memory.memory_info().rss

    # Single looks differ by a third, as batches do; so the most of half of the looks is what is compared.
    seen = [resident_after(total * look // LOOKS) for look in range(1, LOOKS + 1)]
    first, second = max(seen[: LOOKS // 2]), max(seen[LOOKS // 2 :])
    assert second < first * GROWS_BY_AT_MOST, seen
    assert processor.stop() == 0, processor.stderr
