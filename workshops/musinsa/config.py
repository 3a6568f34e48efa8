"""What the scripts of this workshop share: names, and the addresses of the services."""

import os

from pipeline.topics import TOPIC_PREFIX

PRODUCTS = TOPIC_PREFIX + "musinsa-products"
PARTITIONS = 3

CRAWL_URL = os.environ.get("CRAWL_URL") or "http://localhost:8000/"
POSTGRES = os.environ.get("POSTGRES_DSN") or "postgresql://postgres:workshop@localhost:5432/postgres"
OPENSEARCH = os.environ.get("OPENSEARCH_URL") or "http://localhost:9200"


def dlq_of(topic: str) -> str:
    """Return the dead letter topic of a topic, such as musinsa-products-dlq."""
    return f"{topic}-dlq"
