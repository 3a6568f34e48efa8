"""The two services in which the musinsa workshop stores products, as its tests use them."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaAdminClient
from opensearchpy import OpenSearch
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.client.admin import topic_id
from pipeline.local.opensearch import LocalOpenSearch
from pipeline.local.postgres import LocalPostgres
from tests.integration.pipelines import PATIENCE_SECONDS, Pipeline, Running, wait_until

SLOWEST_RECORDS_A_SECOND = 100  # OpenSearch does 460 on two quiet cores


class Service(ABC):
    """A real PostgreSQL or OpenSearch, and the consumer that stores in it."""

    name: str
    script: str
    group: str  # behind the topic's name
    printed_for_each: str

    def __init__(self) -> None:
        # Not below pytest's own folder: PostgreSQL runs as another user where the tests run as root.
        self._home = Path(tempfile.mkdtemp(prefix="kafka-workshop-"))
        self._home.chmod(0o755)

    def remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def consumer(self, pipeline: Pipeline, *options: str) -> Running:
        """Start the consumer of this service."""
        return pipeline.start(f"workshops/musinsa/{self.script}", *options, **self.environment)

    def wait_until_done(self, pipeline: Pipeline, topic: str, records: int) -> None:
        """Wait until so many records of a topic are done: stored, or dead letters."""
        seconds = max(PATIENCE_SECONDS, records / SLOWEST_RECORDS_A_SECOND)
        wait_until(lambda: self.done(pipeline, topic) == records, f"{records} records done", seconds)

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variable that names its address to the consumer."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def kill(self) -> None:
        """Kill it with SIGKILL."""

    @abstractmethod
    def done(self, pipeline: Pipeline, topic: str) -> int:
        """Return how many records of a topic are recorded as done."""

    @abstractmethod
    def stored(self, topic: str, identity: str) -> dict[str, Mapping[str, Any]]:
        """Return what is stored of a topic, by the identity of each entry."""


class Postgres(Service):
    name, script, group = "PostgreSQL", "consumer_postgres.py", "-postgres"
    printed_for_each = "✅ 처리 완료"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.server = LocalPostgres(port, self._home)

    @property
    def environment(self) -> dict[str, str]:
        return {"POSTGRES_DSN": self.server.dsn}

    def start(self) -> None:
        self.server.start()

    def kill(self) -> None:
        self.server.stop("immediate")

    def query(self, statement: sql.Composed | sql.SQL, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.server.dsn, row_factory=dict_row) as connection:
            return connection.execute(statement, values).fetchall()

    def drop(self, topic: str) -> None:
        with psycopg.connect(self.server.dsn) as connection:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(topic.replace("-", "_"))))

    def done(self, pipeline: Pipeline, topic: str) -> int:
        if not self.query(sql.SQL("SELECT 1 FROM pg_tables WHERE tablename = 'kafka_offsets'")):
            return 0
        with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
            current = topic_id(admin, topic)
        rows = self.query(
            sql.SQL("SELECT next_offset FROM kafka_offsets WHERE consumer_group = %s AND topic_id = %s"),
            topic + self.group,
            current,
        )
        return sum(row["next_offset"] for row in rows)

    def stored(self, topic: str, identity: str) -> dict[str, Mapping[str, Any]]:
        rows = self.query(sql.SQL("SELECT * FROM {}").format(sql.Identifier(topic.replace("-", "_"))))
        return {str(row[identity]): row for row in rows}


class Search(Service):
    name, script, group = "OpenSearch", "consumer_opensearch.py", "-opensearch"
    printed_for_each = "🔍 OpenSearch created"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.server = LocalOpenSearch(port, self._home)
        self.client = OpenSearch([self.server.url], max_retries=0)

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENSEARCH_URL": self.server.url}

    def start(self) -> None:
        self.server.start()

    def kill(self) -> None:
        process = self.server.service.running
        assert process
        process.kill()
        process.wait(10)

    def done(self, pipeline: Pipeline, topic: str) -> int:
        with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
            [offsets] = admin.list_group_offsets([topic + self.group]).values()
        return sum(committed.offset for committed in offsets.values())

    def drop(self, topic: str) -> None:
        self.client.indices.delete(index=f"{topic}-1")

    def stored(self, topic: str, identity: str) -> dict[str, Mapping[str, Any]]:
        self.client.indices.refresh(index=topic)
        found = self.client.search(index=topic, body={"size": 10_000, "query": {"match_all": {}}})
        documents = {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}
        assert all(document[identity] == key for key, document in documents.items())
        return documents
