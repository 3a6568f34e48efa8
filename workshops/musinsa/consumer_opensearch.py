"""Stores products in OpenSearch: one document a product, its URL as id, in its newest state.

A document's version is the offset of the record that it was made of. So it does no harm when records are
stored twice, by this consumer or by one that was thought dead: an older state never replaces a newer one.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata
from opensearchpy import ConnectionError as NoConnectionError
from opensearchpy import OpenSearch, OpenSearchException, RequestError, TransportError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.process import PipelineError, Stop, run
from pipeline.status import say
from pipeline.text import printable
from workshops.musinsa.config import OPENSEARCH
from workshops.musinsa.consumer import (
    AwayError,
    Batch,
    Letter,
    StoringConsumer,
    buried_line,
    consumer_parser,
)
from workshops.musinsa.kinds import UnstorableError, decode

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
REFUSALS = (400, 401, 403)  # of a whole request: trying again would be refused again
EXAMPLES = """
    python3 workshops/musinsa/consumer_opensearch.py
    python3 workshops/musinsa/consumer_opensearch.py --topic analytics-events
"""

logging.getLogger("opensearch").setLevel(logging.CRITICAL)  # we say in one line what it says in many


class OpenSearchConsumer(StoringConsumer):
    """Stores records as documents of an index with the topic's name."""

    service = "OpenSearch"

    def __init__(self, servers: str, topic: str, group: str, stop: Stop, url: str) -> None:
        """Prepare; open() connects to OpenSearch.

        Args:
            servers: bootstrap servers of Kafka.
            topic: one of KINDS.
            group: the consumer group.
            stop: ends run().
            url: OpenSearch's address.
        """
        super().__init__(servers, topic, group, stop)
        self._client = OpenSearch([url], timeout=REQUEST_SECONDS, max_retries=0)
        self._ready = False
        self._stored = 0  # since the last commit
        self._uncommitted: dict[TopicPartition, OffsetAndMetadata] = {}

    @property
    def batch_records(self) -> int:
        """Those that are missing to the next commit."""
        return COMMIT_EVERY - self._stored

    def open(self) -> None:
        """Make the index where it is missing."""
        if self._ready:
            return
        with _told_by_opensearch():
            if not self._client.indices.exists(index=self.topic):
                if self.has_read():
                    raise PipelineError(
                        f"There is no index {self.topic}, but the group {self.group} has read of the topic. "
                        "Start this with another --group, and it fills the index from the first record on."
                    )
                self._make_index()
            [found] = self._client.indices.get_mapping(index=self.topic).values()
        made_for = found["mappings"].get("_meta", {}).get("topic_id")
        if made_for is None:
            raise PipelineError(f"The index {self.topic} was not made by this consumer. Delete it.")
        if made_for != self.topic_id:
            raise PipelineError(
                f"The index {self.topic} was made from another topic of that name, deleted since: its "
                "versions are offsets of that one. "
                f"Delete {self.topic}-1, and start this with another --group."
            )
        self._ready = True

    def close(self) -> None:
        """Look at the index once more at the next open()."""
        self._ready = False

    def forget(self) -> None:
        """Commit nothing of what others may have gone on with."""
        super().forget()
        self._stored = 0
        self._uncommitted.clear()

    def next_offset(self, partition: TopicPartition) -> int:
        """Ask Kafka where to go on."""
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
                letters.append((record, UnstorableError(_told(answer["error"]))))
        # Before the commit: killed in between, a letter is sent a second time, but none is missing.
        self.bury(letters)
        self.tell([*lines, *(buried_line(*letter) for letter in letters)])
        for partition, records in batch.items():
            self._uncommitted[partition] = OffsetAndMetadata(records[-1].offset + 1)
            self._stored += len(records)
        if self._stored >= COMMIT_EVERY:
            self._commit()

    def rest(self) -> None:
        """Commit what is stored and not committed yet."""
        if self._uncommitted:
            self._commit()

    def _commit(self) -> None:
        self.consumer.commit(self._uncommitted, timeout_ms=REQUEST_SECONDS * 1000)
        self.tell([f"    📝 오프셋 커밋: {self._stored}건 처리됨"])
        self._stored = 0
        self._uncommitted.clear()

    def _index(
        self, documents: list[tuple[ConsumerRecord, dict[str, Any]]]
    ) -> list[tuple[ConsumerRecord, dict[str, Any], dict[str, Any]]]:
        """Send documents; give back with each what OpenSearch made of it."""
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
        with _told_by_opensearch():
            items = self._client.bulk(body=lines, params={"require_alias": "true"})["items"]
        answers = [item["index"] for item in items]
        for answer in answers:
            if answer["status"] >= 300 and answer["error"]["type"] not in DOCUMENT_ERRORS:
                raise AwayError(_told(answer["error"]))  # not about this document: a full disk, a lost shard
        return [(*document, answer) for document, answer in zip(documents, answers, strict=True)]

    def _comparable(self, identity: str, record: ConsumerRecord) -> bool:
        """Tell whether the newer document comes from the same partition; only there offsets tell the age."""
        with _told_by_opensearch():
            found = self._client.get(index=self.topic, id=identity, _source_includes=[PARTITION_FIELD])
        return bool(found["_source"].get(PARTITION_FIELD) == record.partition)

    def _make_index(self) -> None:
        fields = {name: {"type": field.opensearch} for name, field in self.kind.fields.items()}
        body = {
            # Under an alias, as only an alias can be required: an index that is deleted while we write would
            # come back by itself, without its earlier documents and with types that OpenSearch guesses.
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
def _told_by_opensearch() -> Iterator[None]:
    try:
        yield
    except NoConnectionError as error:
        raise AwayError(f"no connection: {error.error}") from error
    except TransportError as error:
        if error.status_code in REFUSALS:
            raise PipelineError(f"OpenSearch refused: {error.error}") from error
        raise AwayError(f"{error.status_code} {error.error}") from error
    except OpenSearchException as error:  # what answers is not OpenSearch
        raise PipelineError(f"OpenSearch can't be used: {error}") from error


def _told(error: Mapping[str, Any]) -> str:
    told = f"{error['type']}: {error['reason']}"
    return told if len(told) <= MAX_REASON else f"{told[:MAX_REASON]}…"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not an address such as http://localhost:9200")


def main() -> None:
    """Store until told to stop."""
    parser = consumer_parser(__doc__, EXAMPLES, "opensearch")
    parser.add_argument(
        "--url",
        type=_url,
        default=OPENSEARCH,
        help="OpenSearch's address (default: $OPENSEARCH_URL, else %(default)s)",
    )
    options = parser.parse_args()
    group = options.group or f"{options.topic}-opensearch"
    consumer = OpenSearchConsumer(options.bootstrap_servers, options.topic, group, Stop(), options.url)
    say(f"Storing {options.topic} at {options.bootstrap_servers} in OpenSearch; Ctrl-C to stop.")
    print("🔍 OpenSearch Consumer:", flush=True)
    consumer.run()


if __name__ == "__main__":
    run(main)
