"""What a script with --metrics-port says of itself."""

import re
import socket
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import NamedTuple

from tests.integration.pipelines import Pipeline, Running, wait_until

SAMPLE = re.compile(r"^([a-z_]+)(?:{(.*)})? (\S+)$", re.MULTILINE)


class Health(NamedTuple):
    status: int
    text: str


class Watched:
    """The pages of a running script."""

    def __init__(self, pipeline: Pipeline, *command: str, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.running: Running = pipeline.start(*command, "--metrics-port", str(self.port), **environment)
        wait_until(self.answers, "it serves its pages")

    def answers(self) -> bool:
        try:
            return bool(self.page("/metrics"))
        except (OSError, HTTPException):  # also while the process is replaced
            assert self.running.process.poll() is None, self.running.stderr
            return False

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            content: bytes = answer.read()
        return content.decode()

    def samples(self) -> dict[str, float]:
        """Return all samples by name and labels, as they stand on the page."""
        return {
            name + (f"{{{labels}}}" if labels else ""): float(value)
            for name, labels, value in SAMPLE.findall(self.page("/metrics"))
        }

    def sample(self, name: str) -> float:
        return self.samples()[name]

    def lag(self) -> float:
        """Return the lag of all partitions."""
        return sum(value for name, value in self.samples().items() if name.startswith("pipeline_lag_events{"))

    def health_is(self, status: int) -> Health | None:
        """Return the health if it has this status now; None also while the process is replaced."""
        try:
            health = self.health()
        except (OSError, HTTPException):
            return None
        return health if health.status == status else None

    def health(self) -> Health:
        try:
            return Health(200, self.page("/healthz"))
        except urllib.error.HTTPError as error:
            return Health(error.code, error.read().decode())
