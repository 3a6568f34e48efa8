"""Stores products in OpenSearch: one document a product, its URL as id, in its newest state.

A document's version is the offset of its record. So records that are stored twice, by this consumer or by one
that was taken for dead, do no harm: an older state never replaces a newer one.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import msgspec
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata
from opensearchpy import ConnectionError as NoConnectionError
from opensearchpy import OpenSearch, OpenSearchException, RequestError, TransportError

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.errors import run_kafka_script
from pipeline.text import printable
from workshops.musinsa.config import OPENSEARCH
from workshops.musinsa.consumer import (
    Batch,
    StoringConsumer,
    UnreachableError,
    consumer_parser,
    dlq_line,
)
from workshops.musinsa.kinds import UnstorableError, decode
from workshops.musinsa.letters import Letter

COMMIT_EVERY = 10
REQUEST_SECONDS = 10
PARTITION_FIELD = "kafka_partition"
NEWER_EXISTS = "version_conflict_engine_exception"
DOCUMENT_ERRORS = (
    NEWER_EXISTS,
    "illegal_argument_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
)
INDEX_EXISTS = "resource_already_exists_exception"
MAX_REASON = 200
REFUSED_STATUSES = (400, 401, 403)  # of a whole request: another attempt would be refused, too
EXAMPLES = """
    python -m workshops.musinsa.consumer_opensearch
    python -m workshops.musinsa.consumer_opensearch --topic analytics-events
"""


class OpenSearchConsumer(StoringConsumer):
    """Stores records as documents of an index with the topic's name."""

    service = "OpenSearch"

    def __init__(
        self, cluster: Cluster, topic: str, group: str, stop: Stop, metrics_port: int | None, url: str
    ) -> None:
        """Prepare; open() connects to OpenSearch.

        Args:
            cluster: where Kafka is, and how to connect.
            topic: one of KINDS.
            group: the consumer group.
            stop: ends run().
            metrics_port: of --metrics-port.
            url: OpenSearch's address.
        """
        super().__init__(cluster, topic, group, stop, metrics_port)
        self._client = OpenSearch([url], timeout=REQUEST_SECONDS, max_retries=0)
        self._ready = False
        self._stored = 0  # since the last commit
        self._uncommitted: dict[TopicPartition, OffsetAndMetadata] = {}

    @property
    def batch_records(self) -> int:
        """The number of records up to the next commit."""
        return COMMIT_EVERY - self._stored

    def open(self) -> None:
        """Create the index where it is missing."""
        if self._ready:
            return
        with _opensearch_errors():
            if not self._client.indices.exists(index=self.topic):
                if self.has_read():
                    raise PipelineError(
                        f"There is no index {self.topic}, but the group {self.group} has read the topic. "
                        "Start this with another --group, and it fills the index from the first record on."
                    )
                self._make_index()
            [found] = self._client.indices.get_mapping(index=self.topic).values()
        made_for = found["mappings"].get("_meta", {}).get("topic_id")
        if made_for is None:
            raise PipelineError(f"The index {self.topic} was not created by this consumer. Delete it.")
        if made_for != self.topic_id:
            raise PipelineError(
                f"The index {self.topic} was filled from another topic of that name, deleted since: its "
                "versions are offsets of that topic. "
                f"Delete {self.topic}-1, and start this with another --group."
            )
        self._ready = True

    def close(self) -> None:
        """Check the index again at the next open()."""
        self._ready = False

    def drop_positions(self) -> None:
        """Commit nothing in partitions that others may have continued with."""
        super().drop_positions()
        self._stored = 0
        self._uncommitted.clear()

    def next_offset(self, partition: TopicPartition) -> int:
        """Ask Kafka for the committed offset."""
        return self.consumer.committed(partition, timeout_ms=REQUEST_SECONDS * 1000) or 0

    def store(self, batch: Batch) -> None:
        """Send documents in one bulk request; commit when ten records are done."""
        lines: list[str] = []
        letters: list[Letter] = []
        documents: list[tuple[ConsumerRecord, dict[str, Any]]] = []
        for record in chain.from_iterable(batch.values()):
            try:
                documents.append((record, msgspec.to_builtins(decode(self.kind, record.value))))
            except UnstorableError as error:
                letters.append((record, error))
        for record, document, answer in self._index(documents):
            identity = document[self.kind.identity]
            if answer["status"] < 300:
                lines.append(f"    🔍 OpenSearch {answer['result']}: {printable(identity)}")
            elif answer["error"]["type"] == NEWER_EXISTS and self._comparable(identity, record):
                lines.append(f"    🔍 OpenSearch has a newer state: {printable(identity)}")
            else:
                letters.append((record, UnstorableError(_describe(answer["error"]))))
        # Before the commit: after a kill in between, a letter is sent a second time, but none is missing.
        self.dead_letter(letters)
        self.print_later([*lines, *(dlq_line(*letter) for letter in letters)])
        for partition, records in batch.items():
            self._uncommitted[partition] = OffsetAndMetadata(records[-1].offset + 1)
            self._stored += len(records)
        if self._stored >= COMMIT_EVERY:
            self._commit()

    def idle(self) -> None:
        """Commit what is stored and not committed yet."""
        if self._uncommitted:
            self._commit()

    def _commit(self) -> None:
        self.consumer.commit(self._uncommitted, timeout_ms=REQUEST_SECONDS * 1000)
        self.print_later([f"    📝 오프셋 커밋: {self._stored}건 처리됨"])
        self._stored = 0
        self._uncommitted.clear()

    def _index(
        self, documents: list[tuple[ConsumerRecord, dict[str, Any]]]
    ) -> list[tuple[ConsumerRecord, dict[str, Any], dict[str, Any]]]:
        """Send documents; return each with OpenSearch's answer."""
        if not documents:
            return []
        lines: list[dict[str, Any]] = []
        for record, document in documents:
            lines.append({
                "index": {
                    "_index": self.topic,
                    "_id": document[self.kind.identity],
                    "version": record.offset,
                    # Or equal: what is sent again is not a conflict.
                    "version_type": "external_gte",
                }
            })  # fmt: skip
            lines.append({**document, PARTITION_FIELD: record.partition})
        with _opensearch_errors():
            items = self._client.bulk(body=lines, params={"require_alias": "true"})["items"]
        answers = [item["index"] for item in items]
        for answer in answers:
            if answer["status"] >= 300 and answer["error"]["type"] not in DOCUMENT_ERRORS:
                raise UnreachableError(
                    _describe(answer["error"])
                )  # not about this document: a full disk, a lost shard
        return [(*document, answer) for document, answer in zip(documents, answers, strict=True)]

    def _comparable(self, identity: str, record: ConsumerRecord) -> bool:
        """Return whether the newer document is of the same partition: only there offsets can be compared."""
        with _opensearch_errors():
            found = self._client.get(index=self.topic, id=identity, _source_includes=[PARTITION_FIELD])
        return bool(found["_source"].get(PARTITION_FIELD) == record.partition)

    def _make_index(self) -> None:
        fields = {name: {"type": field.opensearch} for name, field in self.kind.fields.items()}
        body = {
            # Under an alias, as only an alias can be required: an index that is deleted while we write would
            # be created again by the next write, without earlier documents and with types that OpenSearch
            # guesses.
            "aliases": {self.topic: {}},
            "settings": {"number_of_replicas": 0},
            "mappings": {
                "dynamic": "strict",
                "_meta": {"topic_id": self.topic_id},
                "properties": {**fields, PARTITION_FIELD: {"type": "integer"}},
            },
        }
        try:
            self._client.indices.create(index=f"{self.topic}-1", body=body)
        except RequestError as error:
            if error.error != INDEX_EXISTS:  # another consumer was faster
                raise


