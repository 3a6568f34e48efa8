"""How PostgreSQL's refusals are recognized, in whatever language its server reports them."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg.conninfo import make_conninfo

from tests.integration.pipelines import Pipeline
from tests.workshops.services import Postgres
from workshops.musinsa.postgres_sqlstate import sqlstate_of_refusal

CONSUMER = "workshops/musinsa/consumer_postgres.py"
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
STARTING = ("57P03", "데이터베이스 시스템이 시작 중입니다")
WRONG_PASSWORD = ("28P01", '사용자 "postgres"의 password 인증을 실패했습니다')
SECONDS = 5.0


class _KoreanServer(socketserver.ThreadingTCPServer):
    """What a PostgreSQL with Korean messages answers to a client that it refuses."""

    daemon_threads = True
    refusals: list[tuple[str, str]]


class _Handler(socketserver.StreamRequestHandler):
    server: _KoreanServer

    def handle(self) -> None:
        while self._code_of_request() in (SSL_REQUEST, GSS_REQUEST):
            self.wfile.write(b"N")
        refusals = self.server.refusals
        sqlstate, message = refusals.pop(0) if len(refusals) > 1 else refusals[0]
        fields = {"S": "치명적오류", "V": "FATAL", "C": sqlstate, "M": message}
        body = b"".join(f"{name}{text}\0".encode() for name, text in fields.items()) + b"\0"
        self.wfile.write(b"E" + struct.pack(">i", len(body) + 4) + body)

    def _code_of_request(self) -> int:
        size, code = struct.unpack(">ii", self.rfile.read(8))
        self.rfile.read(size - 8)
        return int(code)


@contextmanager
def korean_server(*refusals: tuple[str, str]) -> Iterator[str]:
    """Serve, and return the address: one refusal a connection, the last one again and again."""
    with _KoreanServer(("127.0.0.1", 0), _Handler) as server:
        server.refusals = list(refusals)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"postgresql://postgres:secret@127.0.0.1:{server.server_address[1]}/postgres"
        finally:
            server.shutdown()


def test_a_wrong_password_ends_the_consumer_in_any_language_and_a_server_that_starts_is_waited_for(
    pipeline: Pipeline,
) -> None:
    # Each attempt connects twice: the second time for the SQLSTATE.
    with korean_server(STARTING, STARTING, WRONG_PASSWORD) as dsn:
        consumer = pipeline.start(CONSUMER, "--dsn", dsn)
        assert consumer.process.wait(20) == 1
    consumer.stop()
    _, waiting, refused = consumer.stderr.splitlines()
    assert waiting.startswith("PostgreSQL is unreachable (")
    assert STARTING[1] in waiting
    assert refused.startswith("consumer_postgres.py: PostgreSQL refused: ")
    assert WRONG_PASSWORD[1] in refused


@pytest.mark.parametrize(
    ("changed", "sqlstate"),
    [
        ({"password": "wrong"}, "28P01"),
        ({"user": "nobody"}, "28P01"),
        ({"dbname": "none"}, "3D000"),
        ({}, None),
        ({"port": "1"}, None),
        ({"host": "no.such.host.invalid"}, None),
    ],
)
def test_the_sqlstate_of_a_real_server(
    postgres: Postgres, changed: dict[str, str], sqlstate: str | None
) -> None:
    assert sqlstate_of_refusal(make_conninfo(postgres.server.dsn, **changed), SECONDS) == sqlstate
