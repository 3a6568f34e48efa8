"""What the scripts of this workshop share: names, and where the services are."""

import os

from pipeline.connection import PREFIX

PRODUCTS = PREFIX + "musinsa-products"
PARTITIONS = 3

CRAWL_URL = os.environ.get("CRAWL_URL") or "http://localhost:8000/"
POSTGRES = os.environ.get("POSTGRES_DSN") or "postgresql://postgres:workshop@localhost:5432/postgres"
OPENSEARCH = os.environ.get("OPENSEARCH_URL") or "http://localhost:9200"


def dlq_of(topic: str) -> str:
    """Name the topic for what can't be stored of another one, such as musinsa-products-dlq."""
    return f"{topic}-dlq"
