"""The first import of every script: what has to work before anything else is imported.

Importing the clients takes half a second. Ctrl-C must end a script in that time, too, and a package that is
not installed is one line, not a traceback. So this imports as little as it can, and does nothing where a
script is only imported, as by Airflow or by a test.
"""

import os
import signal
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
ENVIRONMENT = "kafka-env"
REQUIREMENTS = "requirements.txt"
EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def interrupt_from_now_on() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, in a command that has to undo what it has begun."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _script() -> str:
    """Return the script that this process runs, from the project's folder; nothing if it is not ours."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    script = os.path.relpath(os.path.realpath(main), PROJECT) if main else ""
    folder = script.partition(os.sep)[0]
    return script if folder in (script, "workshops", "pipeline") else ""


def _listen(exit_code: int) -> None:
    def end_at_once(*_: object) -> None:
        """Nothing has begun yet, so there is nothing to close."""
        os._exit(exit_code)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, end_at_once)


def _require(requirements: str, script: str) -> None:
    """End the process with one line if a package is missing.

    Args:
        requirements: the file that lists the packages, from the project's folder.
        script: the script, from there, too.
    """
    if missing := _missing_from(os.path.join(PROJECT, requirements)):
        name = os.path.basename(script)
        if name == "__main__.py":
            name = os.path.dirname(script).replace(os.sep, ".")
        is_made = os.path.exists(os.path.join(PROJECT, ENVIRONMENT))
        make = "" if is_made else f"python3 -m venv {ENVIRONMENT}; "
        line = (
            f"{name}: not installed: {', '.join(missing)}. In the project's folder: {make}"
            f"source {ENVIRONMENT}/bin/activate; pip install -r {requirements}"
        )
        print(line, file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _missing_from(requirements: str) -> list[str]:
    from importlib.metadata import PackageNotFoundError, distribution  # slow, so only behind _listen()

    if not os.path.exists(requirements):  # somebody who copied the scripts left it behind
        return []
    missing = []
    with open(requirements, encoding="utf-8") as file:
        for line in file:
            if line.startswith("-r "):
                other = line.removeprefix("-r ").strip()
                missing += _missing_from(os.path.join(os.path.dirname(requirements), other))
            elif "==" in line:
                name = line.partition("==")[0].partition("[")[0].strip()
                try:
                    distribution(name)
                except PackageNotFoundError:
                    missing.append(name)
    return missing


if script := _script():
    # To stop a script is its normal end; run.sh and such must know that a step of theirs was not done.
    _listen(EXIT_INTERRUPTED if script.startswith("pipeline") else EXIT_DONE)
    beside = os.path.join(os.path.dirname(script), REQUIREMENTS)
    _require(beside if os.path.exists(os.path.join(PROJECT, beside)) else REQUIREMENTS, script)
