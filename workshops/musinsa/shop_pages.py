"""Parses a shop's page: its product and its links. Pure: reads HTML, knows no network.

A shop's page has its product twice: for people, and for search engines and messengers, as JSON-LD (schema.org
Product) or OpenGraph tags. The latter are read here: they stay the same when the shop gets a new design.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urldefrag, urljoin

import msgspec
import requests
from bs4 import BeautifulSoup

CURRENCY = "KRW"
DIGITS = re.compile(r"(\d{1,12}|\d{1,3}(,\d{3}){1,3})(\.0+)?")


def parse_product(html: str, url: str) -> dict[str, Any] | None:
    """Return the product that a page shows, as far as it shows one: products.py checks it.

    Args:
        html: the page.
        url: the page's address; the product has the same one, unless the page names another.

    Returns:
        The fields that were found; None where the page shows no product.
    """
    page = BeautifulSoup(html, "lxml")
    tags = _tags(page)
    linked = next(_linked_products(page), {})
    if not linked and not tags.get("og:type", "").startswith("product"):
        return None

    offer = _first(linked.get("offers"))
    offer = offer if isinstance(offer, dict) else {}
    price = offer.get("price", offer.get("lowPrice", tags.get("product:price:amount")))
    currency = offer.get("priceCurrency") or tags.get("product:price:currency")
    image = _part(linked.get("image"), "url") or tags.get("og:image")
    fields = {
        "url": _canonical(page, tags, url),
        "name": _text(linked.get("name") or tags.get("og:title")),
        "brand": _text(_part(linked.get("brand"), "name") or tags.get("product:brand")),
        "price": _won(price, currency),
        "category": _text(_first(linked.get("category")) or tags.get("product:category")),
        "image_url": absolute(url, image) if isinstance(image, str) else image,
    }
    return {name: value for name, value in fields.items() if value is not None}


def parse_links(html: str, url: str) -> list[str]:
    """Return the addresses that a page links to, each once, in their order.

    Args:
        html: the page.
        url: the page's address.
    """
    links = BeautifulSoup(html, "lxml").find_all("a", href=True)
    found = (absolute(url, str(link["href"])) for link in links)
    return list(dict.fromkeys(address for address in found if address))


def absolute(base: str, reference: str) -> str | None:
    """Return an address in full and always in the same spelling, without its #fragment.

    Args:
        base: the address of the page.
        reference: the address as the page has it.

    Returns:
        The address; None where it is broken, or not of the web, such as mailto:.
    """
    try:
        joined = urldefrag(urljoin(base, reference.strip())).url
        address = requests.Request("GET", joined).prepare().url
    except ValueError:  # requests raises ValueErrors for an address, too
        return None
    return address if address and address.startswith(("http://", "https://")) else None


def _tags(page: BeautifulSoup) -> dict[str, str]:
    """Return the OpenGraph tags; of two with the same name, the first."""
    tags: dict[str, str] = {}
    for tag in page.find_all("meta", property=True, content=True):
        tags.setdefault(str(tag["property"]), str(tag["content"]))
    return tags


def _linked_products(page: BeautifulSoup) -> Iterator[dict[str, Any]]:
    for script in page.find_all("script", type="application/ld+json"):
        try:
            content = msgspec.json.decode(script.get_text())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue  # a page may have several scripts; the others may be valid
        things = content.get("@graph", content) if isinstance(content, dict) else content
        for thing in things if isinstance(things, list) else [things]:
            if isinstance(thing, dict) and "Product" in _as_list(thing.get("@type")):
                yield thing


def _canonical(page: BeautifulSoup, tags: dict[str, str], url: str) -> str:
    link = page.find("link", rel="canonical", href=True)
    named = str(link["href"]) if link else tags.get("og:url", "")
    return absolute(url, named) or url


def _won(price: object, currency: object) -> object:
    """Return a price as a number; one that can't be parsed stays as it is, so that the check reports it."""
    if currency and currency != CURRENCY:
        return f"{price} {currency}"
    if isinstance(price, float) and price.is_integer():
        return int(price)
    if isinstance(price, str) and DIGITS.fullmatch(price.strip()):
        return int(price.strip().replace(",", "").partition(".")[0])
    return price


def _text(value: object) -> object:
    """Return a text with single spaces, as a browser shows it."""
    return " ".join(value.split()) if isinstance(value, str) else value


def _part(value: object, name: str) -> object:
    """Return a thing's name or address: JSON-LD allows the thing, its name alone, or a list of either."""
    thing = _first(value)
    return thing.get(name) if isinstance(thing, dict) else thing


def _first(value: object) -> object:
    return next(iter(_as_list(value)), None)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
