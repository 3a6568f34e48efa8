"""Reading records that kafka-python 3.0.12 can't read, or can't say why.

Kafka says that a header's name is UTF-8, and checks nothing. kafka-python can't read such a record: poll()
raises an error without its place, again and again, and every record behind it waits.
"""

from collections.abc import Iterator
from typing import Any

from kafka import codec
from kafka.errors import CorruptRecordError, UnsupportedCodecError
from kafka.record import legacy_records, memory_records
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

    def __iter__(self) -> Iterator[Any]:
        self._maybe_uncompress()
        read = super().__next__
        while True:
            try:
                yield read()
            except StopIteration:
                return
            except CorruptRecordError as error:
                if not isinstance(error.__context__, UnicodeDecodeError):
                    raise
                # Read the record again, and the rest of the batch. Only now: this buffer is slower.
                self._buffer = _Buffer(self._buffer)


def _decode_old_lz4(compressed: bytes) -> bytes:
    if codec.xxhash is None:  # kafka-python raises a RuntimeError
        raise UnsupportedCodecError("lz4 in the format of Kafka 0.9 needs xxhash")
    decoded: bytes = codec.lz4_decode_old_kafka(compressed)
    return decoded


def read_any_header_name() -> None:
    """Make all consumers of this process read them; the name is a NotUtf8 then."""
    memory_records.DefaultRecordBatch = _Batch
    legacy_records.lz4_decode_old_kafka = _decode_old_lz4
