"""Stores products in PostgreSQL: the newest state of each, whatever fails when.

The rows and the offsets of a batch are written in one database transaction. So the database has the true
offsets; those that Kafka keeps for the group are for monitoring only.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import psycopg
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.errors import run_kafka_script
from pipeline.text import printable
from workshops.musinsa.config import POSTGRES
from workshops.musinsa.consumer import (
    Batch,
    OvertakenError,
    StoringConsumer,
    UnreachableError,
    consumer_parser,
    dlq_line,
)
from workshops.musinsa.kinds import Kind, UnstorableError, decode
from workshops.musinsa.letters import Letter
from workshops.musinsa.postgres_sqlstate import sqlstate_of_refusal

BATCH_RECORDS = 500
MAX_NAME = 63  # letters of a table's name
CONNECT_SECONDS = 5
# A consumer that hangs in the middle of a transaction must not block the one that takes over.
SESSION = {
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
}
# Classes of SQLSTATE with which a connection is refused until a person fixes something: authentication, no
# such database, no right to use it.
REFUSED = ("28", "3D", "42")
# The same where the SQLSTATE is unknown, as on macOS; only a server that speaks English is understood there.
REFUSED_WORDS = ("authentication failed", "does not exist", "no pg_hba.conf entry")
ROLLED_BACK = "40"  # the class of SQLSTATE for conflicting transactions, such as a deadlock
TOO_LARGE = "54"  # the class of SQLSTATE for what exceeds one of PostgreSQL's limits
# Columns of each row: the place of its record.
PLACE = {"kafka_topic_id": "uuid", "kafka_partition": "integer", "kafka_offset": "bigint"}
MAKE_OFFSETS = """
    CREATE TABLE IF NOT EXISTS kafka_offsets (
        consumer_group text, topic text, topic_id uuid, partition integer, next_offset bigint NOT NULL,
        PRIMARY KEY (consumer_group, topic_id, partition)
    )
"""
FIND_TABLE = """
    SELECT obj_description(oid, 'pg_class') FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relname = %s AND relkind IN ('r', 'p')
"""
FIRST_OFFSET = """
    INSERT INTO kafka_offsets (consumer_group, topic_id, partition, topic, next_offset)
    VALUES (%s, %s, %s, %s, 0) ON CONFLICT DO NOTHING
"""
NEXT_OFFSET = """
    SELECT next_offset FROM kafka_offsets WHERE consumer_group = %s AND topic_id = %s AND partition = %s
"""
# Compare and set: of two consumers with the same position, the second one stores nothing.
ADVANCE = """
    UPDATE kafka_offsets SET next_offset = %s
    WHERE consumer_group = %s AND topic_id = %s AND partition = %s AND next_offset = %s
"""
EXAMPLES = """
    python -m workshops.musinsa.consumer_postgres
    python -m workshops.musinsa.consumer_postgres --topic analytics-events
