"""Reads a shop and prints its products, one JSON object a line.

It starts at one page and follows the links on the same server. It obeys the shop's robots.txt, identifies
itself, and pauses between two pages. A page that can't be read is reported on stderr and left out.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import argparse
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from pipeline.cli.options import whole_number
from pipeline.cli.process import PipelineError, Stop, Stopped, run
from pipeline.cli.status import add_log_level, log
from pipeline.text import json_text, printable
from workshops.musinsa.config import CRAWL_URL
from workshops.musinsa.shop import MovedError, PageError, Shop, SilentError, Sleep
from workshops.musinsa.shop_pages import absolute, parse_links, parse_product
from workshops.musinsa.stopping import Patience

MAX_PAGES = 100
MAX_LINKS = 1000  # of one page
SILENT_PAGES = 3  # in a row: the shop is unreachable
EXAMPLES = """
examples:
  python -m workshops.musinsa.crawler
  python -m workshops.musinsa.crawler --url http://localhost:8000/ --max-pages 5 | jq .name

the workshop's own shop, in another terminal:
  python3 -m http.server 8000 --bind 127.0.0.1 --directory workshops/musinsa/site
"""


def crawl(start_url: str, max_pages: int = MAX_PAGES, sleep: Sleep = time.sleep) -> Iterator[dict[str, Any]]:
    """Return the products of a shop, page by page, as its pages show them: unchecked.

    Args:
        start_url: the first page.
        max_pages: the largest number of pages to request.
        sleep: waits so many seconds; what it raises ends the crawl.

    Raises:
        PipelineError: the shop is unreachable or forbids crawling, or the first page can't be read.
    """
    start = absolute(start_url, "")
    if not start:
        raise PipelineError(f"{start_url} is not the address of a shop, such as http://localhost:8000/")
    shop = Shop(start, sleep)
    waiting, known = deque([start]), {start}
    asked = silent = 0
    while waiting and asked < max_pages:
        url = waiting.popleft()
        try:
            if not shop.allows(url):
                raise PageError("robots.txt forbids it")
            asked += 1
            html = shop.page(url)
        except MovedError as moved:
            links = [moved.target]
        except PageError as error:
            if url == start:
                raise PipelineError(f"Nothing is crawled, as {start} can't be read: {error}") from error
            log.warning(printable(f"Left out: {url}: {error}"))
            silent = silent + 1 if isinstance(error, SilentError) else 0
            if silent == SILENT_PAGES:
                raise PipelineError(
                    f"The shop at {start} is unreachable: {silent} pages in a row failed."
                ) from error
            continue
        else:
            silent = 0
            if product := parse_product(html, url):
                yield product
            links = parse_links(html, url)[:MAX_LINKS]
        new = [link for link in links if link not in known and shop.has(link)]
        known.update(new)
        waiting.extend(new)
    if waiting:
        log.info(f"Stopped after {asked} pages, the limit; {len(waiting)} more are known.")


def main() -> None:
    """Print each product as it is found, until all is read or Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default=CRAWL_URL, help="the page to start with (default: %(default)s)")
    parser.add_argument(
        "--max-pages",
        type=whole_number(1),
        default=MAX_PAGES,
        metavar="N",
        help="request at most so many pages (default: %(default)s)",
    )
    add_log_level(parser)
    options = parser.parse_args()
    stop = Stop()

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise Stopped

    patience = Patience(stop)  # a slow answer of the shop is not waited for
    products = crawl(options.url, options.max_pages, sleep)
    while product := patience.call(lambda: next(products, None)):
        print(json_text(product), flush=True)


if __name__ == "__main__":
    run(main)
