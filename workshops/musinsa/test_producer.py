"""Tests the producer: sends two products one by one, and three more together."""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from contextlib import suppress
from typing import Any

from pipeline.cli.options import option_parser
from pipeline.cli.process import PipelineError, Stop, Stopped
from pipeline.client.errors import run_kafka_script
from workshops.musinsa.producer import connect, publish_products

EXAMPLES = """
    python -m workshops.musinsa.test_producer
    python -m workshops.musinsa.test_producer --bootstrap-servers localhost:9292
"""


def product(number: int, name: str, brand: str, price: int, category: str) -> dict[str, Any]:
    """Return a product as the crawler does."""
    return {
        "url": f"https://www.musinsa.com/products/{number}",
        "name": name,
        "brand": brand,
        "price": price,
        "category": category,
        "image_url": f"https://www.musinsa.com/images/{number}.jpg",
    }


ONE_BY_ONE = [
    product(12345, "테스트 패딩 자켓 - 블랙", "테스트 브랜드", 129_000, "아우터"),
    product(12346, "테스트 맨투맨 - 그레이", "테스트 브랜드", 49_000, "상의"),
]
TOGETHER = [
    product(12347, "테스트 후드 집업 - 네이비", "테스트 브랜드", 69_000, "상의"),
    product(12348, "테스트 데님 팬츠 - 인디고", "테스트 브랜드", 79_000, "하의"),
    product(12349, "테스트 스니커즈 - 화이트", "테스트 브랜드", 89_000, "신발"),
]


def main() -> None:
    """Publish in both ways."""
    cluster = option_parser(__doc__, EXAMPLES).parse_args().cluster
    stop = Stop()
    failed = 0
    with connect(cluster, stop) as producer:
        print("📦 방법 1: ProductProducer 클래스")
        for number, one in enumerate(ONE_BY_ONE, start=1):
            succeeded = producer.publish(one)
            failed += not succeeded
            print(f"    [{number}] {one['name']} → {'✅ 성공' if succeeded else '❌ 실패'}", flush=True)
            if stop.requested:
                break
    if not stop.requested:
        print()
        print("📦 방법 2: publish_products() 함수", flush=True)
        with suppress(Stopped):  # while connecting; then it has sent nothing
            published = publish_products(TOGETHER, cluster, stop)
            print(f"    결과: 성공 {published.succeeded}, 실패 {published.failed}")
            failed += published.failed
    if failed:
        raise PipelineError(f"{failed} products were not published.")


if __name__ == "__main__":
    run_kafka_script(main)
