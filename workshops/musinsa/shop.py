"""A shop's web server, read politely: robots.txt, pauses, time-outs, no page larger than it should be."""

import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import requests
from bs4.dammit import UnicodeDammit
from protego import Protego
from urllib3.exceptions import HTTPError

from pipeline.cli.process import PipelineError
from workshops.musinsa.shop_pages import absolute

USER_AGENT = "kafka-workshop-musinsa/1.0 (a learning exercise; reads few pages, slowly)"
MIN_DELAY = 0.5  # seconds between two requests, unless robots.txt asks for more
MAX_DELAY = 15.0  # a shop that asks for more does not want to be crawled
MAX_BYTES = 1_000_000
CHUNK_BYTES = 65_536
CONNECT_SECONDS, READ_SECONDS, PAGE_SECONDS = 5.0, 10.0, 30.0
TRIES = 3
BACKOFF_SECONDS = 1.0
MAX_WAIT_SECONDS = 30.0
TRY_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
FORBIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

Sleep = Callable[[float], object]


class PageError(Exception):
    """A page that can't be read; the message says why."""


class SilentError(PageError):
    """The shop did not answer, or answered that it is busy."""


class MovedError(Exception):
    """A page has moved to another address on the same server.

    Attributes:
        target: that address.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


class Shop:
    """A web server, read as its robots.txt asks."""

    def __init__(self, url: str, sleep: Sleep = time.sleep) -> None:
        """Read the shop's robots.txt.

        Args:
            url: any page of the shop.
            sleep: waits so many seconds.

        Raises:
            PipelineError: the shop is unreachable, or does not want to be crawled.
        """
        self._origin = _origin(url)
        self._sleep = sleep
        self._next = 0.0
        self._session = requests.Session()
        self._session.trust_env = False  # send no password from ~/.netrc to a shop
        # A compressed page may be far larger than MAX_BYTES when it is decompressed.
        self._session.headers.update(
            {"User-Agent": USER_AGENT, "Accept": "text/html", "Accept-Encoding": "identity"}
        )
        self._delay = MIN_DELAY
        self._rules = self._read_rules()
        rate = self._rules.request_rate(USER_AGENT)
        asked = max(self._rules.crawl_delay(USER_AGENT) or 0.0, rate.seconds / rate.requests if rate else 0.0)
        if asked > MAX_DELAY:
            raise PipelineError(
                f"Nothing is crawled: {self._origin} asks for {asked:.0f} s between two pages, "
                f"we wait {MAX_DELAY:.0f} s at most."
            )
        self._delay = max(MIN_DELAY, asked)
        self._next += self._delay - MIN_DELAY  # the delay counts from robots.txt on

    def has(self, url: str) -> bool:
        """Return whether an address is on this server."""
        return _origin(url) == self._origin

    def allows(self, url: str) -> bool:
        """Return whether robots.txt allows us to read a page."""
        return bool(self._rules.can_fetch(url, USER_AGENT))

    def page(self, url: str) -> str:
        """Read a page.

        Raises:
            MovedError: it has moved to another address on this server.
            PageError: it can't be read, or is no HTML.
        """
        with self._ask(url) as response:
            if response.is_redirect:
                target = absolute(url, response.headers["Location"])
                if target and self.has(target):
                    raise MovedError(target)
                raise PageError(f"it has moved to another server, {target}")
            if response.status_code != HTTPStatus.OK:
                raise PageError(_answer(response))
            kind = Message()
            kind["Content-Type"] = response.headers.get("Content-Type", "")
            if kind.get_content_type() != "text/html":
                raise PageError(f"it is {kind.get_content_type()}, not text/html")
            return _decode(_body(response), kind.get_content_charset())

    def _read_rules(self) -> Protego:
        """Read robots.txt with a parser that follows RFC 9309: Python's own ignores `*` in a path."""
        url = urljoin(self._origin, "/robots.txt")
        try:
            with self._ask(url) as response:
                status = response.status_code
                if status == HTTPStatus.OK:
                    return Protego.parse(_body(response).decode("utf-8-sig", errors="replace"))
                if 400 <= status < 500 and status not in FORBIDDEN:
                    return Protego.parse("")  # there is none, so all is allowed (RFC 9309, 2.3.1.3)
                raise PageError(_answer(response))
        except PageError as error:
            # Unreadable rules forbid all (RFC 9309, 2.3.1.4). An unreachable shop is noticed here, too.
            raise PipelineError(
                f"Nothing is crawled, as {url} can't be read: {error}. Is the shop up? The workshop's own: "
                "`python3 -m http.server 8000 --bind 127.0.0.1 --directory workshops/musinsa/site`"
            ) from error

    def _ask(self, url: str) -> requests.Response:
        """Request a page, again while the shop is busy; the body of the answer is still to be read."""
        for number in range(TRIES):
            self._sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self._delay
            try:
                response = self._session.get(
                    url, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
                )
            except requests.RequestException as error:
                raise SilentError(_cause(error)) from error
            if response.status_code not in TRY_LATER:
                return response
            response.close()
            wait = _retry_after(response, otherwise=BACKOFF_SECONDS * 2**number)
            if wait > MAX_WAIT_SECONDS:
                break  # leave the page out rather than ask again earlier than the shop wants
            self._next = time.monotonic() + max(self._delay, wait)
        raise SilentError(_answer(response))


def _origin(url: str) -> str:
    """Return the part of an address that one robots.txt covers: scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _body(response: requests.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise PageError("it is compressed, which we did not ask for")
    body = bytearray()
    deadline = time.monotonic() + PAGE_SECONDS
    try:
        # read1() returns what has arrived; read() would wait for a whole chunk, however slowly it arrives.
        while chunk := response.raw.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BYTES:
                raise PageError(f"it is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise SilentError(f"it takes longer than {PAGE_SECONDS:.0f} s")
    except HTTPError as error:
        raise SilentError(_cause(error)) from error
    return bytes(body)


def _decode(body: bytes, charset: str | None) -> str:
    """Decode a page: by the charset that the server names, else the one that the page names, else a guess."""
    return UnicodeDammit(body, [charset] if charset else [], is_html=True).unicode_markup or ""


def _retry_after(response: requests.Response, otherwise: float) -> float:
    """Return the seconds that the shop wants us to wait; its header has a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return otherwise


def _answer(response: requests.Response) -> str:
    return f"the shop answers {response.status_code} {response.reason}"


def _cause(error: BaseException) -> str:
    """Return the root cause of an error of requests, in a few words."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
