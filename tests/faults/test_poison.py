"""Records that nobody can read, between good ones and alone: they become dead letters, the good ones pass."""

import pytest

from tests.broken_events import PURCHASE, TABLE, web
from tests.faults.conftest import Scale
from tests.faults.flow import Flow
from tests.integration.pipelines import Sent

MANY_BYTES = 1000  # a hundred thousand larger ones would only fill the disk
POISON = [
    Sent(broken.value, key)
    for broken in TABLE
    if broken.source != PURCHASE and len(broken.value or b"") < MANY_BYTES
    for key in (b"7", None)
]


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(1, id="a batch of poison alone", marks=pytest.mark.thorough),
        pytest.param(7, id="poison between good ones"),
    ],
)
def test_poison(flow: Flow, scale: Scale, every: int) -> None:
    records = [
        POISON[number % len(POISON)] if number % every == 0 else Sent(web(page=f"/{number}"))
        for number in range(scale.events)
    ]
    flow.produce(flow.web, records)
    flow.events += scale.events
    processor = flow.start_processor()
    flow.check()
    assert processor.stop() == 0, processor.stderr
