"""The crawler: what it reads from a page, and how it treats a shop. Only our own shops are ever crawled."""

import json
import logging
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from pipeline.cli.process import PipelineError
from tests.integration.pipelines import Pipeline
from tests.workshops.shops import Answer, Found, files, pages, shop
from workshops.musinsa import shop as polite
from workshops.musinsa.crawler import crawl
from workshops.musinsa.products import check
from workshops.musinsa.shop_pages import absolute, parse_links, parse_product

URL = "http://shop.test/products/1"
VALID = [f"https://www.musinsa.com/products/{number}" for number in range(20001, 20006)]


class Clock:
    """Sleeps without waiting, and records for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of anything but the delay."""
    monkeypatch.setattr(polite, "MIN_DELAY", 0.0)
    monkeypatch.setattr(polite, "BACKOFF_SECONDS", 0.0)


def linked(**fields: Any) -> str:  # noqa: ANN401
    """Return a page with a product as JSON-LD."""
    product = {
        "@type": "Product",
        "name": "패딩",
        "brand": {"name": "가게"},
        "offers": {"price": 1000, "priceCurrency": "KRW"},
        **fields,
    }
    return f'<script type="application/ld+json">{json.dumps(product)}</script>'


class TestParse:
    def test_json_ld(self) -> None:
        html = linked(category="아우터", image=["/1.jpg", "/2.jpg"])
        assert parse_product(html, URL) == {
            "url": URL,
            "name": "패딩",
            "brand": "가게",
            "price": 1000,
            "category": "아우터",
            "image_url": "http://shop.test/1.jpg",
        }

    def test_open_graph(self) -> None:
        html = """
            <meta property="og:type" content="product">
            <meta property="og:title" content=" 패딩\n 자켓 &amp; ">
            <meta property="product:brand" content="가게">
            <meta property="product:price:amount" content="12,900">
            <meta property="og:url" content="https://www.musinsa.com/products/7">
        """
        assert parse_product(html, URL) == {
            "url": "https://www.musinsa.com/products/7",
            "name": "패딩 자켓 &",
            "brand": "가게",
            "price": 12_900,
        }

    @pytest.mark.parametrize(
        ("fields", "name", "value"),
        [
            ({"brand": "가게"}, "brand", "가게"),
            ({"brand": [{"name": "가게"}]}, "brand", "가게"),
            ({"offers": [{"price": "1000"}]}, "price", 1000),
            ({"offers": {"price": "1,234,000"}}, "price", 1_234_000),
            ({"offers": {"price": "1000.00"}}, "price", 1000),
            ({"offers": {"price": 1000.0}}, "price", 1000),
            ({"offers": {"lowPrice": 900, "highPrice": 1000}}, "price", 900),
            ({"image": {"url": "/1.jpg"}}, "image_url", "http://shop.test/1.jpg"),
            ({"@type": ["Thing", "Product"]}, "name", "패딩"),
        ],
    )
    def test_what_schema_org_allows(self, fields: dict[str, Any], name: str, value: object) -> None:
        product = parse_product(linked(**fields), URL)
        assert product is not None
        assert product[name] == value
        check(product)

    @pytest.mark.parametrize(
        ("fields", "complaint"),
        [
            ({"offers": {}}, "missing required field `price`"),
            ({"offers": None}, "missing required field `price`"),
            ({"offers": {"price": "문의"}}, r"got `str` - at `\$.price`"),
            ({"offers": {"price": 9.99, "priceCurrency": "USD"}}, r"got `str` - at `\$.price`"),
            ({"offers": {"price": "9" * 5000}}, r"got `str` - at `\$.price`"),
            ({"offers": {"price": True}}, r"got `bool` - at `\$.price`"),
            ({"offers": {"price": -1}}, "`int` >= 0"),
            ({"name": "x" * 1_000}, "length <= 500"),
            ({"name": ["a", "b"]}, r"at `\$.name`"),
            ({"name": " \n"}, "length >= 1"),
            ({"brand": {"@type": "Brand"}}, "missing required field `brand`"),
        ],
    )
    def test_what_is_no_valid_product_is_left_to_the_check(
        self, fields: dict[str, Any], complaint: str
    ) -> None:
        product = parse_product(linked(**fields), URL)
        assert product is not None
        with pytest.raises(ValueError, match=complaint):
            check(product)

    def test_graph_and_a_broken_neighbour(self) -> None:
        graph = json.dumps({"@graph": [{"@type": "WebSite"}, {"@type": "Product", "name": "셔츠"}]})
        script = '<script type="application/ld+json">{}</script>'
        html = script.format("{broken") + script.format("[1, null]") + script.format(graph)
        assert parse_product(html, URL) == {"url": URL, "name": "셔츠"}

    @pytest.mark.parametrize(
        "html",
        [
            "",
            "<h1>패딩</h1>",
            '<meta property="og:type" content="website">',
            '<script type="application/ld+json">{"@type": "Organization"}</script>',
            '<script type="application/ld+json">' + "[" * 5_000 + "</script>",
            '<script type="application/ld+json">{"@type": "Product", "name": "\\ud800"}</script>',
            "<div>" * 5_000,
            "\x00<!--",
        ],
    )
    def test_what_shows_no_product(self, html: str) -> None:
        assert parse_product(html, URL) is None

    @pytest.mark.parametrize(
        ("href", "url"),
        [
            ("https://www.musinsa.com/products/7#top", "https://www.musinsa.com/products/7"),
            ("/products/7", "http://shop.test/products/7"),
            ("javascript:alert(1)", URL),
            ("http://[", URL),
            ("", URL),
        ],
    )
    def test_the_canonical_link_is_the_products_url(self, href: str, url: str) -> None:
        product = parse_product(f'<link rel="canonical" href="{href}">' + linked(), URL)
        assert product is not None
        assert product["url"] == url

    def test_links(self) -> None:
        html = """
            <a href="/b#x">b</a><a href="/b">b</a><a href="c">c</a><a href=" mailto:a@b "></a><a href="http://["></a>
            <a href="HTTP://SHOP.test/패딩"></a><a href="https://www.musinsa.com/"></a><a name="no"></a>
        """
        assert parse_links(html, URL) == [
            "http://shop.test/b",
            "http://shop.test/products/c",
            "http://shop.test/%ED%8C%A8%EB%94%A9",
            "https://www.musinsa.com/",
        ]

    def test_one_page_has_one_spelling(self) -> None:
        assert (
            absolute("HTTP://Shop.test", "") == absolute("http://shop.test/a", "/#top") == "http://shop.test/"
        )


