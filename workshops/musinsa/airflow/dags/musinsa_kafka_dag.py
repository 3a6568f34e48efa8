"""musinsa_kafka_dag: reads the shop, checks its products and sends them to Kafka (Airflow 3).

Airflow's environment says where: CRAWL_URL and KAFKA_BOOTSTRAP_SERVERS. The tasks call what the workshop's
scripts call, so PYTHONPATH must name the project's folder.
"""

import logging
from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from pipeline.cli.options import choose_cluster
from pipeline.cli.process import PipelineError
from workshops.musinsa.config import CRAWL_URL
from workshops.musinsa.crawler import crawl
from workshops.musinsa.producer import publish_products
from workshops.musinsa.products import check

# Not getLogger(__name__): Airflow gives the module a name that it makes up.
log = logging.getLogger("airflow.task.musinsa")


@task(execution_timeout=timedelta(minutes=30))  # MAX_PAGES at MAX_DELAY take less
def crawl_task() -> list[dict[str, Any]]:
    """Read the shop."""
    products = list(crawl(CRAWL_URL))
    log.info("Crawled %s: %d products", CRAWL_URL, len(products))
    return products


@task
def validate_task(products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep what is a product, and say of the rest why it is none.

    Raises:
        AirflowFailException: nothing is left; to check the same once more would not help.
    """
    valid = []
    for product in products:
        try:
            valid.append(msgspec.to_builtins(check(product)))
        except msgspec.ValidationError as error:
            log.warning("Not valid: %s: %s", product.get("url"), error)
    log.info("Valid: %d of %d products", len(valid), len(products))
    if not valid:
        raise AirflowFailException(f"None of {len(products)} products is valid.")
    return valid


@task
def publish_kafka_task(products: list[dict[str, Any]]) -> None:
    """Send the products to Kafka.

    Raises:
        PipelineError: Kafka does not have all of them. Airflow tries again, and may send a product twice; the
            consumers store it under its URL, so it is there once.
    """
    published = publish_products(products, choose_cluster())
    log.info("Published: %d, failed: %d", published.succeeded, published.failed)
    if published.failed:
        raise PipelineError(f"{published.failed} of {len(products)} products were not published.")


@dag(
    schedule=None,  # it runs when somebody triggers it
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["kafka-workshop"],
    doc_md=__doc__,
)
def musinsa_kafka_dag() -> None:
    """Crawl, validate, publish."""
    publish_kafka_task(validate_task(crawl_task()))


musinsa_kafka_dag()
