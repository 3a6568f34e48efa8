"""The DAG in a real Airflow, in a virtual environment of its own: Airflow pins much that the project does not."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.broker import PROJECT
from pipeline.connection import admin_client, create_topics
from tests.integration.pipelines import Pipeline, Running, wait_until
from tests.workshops.shops import Answer, TestShop, files, pages, shop
from workshops.musinsa.products import PublishedProduct

AIRFLOW_FOLDER = PROJECT / "workshops" / "musinsa" / "airflow"
DAG = "musinsa_kafka_dag"
VALID = [f"https://www.musinsa.com/products/{number}" for number in range(20001, 20006)]
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
    wanted = "\n".join([f"apache-airflow=={version}", *packages])
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted.splitlines()], check=True)
        done.write_text(wanted)
    return folder / "bin" / "airflow"


class Airflow:
    """An Airflow with a home and a database of its own."""

    def __init__(self, command: Path, home: Path, pipeline: Pipeline) -> None:
        self._command = str(command)
        self._pipeline = pipeline
        self._environment = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_FOLDER / "dags"),
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        migrated = pipeline.run(self._command, "db", "migrate", **self._environment)
        assert migrated.returncode == 0, migrated.stderr

    def start(self, crawl_url: str, **environment: str) -> Running:
        """Begin a run of the DAG."""
        return self._pipeline.start(
            self._command, "dags", "test", DAG, **self._environment, CRAWL_URL=crawl_url, **environment
        )


def end(run: Running) -> tuple[int, str]:
    """Wait for the end of a run; give its exit code and what it said."""
    run.process.wait(RUN_SECONDS)
    code = run.stop()
    return code, run.stdout + run.stderr
