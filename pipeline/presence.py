"""Tells a user that Kafka is away: the clients just wait, and four silent terminals explain nothing."""

import threading
import time

from pipeline.connection import any_open
from pipeline.status import say

LOOK_EVERY_SECONDS = 3.0


def tell_when_away(servers: str) -> None:
    """Say once that no broker can be reached any more, and once that one is back, from now to the end.

    Args:
        servers: bootstrap servers.
    """
    threading.Thread(target=_look, args=(servers,), name="presence", daemon=True).start()


def _look(servers: str) -> None:
    away = False
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        now_away = not any_open(servers)
        if now_away != away:
            say(f"Kafka at {servers} is {'away; waiting for it.' if now_away else 'back.'}")
        away = now_away
