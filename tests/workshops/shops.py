"""A shop for the tests: a web server in this process that answers as a test wants, and records requests."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from pipeline.local import PROJECT

SITE = PROJECT / "workshops" / "musinsa" / "site"


class Request(NamedTuple):
    """A request that the server received."""

    path: str
    headers: Mapping[str, str]
    at: float


class Answer(NamedTuple):
    """An answer of the server."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}


Say = Callable[[str, int], Answer]
Found = Mapping[str, Answer | bytes]


class TestShop:
    """A running server.

    Attributes:
        url: of its first page.
        requests: those that it received, oldest first.
    """

    __test__ = False

    def __init__(self, url: str, requests: list[Request]) -> None:
        self.url = url
        self.requests = requests

    @property
    def paths(self) -> list[str]:
        """The paths of the requests."""
        return [request.path for request in self.requests]


@contextmanager
def shop(say: Say) -> Iterator[TestShop]:
    """Serve pages.

    Args:
        say: returns the answer to a path and the number of requests for it so far.
    """
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(Request(self.path, dict(self.headers), time.monotonic()))
            answer = say(self.path, sum(request.path == self.path for request in requests))
            self.send_response(answer.status)
            headers = {"Content-Type": "text/html", "Content-Length": str(len(answer.body)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield TestShop(f"http://127.0.0.1:{server.server_address[1]}/", requests)
        finally:
            server.shutdown()


def pages(found: Found) -> Say:
    """Return the answers of a server that has these pages and no others."""

    def say(path: str, _: int) -> Answer:
        answer = found.get(path, Answer(b"not here", 404))
        return answer if isinstance(answer, Answer) else Answer(answer)

    return say


def files(path: str, _: int) -> Answer:
    """Return the answer of `python -m http.server --directory workshops/musinsa/site`."""
    file = SITE / (path.lstrip("/") or "index.html")
    if not file.is_file():
        return Answer(b"not here", 404)
    return Answer(
        file.read_bytes(), headers={"Content-Type": "text/html" if file.suffix == ".html" else "text/plain"}
    )
