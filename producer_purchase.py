"""Sends what users buy to the topic purchase-events.

Some of the events are malformed. That is on purpose: the stream processor has to cope with them.
"""

import random
from typing import Any
from uuid import UUID

import msgspec

from pipeline.connection import PURCHASE_EVENTS
from pipeline.event_producer import Kind, send_events
from pipeline.process import run

PRICES = {"P-17": 12_900, "P-42": 39_000, "P-77": 5_500, "P-99": 159_000}  # won, which has no minor unit
EXAMPLES = """
    python3 producer_purchase.py                         # one event per second, until Ctrl-C
    python3 producer_purchase.py --count 100 --rate 0    # a hundred at once
    python3 producer_purchase.py --count 10 --broken 1   # broken ones only
"""


def make_event(dice: random.Random, user_id: int, timestamp: str) -> dict[str, Any]:
    """Make a valid purchase event."""
    product_id = dice.choice(list(PRICES))
    quantity = dice.randint(1, 5)
    return {
        "order_id": str(UUID(int=dice.getrandbits(128), version=4)),
        "user_id": user_id,
        "product_id": product_id,
        "quantity": quantity,
        "amount": quantity * PRICES[product_id],
        "currency": "KRW",
        "timestamp": timestamp,
    }


def spoil_event(dice: random.Random, event: dict[str, Any]) -> bytes:
    """Make a malformed purchase event."""
    whole = msgspec.json.encode(event)
    return dice.choice(
        (
            whole[: dice.randrange(1, len(whole))],  # cut JSON
            msgspec.json.encode({**event, "quantity": str(event["quantity"])}),  # a wrong type
            msgspec.json.encode([event]),  # not an object
        )
    )


def main() -> None:
    """Send purchase events until told to stop."""
    send_events(Kind(PURCHASE_EVENTS, make_event, spoil_event), __doc__, EXAMPLES)


if __name__ == "__main__":
    run(main)
