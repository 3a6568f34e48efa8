"""What every contestant does with a record, and the options that all of them have."""

import argparse
import socket
import uuid
from typing import NamedTuple

from pipeline.cli.cluster import Cluster, Security
from pipeline.cli.options import group_name, option_parser
from pipeline.cli.process import PipelineError
from pipeline.dead_letters import Headers, dead_letter_headers
from pipeline.schema import BrokenEventError, encode, normalize_purchase, normalize_web
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, PURCHASE_EVENTS, WEB_EVENTS

NORMALIZE = {WEB_EVENTS: normalize_web, PURCHASE_EVENTS: normalize_purchase}
SOURCES = list(NORMALIZE)


class Record(NamedTuple):
    """The parts of a library's message that the work needs."""

    topic: str
    partition: int
    offset: int
    headers: Headers


class Outcome(NamedTuple):
    """The output for a record; key and timestamp stay as they are."""

    topic: str
    value: bytes | None
    headers: Headers


def process(record: Record, value: bytes | None, group: str) -> Outcome:
    """Normalize an event, or dead-letter it.

    Args:
        record: the source record.
        value: its value, the event.
        group: the consumer group that reads it.
    """
    try:
        return Outcome(ANALYTICS_EVENTS, encode(NORMALIZE[record.topic](value)), record.headers)
    except BrokenEventError as error:
        return Outcome(ANALYTICS_DLQ, value, dead_letter_headers(record, error, group))


def contestant_parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every contestant has.

    Args:
        description: what the contestant is, its docstring.
        name: of its module.
    """
    command = f"python -m benchmarks.contestants.{name}"
    parser = option_parser(description or "", f"{command} --group {name}")
    parser.prog = command
    parser.add_argument("--group", type=group_name, required=True, help="consumer group")
    return parser


def plain_servers(cluster: Cluster) -> str:
    """Return the bootstrap servers of a cluster for a library that is measured in plain text only.

    Args:
        cluster: where Kafka is.

    Raises:
        PipelineError: --config asks for something else.
    """
    if cluster.security != Security():
        raise PipelineError(
            "The comparison is measured in plain text: name a listener without TLS and login."
        )
    return cluster.servers


def transactional_id(group: str) -> str:
    """Return an id that no other process has: of two with the same id, Kafka fences the older one."""
    return f"{group}-{socket.gethostname()}-{uuid.uuid4()}"
