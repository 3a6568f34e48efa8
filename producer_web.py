"""Sends what users do on a web site to the topic web-events.

Some of the events miss a field. That is on purpose: the stream processor has to cope with them.
"""

import random
from typing import Any
from uuid import UUID

import msgspec

from pipeline.connection import WEB_EVENTS
from pipeline.event_producer import Kind, send_events
from pipeline.process import run

EVENT_TYPES = ("page_view", "click", "search", "add_to_cart")
PAGES = ("/", "/products", "/products/17", "/products/42", "/search?q=kafka", "/cart")
EXAMPLES = """
    python3 producer_web.py                              # one event per second, until Ctrl-C
    python3 producer_web.py --count 100 --rate 0         # a hundred at once
    python3 producer_web.py --count 10 --broken 0 --seed 1
"""


def make_event(dice: random.Random, user_id: int, timestamp: str) -> dict[str, Any]:
    """Make a valid web event."""
    return {
        "event_id": str(UUID(int=dice.getrandbits(128), version=4)),
        "event_type": dice.choice(EVENT_TYPES),
        "user_id": user_id,
        "page": dice.choice(PAGES),
        "timestamp": timestamp,
    }


def spoil_event(dice: random.Random, event: dict[str, Any]) -> bytes:
    """Make a broken web event: one that misses a field."""
    missing = dice.choice(list(event))
    return msgspec.json.encode({name: value for name, value in event.items() if name != missing})


def main() -> None:
    """Send web events until told to stop."""
    send_events(Kind(WEB_EVENTS, make_event, spoil_event), __doc__, EXAMPLES)


if __name__ == "__main__":
    run(main)