@contextmanager
def _opensearch_errors() -> Iterator[None]:
    try:
        yield
    except NoConnectionError as error:
        raise UnreachableError(f"no connection: {error.error}") from error
    except TransportError as error:
        if error.status_code in REFUSED_STATUSES:
            raise PipelineError(f"OpenSearch refused: {error.error}") from error
        raise UnreachableError(f"{error.status_code} {error.error}") from error
    except OpenSearchException as error:  # what answers is not OpenSearch
        raise PipelineError(f"OpenSearch can't be used: {error}") from error


def _describe(error: Mapping[str, Any]) -> str:
    reason = f"{error['type']}: {error['reason']}"
    return reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not an address such as http://localhost:9200")


def main() -> None:
    """Store until a stop is requested."""
    parser = consumer_parser(__doc__, EXAMPLES, "opensearch")
    parser.add_argument(
        "--url",
        type=_url,
        default=OPENSEARCH,
        help="OpenSearch's address (default: $OPENSEARCH_URL, else %(default)s)",
    )
    options = parser.parse_args()
    group = options.group or f"{options.topic}-opensearch"
    consumer = OpenSearchConsumer(
        options.cluster, options.topic, group, Stop(), options.metrics_port, options.url
    )
    log.info(f"Storing {options.topic} at {options.cluster} in OpenSearch; Ctrl-C to stop.")
    print("🔍 OpenSearch Consumer:", flush=True)
    consumer.run()


if __name__ == "__main__":
    run_kafka_script(main)
