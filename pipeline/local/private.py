"""Files that only their owner may read."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write a file of mode 0600, all of it or nothing; one that has this text already is left as it is.

    Args:
        file: in a folder that exists.
        text: its contents.
    """
    if file.exists() and file.read_text("utf-8") == text:
        file.chmod(0o600)
        return
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)  # of one that was interrupted
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
        new.write(text)
    unfinished.rename(file)