"""


class PostgresConsumer(StoringConsumer):
    """Stores records as rows of a table with the topic's name."""

    service = "PostgreSQL"
    batch_records = BATCH_RECORDS

    def __init__(
        self, cluster: Cluster, topic: str, group: str, stop: Stop, metrics_port: int | None, dsn: str
    ) -> None:
        """Prepare; open() connects to PostgreSQL.

        Args:
            cluster: where Kafka is, and how to connect.
            topic: one of KINDS.
            group: the consumer group.
            stop: ends run().
            metrics_port: of --metrics-port.
            dsn: PostgreSQL's address.
        """
        super().__init__(cluster, topic, group, stop, metrics_port)
        self._dsn = dsn
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._table = topic.replace("-", "_").replace(".", "_")[:MAX_NAME]
        table = sql.Identifier(self._table)
        self._make_table = _make_table(table, self.kind)
        self._name_topic = sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(topic))
        self._upsert = _upsert(table, self.kind)

    def open(self) -> None:
        """Connect, and create the tables that are missing."""
        if self._connection:
            return
        with _postgres_errors():
            self._connection = self._connect()
            if (encoding := self._connection.info.parameter_status("server_encoding")) != "UTF8":
                raise PipelineError(f"The database holds {encoding}, which has no Korean: use one in UTF8.")
            with self._connection.transaction():
                # IF NOT EXISTS fails when another consumer creates the tables at the same moment.
                self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('kafka_offsets'))")
                self._connection.execute(MAKE_OFFSETS)
                found = self._connection.execute(FIND_TABLE, (self._table,)).fetchone()
                if found and found[0] != self.topic:  # such as that of a-b and of a_b
                    raise PipelineError(f"Table {self._table} holds the records of topic {found[0]}.")
                if not found:
                    self._connection.execute(self._make_table)
                    self._connection.execute(self._name_topic)
                    # The table is new or was dropped: store all records again.
                    self._connection.execute("DELETE FROM kafka_offsets WHERE topic = %s", (self.topic,))

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def next_offset(self, partition: TopicPartition) -> int:
        """Ask the database."""
        key = (self.group, self.topic_id, partition.partition)
        with _postgres_errors():
            self._open.execute(FIRST_OFFSET, (*key, self.topic))
            found = self._open.execute(NEXT_OFFSET, key).fetchone()
        return int(found[0]) if found else 0

    def store(self, batch: Batch) -> None:
        """Write rows and offsets in one transaction, then print them."""
        lines: list[str] = []
        letters: list[Letter] = []
        ends = {partition: records[-1].offset + 1 for partition, records in batch.items()}
        with _postgres_errors(), self._open.transaction():
            self._advance(ends)
            for record in chain.from_iterable(batch.values()):
                try:
                    done, identity = self._write(record)
                except UnstorableError as error:
                    letters.append((record, error))
                    lines.append(dlq_line(record, error))
                else:
                    lines.append(f"    📝 {done}: {printable(identity)}")
                    lines.append(f"    ✅ 처리 완료: partition={record.partition}, offset={record.offset}")
            # Before the commit: after a kill in between, a letter is sent a second time, but none is missing.
            self.dead_letter(letters)
        self.positions.update(ends)
        self.print_later(lines)
        offsets = {partition: OffsetAndMetadata(end) for partition, end in ends.items()}
        self.consumer.commit_async(offsets)  # for kafka-consumer-groups; nothing depends on it

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        try:
            return psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, client_encoding="utf8",
                options=" ".join(f"-c {name}={value}" for name, value in SESSION.items()),
            )  # fmt: skip
        except psycopg.OperationalError as error:
            if self._is_refused(error):
                raise PipelineError(f"PostgreSQL refused: {_reason(error)}") from error
            raise

    def _is_refused(self, error: psycopg.OperationalError) -> bool:
        """Return whether waiting is of no use: a server that starts, or is full, refuses connections, too."""
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            return False
        sqlstate = sqlstate_of_refusal(self._dsn, CONNECT_SECONDS)
        if sqlstate is None:
            return any(words in str(error) for words in REFUSED_WORDS)
        return sqlstate.startswith(REFUSED)

    @property
    def _open(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if not self._connection:
            raise UnreachableError("not connected")
        return self._connection

    def _advance(self, ends: Mapping[TopicPartition, int]) -> None:
        for partition, end in ends.items():
            ours = (self.group, self.topic_id, partition.partition, self.positions.get(partition))
            if self._open.execute(ADVANCE, (end, *ours)).rowcount != 1:
                raise OvertakenError

    def _write(self, record: ConsumerRecord) -> tuple[str, str]:
        """Insert or update a row; return which of the two, and the identity of the row."""
        row = decode(self.kind, record.value)
        values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in row.items()}
        place = (self.topic_id, record.partition, record.offset)
        values |= dict(zip(PLACE, place, strict=True))
        try:
            with self._open.transaction():  # a savepoint: a row that is refused does not undo the others
                found = self._open.execute(self._upsert, values).fetchone()
        except psycopg.Error as error:
            if _is_about_the_row(error):
                raise UnstorableError(_reason(error)) from error
            raise
        done = "has a newer state" if not found else "INSERT" if found[0] else "UPDATE"
        return done, str(row[self.kind.identity])


def _make_table(table: sql.Identifier, kind: Kind) -> sql.Composed:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(field.postgres))
        for name, field in kind.fields.items()
    ]
    columns += [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_ in PLACE.items()
    ]
    return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
        table, sql.SQL(", ").join(columns), sql.Identifier(kind.identity)
    )


def _upsert(table: sql.Identifier, kind: Kind) -> sql.Composed:
    names = [*kind.fields, *PLACE]
    return sql.SQL(
        # Another group may store the same records once more: an older record of the same partition changes
        # nothing. xmax is the transaction that replaced a row; a new row has none.
        "INSERT INTO {0} AS stored ({1}) VALUES ({2}) ON CONFLICT ({3}) DO UPDATE SET {4} "
        "WHERE (stored.kafka_topic_id, stored.kafka_partition)"
        " IS DISTINCT FROM (EXCLUDED.kafka_topic_id, EXCLUDED.kafka_partition)"
        " OR stored.kafka_offset <= EXCLUDED.kafka_offset "
        "RETURNING xmax = 0"
    ).format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
        sql.Identifier(kind.identity),
        sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in names),
    )


@contextmanager
def _postgres_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.ProgrammingError as error:  # no rights, or other columns: a person has to fix that
        raise PipelineError(f"PostgreSQL refused: {_reason(error)}") from error
    except psycopg.Error as error:
        if (error.sqlstate or "").startswith(ROLLED_BACK):
            raise OvertakenError from error
        raise UnreachableError(_reason(error)) from error


def _is_about_the_row(error: psycopg.Error) -> bool:
    """Return whether the row is the reason, not the server."""
    too_large = (error.sqlstate or "").startswith(TOO_LARGE)
    return too_large or isinstance(error, psycopg.DataError | psycopg.IntegrityError)


def _reason(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def main() -> None:
    """Store until a stop is requested."""
    parser = consumer_parser(__doc__, EXAMPLES, "postgres")
    parser.add_argument(
        "--dsn", default=POSTGRES, help="PostgreSQL's address (default: $POSTGRES_DSN, else %(default)s)"
    )
    options = parser.parse_args()
    group = options.group or f"{options.topic}-postgres"
    consumer = PostgresConsumer(
        options.cluster, options.topic, group, Stop(), options.metrics_port, options.dsn
    )
    log.info(f"Storing {options.topic} at {options.cluster} in PostgreSQL; Ctrl-C to stop.")
    print("🐘 PostgreSQL Consumer:", flush=True)
    consumer.run()


if __name__ == "__main__":
    run_kafka_script(main)
