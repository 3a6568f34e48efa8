"""A few pages over HTTP, for programs that watch this one. Knows neither Kafka nor metrics."""

import errno
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from pipeline.cli.process import PipelineError

REQUEST_SECONDS = 10  # a connection that sends nothing is closed then
PLAIN_TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """An answer."""

    status: HTTPStatus
    content: bytes
    content_type: str = PLAIN_TEXT


def serve(port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
    """Serve pages from a thread of its own, as long as the process lives.

    Args:
        port: to listen on, at all addresses of this machine.
        pages: by path; each is made for each request.

    Raises:
        PipelineError: another process has the port, or it is not allowed.
    """
    server = ThreadingHTTPServer(("", port), _handler(pages), bind_and_activate=False)
    server.socket.close()
    server.socket = _listen(port)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()


def _listen(port: int) -> socket.socket:
    """Listen at all addresses; where a machine has no IPv6, at those of IPv4.

    The socket is not inherited, and a port that was just in use is free: a process that the watchdog replaces
    leaves its port to the new one.
    """
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise _refused(port, error) from error
    try:
        return socket.create_server(("", port))
    except OSError as error:
        raise _refused(port, error) from error


def _refused(port: int, error: OSError) -> PipelineError:
    reason = (error.strerror or str(error)).lower().partition(" (")[0]
    return PipelineError(f"--metrics-port {port}: {reason}. Choose another port.")


def _handler(pages: Mapping[str, Callable[[], Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            """Answer with a page."""
            make = pages.get(self.path.partition("?")[0])
            found = f"Here are {' and '.join(pages)}.\n".encode()
            page = make() if make else Page(HTTPStatus.NOT_FOUND, found)
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.content)))
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log no request: there is one every few seconds."""

    return Handler
