"""Tells a user that Kafka is away: the clients just wait, and four silent terminals explain nothing."""

import time

from pipeline.connection import any_open
from pipeline.status import say

LOOK_EVERY_SECONDS = 5.0


class Presence:
    """Says once that no broker can be reached any more, and once that one is back."""

    def __init__(self, servers: str) -> None:
        """Begin with a broker that is there.

        Args:
            servers: bootstrap servers.
        """
        self._servers = servers
        self._away = False
        self._next = time.monotonic() + LOOK_EVERY_SECONDS

    def look(self) -> None:
        """Call this whenever nothing happens; it looks every LOOK_EVERY_SECONDS."""
        if time.monotonic() < self._next:
            return
        away = not any_open(self._servers)
        if away and not self._away:
            say(f"Kafka at {self._servers} is away; waiting for it.")
        elif self._away and not away:
            say("Kafka is back.")
        self._away = away
        self._next = time.monotonic() + LOOK_EVERY_SECONDS