class TestAtTheShop:
    @pytest.fixture(autouse=True)
    def status_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        """Let caplog have what a user sees."""
        caplog.set_level(logging.INFO, "pipeline")

    def test_the_workshops_own_shop_slowly_and_only_what_robots_txt_allows(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = Clock()
        with shop(files) as served:
            found = list(crawl(served.url, sleep=clock.sleep))
        assert [product["url"] for product in found] == [*VALID, "https://www.musinsa.com/products/20006"]
        assert [check(product).price for product in found[:-1]] == [129_000, 189_000, 45_900, 69_000, 55_000]
        with pytest.raises(ValueError, match="missing required field `price`"):
            check(found[-1])

        assert served.paths[:2] == ["/robots.txt", "/"]
        assert len(set(served.paths)) == len(served.paths)
        assert not [path for path in served.paths if path.startswith("/limited/")]
        assert len(clock.slept) == len(served.paths)
        assert all(0.6 < slept <= 1 for slept in clock.slept[1:])
        assert {request.headers["User-Agent"] for request in served.requests} == {polite.USER_AGENT}
        assert "kafka-workshop" in polite.USER_AGENT
        lines = caplog.messages
        assert lines == [
            f"Left out: {served.url}products/20007.html: the shop answers 404 Not Found",
            f"Left out: {served.url}limited/20008.html: robots.txt forbids it",
        ]

    @pytest.mark.parametrize(
        ("rules", "delay"),
        [(b"", 0.5), (b"User-agent: *\nCrawl-delay: 7", 7), (b"User-agent: *\nCrawl-delay: 0", 0.5)],
    )
    def test_the_longer_delay_counts(self, rules: bytes, delay: float) -> None:
        clock = Clock()
        with shop(pages({"/robots.txt": rules, "/": b'<a href="/a">'})) as served:
            list(crawl(served.url, sleep=clock.sleep))
        assert clock.slept[0] == 0
        assert all(delay - 0.4 < slept <= delay for slept in clock.slept[1:])

    def test_the_delay_is_kept(self) -> None:
        with shop(pages({"/": b'<a href="/a"></a><a href="/b"></a>'})) as served:
            list(crawl(served.url))
        times = [request.at for request in served.requests]
        assert len(times) == 4
        assert min(later - earlier for earlier, later in pairwise(times)) > 0.45

    @pytest.mark.parametrize("status", [401, 403, 500, 503, 429, 301])
    @pytest.mark.usefixtures("no_delay")
    def test_unreadable_rules_forbid_all(self, status: int) -> None:
        found: Found = {
            "/robots.txt": Answer(b"", status, {"Location": "/elsewhere"}),
            "/": linked().encode(),
        }
        with (
            shop(pages(found)) as served,
            pytest.raises(PipelineError, match=f"Nothing is crawled.*{status}"),
        ):
            list(crawl(served.url))
        assert set(served.paths) == {"/robots.txt"}

    @pytest.mark.usefixtures("no_delay")
    def test_no_rules_allow_all(self) -> None:
        with shop(pages({"/": linked().encode()})) as served:
            assert len(list(crawl(served.url))) == 1

    @pytest.mark.parametrize(
        ("rules", "complaint"),
        [
            (b"User-agent: *\nDisallow: /", "robots.txt forbids"),
            (b"User-agent: *\nCrawl-delay: 3600", "3600 s"),
        ],
    )
    @pytest.mark.usefixtures("no_delay")
    def test_a_shop_that_does_not_want_it(self, rules: bytes, complaint: str) -> None:
        with shop(pages({"/robots.txt": rules})) as served, pytest.raises(PipelineError, match=complaint):
            list(crawl(served.url))
        assert served.paths == ["/robots.txt"]

    @pytest.mark.usefixtures("no_delay")
    def test_redirects_stay_on_the_server_and_end(self) -> None:
        with shop(pages({"/": linked().encode()})) as other:
            found: Found = {
                "/": b'<a href="/here"></a><a href="/away"></a><a href="/loop"></a><a href="%sx"></a>'
                % other.url.encode(),
                "/here": Answer(status=302, headers={"Location": "there#top"}),
                "/there": linked().encode(),
                "/away": Answer(status=301, headers={"Location": other.url}),
                "/loop": Answer(status=307, headers={"Location": "/loop"}),
            }
            with shop(pages(found)) as served:
                assert [product["url"] for product in crawl(served.url)] == [served.url + "there"]
            assert other.requests == []
        assert sorted(served.paths) == ["/", "/away", "/here", "/loop", "/robots.txt", "/there"]

    @pytest.mark.parametrize(
        ("after", "least", "most"),
        [
            ("2", 1.5, 2),
            (lambda: formatdate(time.time() + 3, usegmt=True), 1, 3),
            ("soon", 0.5, 1),
            ("", 0.5, 1),
        ],
    )
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_shop_is_asked_again_when_it_says(
        self, status: int, after: str | Callable[[], str], least: float, most: float
    ) -> None:
        text = after if isinstance(after, str) else after()

        def say(path: str, number: int) -> Answer:
            if path == "/" and number == 1:
                return Answer(status=status, headers={"Retry-After": text})
            return Answer(linked().encode()) if path == "/" else Answer(status=404)

        clock = Clock()
        with shop(say) as served:
            assert len(list(crawl(served.url, sleep=clock.sleep))) == 1
        assert served.paths == ["/robots.txt", "/", "/"]
        assert least <= clock.slept[2] <= most

    @pytest.mark.parametrize(("after", "times"), [("3600", 1), ("9" * 400, 1), ("0", polite.TRIES)])
    @pytest.mark.usefixtures("no_delay")
    def test_a_shop_that_stays_busy_is_left_alone(
        self, after: str, times: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        busy = Answer(status=503, headers={"Retry-After": after})
        with shop(pages({"/": b'<a href="/busy">', "/busy": busy})) as served:
            assert list(crawl(served.url)) == []
        assert served.paths.count("/busy") == times
        assert "the shop answers 503" in caplog.text

    @pytest.mark.usefixtures("no_delay")
    def test_a_shop_that_becomes_unreachable_ends_the_crawl(self) -> None:
        links = b"".join(b'<a href="/%d">' % number for number in range(9))

        def say(path: str, _: int) -> Answer:
            if path == "/":
                return Answer(linked().encode() + links)
            if path == "/robots.txt":
                return Answer(status=404)
            raise ConnectionAbortedError  # no answer

        with shop(say) as served:
            products = crawl(served.url)
            next(products)
            with pytest.raises(PipelineError, match="is unreachable: 3 pages in a row"):
                next(products)
        assert served.paths == ["/robots.txt", "/", "/0", "/1", "/2"]

    @pytest.mark.parametrize(
        ("answer", "complaint"),
        [
            (Answer(b"x" * (polite.MAX_BYTES + 1)), "larger than 1,000,000 bytes"),
            (
                Answer(b"{}", headers={"Content-Type": "application/json"}),
                "it is application/json, not text/html",
            ),
            (Answer(b"x", headers={"Content-Encoding": "gzip"}), "compressed"),
            (Answer(b"x", headers={"Content-Length": "9"}), "incomplete"),
            (Answer(b"gone", 410), "410"),
        ],
    )
    @pytest.mark.usefixtures("no_delay")
    def test_a_page_that_fails_is_reported_and_left_out(
        self, answer: Answer, complaint: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        found: Found = {
            "/": b'<a href="/bad"></a><a href="/good"></a>',
            "/bad": answer,
            "/good": linked().encode(),
        }
        with shop(pages(found)) as served:
            assert [product["url"] for product in crawl(served.url)] == [served.url + "good"]
            [line] = caplog.messages
            assert line.startswith(f"Left out: {served.url}bad: ")
            assert complaint in line

    @pytest.mark.usefixtures("no_delay")
    def test_a_page_that_drips_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(polite, "PAGE_SECONDS", 0.0)
        with shop(pages({"/": b"x"})) as served, pytest.raises(PipelineError, match="takes longer than"):
            list(crawl(served.url))

    @pytest.mark.parametrize(("charset", "header"), [("utf-8", False), ("euc-kr", False), ("euc-kr", True)])
    @pytest.mark.usefixtures("no_delay")
    def test_korean_in_any_charset(self, charset: str, header: bool) -> None:
        html = '<meta property="og:type" content="product"><meta property="og:title" content="패딩 자켓">'
        if not header:
            html = f'<meta charset="{charset}">' + html
        kind = f"text/html; charset={charset}" if header else "text/html"
        with shop(pages({"/": Answer(html.encode(charset), headers={"Content-Type": kind})})) as served:
            assert next(crawl(served.url))["name"] == "패딩 자켓"

    @pytest.mark.usefixtures("no_delay")
    def test_no_more_pages_than_the_limit(self, caplog: pytest.LogCaptureFixture) -> None:
        def endless(path: str, _: int) -> Answer:
            return Answer(status=404) if path == "/robots.txt" else Answer(b'<a href="%sx">' % path.encode())

        with shop(endless) as served:
            assert list(crawl(served.url, max_pages=5)) == []
        assert len(served.paths) == 6
        assert "Stopped after 5 pages, the limit; 1 more are known." in caplog.text

    @pytest.mark.parametrize("url", ["", "shop", "ftp://shop.test/", "http://", "http://["])
    def test_what_is_no_address(self, url: str) -> None:
        with pytest.raises(PipelineError, match="is not the address of a shop"):
            next(crawl(url))


class TestScript:
    def test_prints_a_product_a_line_and_stops_within_seconds(self, pipeline: Pipeline) -> None:
        found: Found = {
            "/robots.txt": b"User-agent: *\nCrawl-delay: 2",
            "/": linked(name="\x1b[2J").encode() + b'<a href="/a">',
            "/a": Answer(status=503, headers={"Retry-After": "30"}),
        }
        with shop(pages(found)) as served:
            running = pipeline.start("workshops/musinsa/crawler.py", "--url", served.url)
            running.wait_for_output(1)
            asked = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - asked < 5
        assert json.loads(running.stdout)["name"] == "\x1b[2J"
        assert "\x1b" not in running.stdout
        assert running.stderr == ""

    def test_an_unreachable_shop_is_one_line(self, pipeline: Pipeline) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        done = pipeline.run("workshops/musinsa/crawler.py", "--url", url)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        assert line.startswith("crawler.py: Nothing is crawled, as ")
        assert "connection refused. Is the shop up?" in line

    def test_help_and_bad_usage(self, pipeline: Pipeline) -> None:
        shown = pipeline.run("workshops/musinsa/crawler.py", "--help")
        assert (shown.returncode, "workshops.musinsa.crawler --url http" in shown.stdout) == (0, True)
        assert pipeline.run("workshops/musinsa/crawler.py", "--max-pages", "0").returncode == 2
