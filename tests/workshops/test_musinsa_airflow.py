"""The DAG in a real Airflow, which has a virtual environment of its own: it brings some 140 packages."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from kafka.admin import ConfigResource

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import admin_client, create_topics
from pipeline.local import PROJECT
from tests.integration.pipelines import Pipeline, Running, wait_until
from tests.workshops.shops import Answer, files, pages, shop
from workshops.musinsa.products import PublishedProduct

AIRFLOW_FOLDER = PROJECT / "workshops" / "musinsa" / "airflow"
VALID = [f"https://www.musinsa.com/products/{number}" for number in range(20001, 20006)]
TRIES = 3
RUN_SECONDS = 240.0

pytestmark = pytest.mark.only_in_full


@pytest.fixture(scope="session")
def airflow() -> Path:
    """The command `airflow`, of the version and with the packages that the Dockerfile names."""
    dockerfile = (AIRFLOW_FOLDER / "Dockerfile").read_text()
    [version] = re.findall(r"^FROM apache/airflow:([\d.]+)$", dockerfile, re.MULTILINE)
    packages = re.findall(r"[\w\[\]-]+==[\d.]+", dockerfile)
    folder = PROJECT / ".kafka" / f"airflow-{version}"
    done = folder / "installed"
    # Only these are pinned: what Airflow itself needs is as new as it allows.
    wanted = "\n".join([f"apache-airflow=={version}", *packages])
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *wanted.splitlines()], check=True)
        done.write_text(wanted)
    return folder / "bin" / "airflow"


@pytest.fixture(scope="module")
def home(airflow: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a run of the DAG, with an SQLite database of its own."""
    environment = {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_FOLDER / "dags"),
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run(
        [airflow, "db", "migrate"], env={**os.environ, **environment}, check=True, capture_output=True
    )
    return environment


@pytest.fixture
def trigger(airflow: Path, home: dict[str, str], pipeline: Pipeline) -> Callable[..., Running]:
    """A function that starts a run of the DAG."""

    def start(crawl_url: str, **environment: str) -> Running:
        command = (str(airflow), "dags", "test", "musinsa_kafka_dag")
        return pipeline.start(*command, CRAWL_URL=crawl_url, **{**home, **environment})

    return start


def end(run: Running) -> tuple[bool, str]:
    """Wait for the end of a run; return whether it succeeded and what it printed."""
    run.process.wait(RUN_SECONDS)
    return run.stop() == 0, run.stdout + run.stderr


def published(pipeline: Pipeline) -> list[str]:
    """Return the URLs of the products in the topic; every record must be a product."""
    records = pipeline.read(pipeline.prefix + "musinsa-products")
    return sorted(msgspec.json.decode(record.value, type=PublishedProduct).url for record in records)


def test_exactly_the_valid_products_are_published_also_after_a_run_that_failed(
    pipeline: Pipeline, trigger: Callable[..., Running]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        servers = f"localhost:{closed.getsockname()[1]}"
    with shop(files) as served:
        succeeded, said = end(trigger(served.url, KAFKA_BOOTSTRAP_SERVERS=servers))
        assert not succeeded
        assert said.count(f"PipelineError: No Kafka answers at {servers}") == TRIES

        for times in (1, 2):
            succeeded, said = end(trigger(served.url))
            assert succeeded, said
            assert published(pipeline) == sorted(VALID * times)
    assert "Not valid: https://www.musinsa.com/products/20006: Object missing required field `price`" in said
    assert "Valid: 5 of 6 products" in said
    assert "Published: 5, failed: 0" in said


def test_what_kafka_refuses_is_tried_again(pipeline: Pipeline, trigger: Callable[..., Running]) -> None:
    topic = pipeline.prefix + "musinsa-products"
    with admin_client(Cluster(pipeline.kafka.servers)) as admin, shop(files) as served:
        create_topics(admin, [topic], settings={"max.message.bytes": "10"})
        run = trigger(served.url)
        wait_until(lambda: "5 of 5 products were not published." in run.stdout + run.stderr, "it fails")
        admin.alter_configs([ConfigResource("TOPIC", topic, {"max.message.bytes": "1000000"})])
        succeeded, said = end(run)
    assert succeeded, said
    assert published(pipeline) == VALID


def test_a_shop_without_a_valid_product_fails_at_once(
    pipeline: Pipeline, trigger: Callable[..., Running]
) -> None:
    with shop(pages({"/": b'<meta property="og:type" content="product">'})) as served:
        succeeded, said = end(trigger(served.url))
    assert not succeeded
    assert said.count("AirflowFailException: None of 1 products is valid.") == 1


def test_an_unreachable_shop_fails_in_words(pipeline: Pipeline, trigger: Callable[..., Running]) -> None:
    with shop(pages({"/robots.txt": Answer(status=403)})) as served:
        succeeded, said = end(trigger(served.url))
    assert not succeeded
    assert said.count(f"PipelineError: Nothing is crawled, as {served.url}robots.txt can't be read") == TRIES
