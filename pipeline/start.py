"""The first import of every script: what has to work before anything else is imported.

Importing the clients takes half a second. Ctrl-C must end a script in that time, too, and a package that is
not installed is one line, not a traceback. So this imports nothing but the standard library.
"""

import importlib.util
import os
import signal
import sys
from typing import NoReturn

REQUIRED = ("kafka", "msgspec")  # of requirements.txt
EXIT_DONE, EXIT_FAILED = 0, 1


def require(requirements: str, *modules: str) -> None:
    """End the process with one line if a package is missing.

    Args:
        requirements: the file that lists the packages, from the project's folder.
        modules: the names by which they are imported.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        script = os.path.basename(sys.argv[0])
        _fail(
            f"{script}: not installed: {', '.join(missing)}. In the project's folder: "
            f"source kafka-env/bin/activate, or {sys.executable} -m pip install -r {requirements}"
        )


def _fail(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(EXIT_FAILED)


def _end_at_once(*_: object) -> NoReturn:
    """Nothing has begun yet, so there is nothing to close."""
    os._exit(EXIT_DONE)


def _listen() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _end_at_once)


_listen()
require("requirements.txt", *REQUIRED)
