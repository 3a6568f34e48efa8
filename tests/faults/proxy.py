"""A proxy before a real broker. It cuts, holds, delays or changes requests of one kind, or changes answers.

A kill hits a transaction at a random instant, this proxy hits it at a chosen one.
"""

import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import BinaryIO

from kafka.protocol.metadata import MetadataResponse

HOST = "127.0.0.1"
FIRST_WITH_TAGS = 9  # version of a MetadataResponse


class Api(IntEnum):
    """Keys of Kafka's requests (https://kafka.apache.org/protocol#protocol_api_keys)."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    OFFSET_FETCH = 9
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Cut(Exception):
    """A rule raises this to close the connection instead of passing the request on."""


Rule = Callable[[bytearray], None]  # may wait, change the request, or raise Cut
AnswerRule = Callable[[bytes, int], bytes]  # (answer, version of its request) -> answer to pass on
Asked = deque[tuple[int, int]]  # kind and version of each request not answered yet, in order


def turn_commit_into_abort(request: bytearray) -> None:
    """Change an EndTxnRequest, which ends with the boolean `committed` and an empty list of tags."""
    request[-2] = False


def with_a_vanished_leader(answer: bytes, version: int) -> bytes:
    """Change a MetadataResponse: the leader of each topic's first partition is none of the brokers."""
    assert version >= FIRST_WITH_TAGS
    header, body = answer[:5], answer[5:]  # the number of the request, and an empty list of tags
    metadata = MetadataResponse.decode(body, version=version)
    for topic in metadata.topics:
        for partition in topic.partitions:
            if partition.partition_index == 0:
                partition.leader_id += 1
    changed = MetadataResponse(
        version=version, brokers=metadata.brokers, cluster_id=metadata.cluster_id,
        controller_id=metadata.controller_id, topics=metadata.topics,
    )  # fmt: skip
    return header + bytes(changed.encode())


class Proxy:
    """Passes connections on to a broker; that broker has to advertise the proxy's port."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.servers = f"{HOST}:{port}"
        self.attempts = 0
        self.seen: Counter[int] = Counter()
        self._broker_port = broker_port
        self._rules: dict[int, Rule] = {}
        self._answer_rules: dict[int, AnswerRule] = {}
        self._open: list[socket.socket] = []
        self._port = port
        self._listen()

    def close(self) -> None:
        """Refuse connections, and close those that are open."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    @contextmanager
    def rule(self, api: Api, rule: Rule) -> Iterator[None]:
        """Apply a rule to every request of one kind inside the with block."""
        self._rules[api] = rule
        try:
            yield
        finally:
            del self._rules[api]

    @contextmanager
    def change_answers(self, api: Api, rule: AnswerRule) -> Iterator[threading.Event]:
        """Change each answer of one kind inside the with block; the event is set when one came."""
        came = threading.Event()

        def change(answer: bytes, version: int) -> bytes:
            came.set()
            return rule(answer, version)

        self._answer_rules[api] = change
        try:
            yield came
        finally:
            del self._answer_rules[api]

    @contextmanager
    def cut(self, api: Api) -> Iterator[threading.Event]:
        """Close each connection that brings a request of this kind; the event is set when one came."""
        came = threading.Event()

        def cut(_: bytearray) -> None:
            came.set()
            raise Cut

        with self.rule(api, cut):
            yield came

    @contextmanager
    def hold(self, api: Api, member: str = "") -> Iterator[threading.Event]:
        """Hold requests of one kind until the end of the with block; the event is set when one came.

        Args:
            api: the kind.
            member: holds only the requests of this member of a group; by default all.
        """
        came, resumed = threading.Event(), threading.Event()

        def hold(request: bytearray) -> None:
            if member.encode() in request:
                came.set()
                resumed.wait()

        with self.rule(api, hold):
            try:
                yield came
            finally:
                resumed.set()

    @contextmanager
    def slow(self, api: Api, seconds: float) -> Iterator[None]:
        """Delay each request of one kind."""
        with self.rule(api, lambda _: time.sleep(seconds)):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections inside the with block, as the port of an unreachable broker does."""
        self.close()
        try:
            yield
        finally:
            self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                self.attempts += 1
                try:
                    broker = socket.create_connection((HOST, self._broker_port))
                except OSError:
                    client.close()
                    continue
                self._open += [client, broker]
                asked: Asked = deque()
                for target in (self._requests, self._answers):
                    threading.Thread(target=target, args=(client, broker, asked), daemon=True).start()

    def _requests(self, client: socket.socket, broker: socket.socket, asked: Asked) -> None:
        with suppress(OSError, Cut), client, broker, client.makefile("rb") as stream:
            for request in _frames(stream):
                api, version = struct.unpack(">hh", request[:4])
                self.seen[api] += 1
                if rule := self._rules.get(api):
                    rule(request)
                asked.append((api, version))
                broker.sendall(struct.pack(">i", len(request)) + request)
            broker.shutdown(socket.SHUT_RDWR)

    def _answers(self, client: socket.socket, broker: socket.socket, asked: Asked) -> None:
        with suppress(OSError), broker.makefile("rb") as stream:
            for frame in _frames(stream):
                answer = bytes(frame)
                api, version = asked.popleft()
                if rule := self._answer_rules.get(api):
                    answer = rule(answer, version)
                client.sendall(struct.pack(">i", len(answer)) + answer)
            client.shutdown(socket.SHUT_RDWR)


def _frames(stream: BinaryIO) -> Iterator[bytearray]:
    """Return the requests, or answers, as they come, but not one that a kill has cut off."""
    while len(size := stream.read(4)) == 4:
        [length] = struct.unpack(">i", size)
        frame = bytearray(stream.read(length))
        if len(frame) < length:
            return
        yield frame
