"""The first import of every script: what has to work before anything else is imported.

Importing the clients takes half a second. Ctrl-C must end a script in that time, too, and a package that is
not installed is one line, not a traceback. So this imports nothing but the standard library, and does nothing
where a script is only imported, as by Airflow or by a test.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parents[1]
FOLDERS = (PROJECT / "workshops", PROJECT / "pipeline")
REQUIREMENTS = "requirements.txt"
EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def _script() -> Path | None:
    """Return the script that this process runs, if it is one of the project's."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    script = Path(main).resolve() if main else None
    if script and (script.parent == PROJECT or any(folder in script.parents for folder in FOLDERS)):
        return script
    return None


def _listen(exit_code: int) -> None:
    def end_at_once(*_: object) -> NoReturn:
        """Nothing has begun yet, so there is nothing to close."""
        os._exit(exit_code)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, end_at_once)


def interrupt_from_now_on() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, in a command that has to undo what it has begun."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _require(requirements: Path, script: Path) -> None:
    """End the process with one line if a package of the requirements file is missing."""
    if missing := list(_missing_from(requirements)):
        line = (
            f"{script.name}: not installed: {', '.join(missing)}. In the project's folder: "
            f"source kafka-env/bin/activate, or {sys.executable} -m pip install -r "
            f"{requirements.relative_to(PROJECT)}"
        )
        print(line, file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _missing_from(requirements: Path) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, distribution  # slow, so only behind _listen()

    # Somebody who copied the scripts may have left the file behind
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.exists() else []
    for line in lines:
        if line.startswith("-r "):
            yield from _missing_from(requirements.parent / line.removeprefix("-r ").strip())
        elif "==" in line:
            name = line.partition("==")[0].partition("[")[0].strip()
            try:
                distribution(name)
            except PackageNotFoundError:
                yield name


if script := _script():
    # To stop a script is its normal end; run.sh and such must know that a step of theirs was not done.
    _listen(EXIT_INTERRUPTED if FOLDERS[1] in script.parents else EXIT_DONE)
    beside = script.with_name(REQUIREMENTS)
    _require(beside.resolve() if beside.exists() else PROJECT / REQUIREMENTS, script)
