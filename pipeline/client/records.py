"""Reading records whose header names are not UTF-8.

Kafka says that a header's name is UTF-8, and checks nothing. kafka-python 3.0.12 can't read such a record:
poll() raises an error without its place, again and again, and every record behind it waits.
"""

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from pipeline.text import NotUtf8


class _Buffer(bytearray):
    """The bytes of a batch; a part of them can always be decoded."""

    def __getitem__(self, part: Any) -> Any:  # noqa: ANN401, an index or a slice
        found = super().__getitem__(part)
        return _Buffer(found) if isinstance(part, slice) else found

    def decode(self, *_: str) -> str:
        try:
            return super().decode()
        except UnicodeDecodeError:
            return NotUtf8(bytes(self))


class _Batch(DefaultRecordBatch):  # type: ignore[misc]  # the client has no types
    """A batch of records; the name of a header may be any bytes."""

    _buffer: bytearray
    _pos: int

    def _read_msg(self, *arguments: Any) -> Any:  # noqa: ANN401
        start = self._pos
        try:
            return super()._read_msg(*arguments)
        except UnicodeDecodeError:
            # Only now: this buffer is slower. The rest of the batch is read from it, too.
            self._buffer, self._pos = _Buffer(self._buffer), start
            return super()._read_msg(*arguments)


def read_any_header_name() -> None:
    """Make all consumers of this process read them; the name is a NotUtf8 then."""
    memory_records.DefaultRecordBatch = _Batch
