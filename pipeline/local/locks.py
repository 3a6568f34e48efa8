"""One process at a time for what two would spoil for each other."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.cli.process import PipelineError
from pipeline.cli.status import log


@contextmanager
def only_one(folder: Path, program: str, work: str) -> Iterator[None]:
    """Wait until no other process works in a folder; the lock ends with this process at the latest.

    Args:
        folder: is made where it is missing.
        program: whose folder it is.
        work: for the line that says what is waited for.

    Raises:
        PipelineError: the folder can't be written.
    """
    with _lock_file(folder, program) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info(f"Waiting for another process that {work} ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_file(folder: Path, program: str) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "lock").open("w")
    except OSError as error:
        raise PipelineError(f"{program} can't keep its data in {folder}: {error.strerror}.") from error
