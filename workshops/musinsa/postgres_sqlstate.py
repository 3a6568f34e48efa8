"""Why PostgreSQL refused a connection, as a code: its words are in the language of the server."""

import os
import re
import time
from select import select

from psycopg import NotSupportedError, OperationalError, pq

# A line of libpq's trace: S is the severity in the server's language, V the one in English, C the SQLSTATE.
ERROR_RESPONSE = re.compile(rb'^B\t\d+\tErrorResponse\t S ".*?" V "[A-Z]+" C "(\w{5})"', re.MULTILINE)
ENDS = (pq.PollingStatus.OK, pq.PollingStatus.FAILED)


def sqlstate_of_refusal(dsn: str, seconds: float) -> str | None:
    """Connect once more, and return the SQLSTATE with which the server refuses.

    psycopg has the SQLSTATE of a query that failed, but not that of a connection. libpq writes it into the
    trace of its messages. The trace has passwords, so it is in memory only.

    Args:
        dsn: PostgreSQL's address.
        seconds: how long to try at most.

    Returns:
        The SQLSTATE; None where the server did not answer, has no objection now, or libpq can't trace:
        psycopg supports that on Linux only.
    """
    connection = pq.PGconn.connect_start(dsn.encode())
    try:
        with os.fdopen(os.memfd_create("trace"), "w+b") as trace:
            connection.trace(trace.fileno())
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
            _poll(connection, seconds)
            connection.untrace()
            trace.seek(0)
            found = ERROR_RESPONSE.findall(trace.read())
    except (AttributeError, NotSupportedError, OperationalError):  # no Linux; or no connection at all
        return None
    finally:
        connection.finish()
    return found[-1].decode() if found else None


def _poll(connection: pq.abc.PGconn, seconds: float) -> None:
    """Go through the steps of connecting, until it is connected, refused, or out of time."""
    deadline = time.monotonic() + seconds
    while (status := connection.connect_poll()) not in ENDS:
        wanted = [connection.socket]
        reading = status == pq.PollingStatus.READING
        left = max(0.0, deadline - time.monotonic())
        if not any(select(wanted if reading else [], [] if reading else wanted, [], left)):
            return
