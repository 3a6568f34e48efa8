"""The jars of a Java program, from Maven Central, downloaded once."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver
from tqdm import tqdm

from pipeline.cli.process import PipelineError

ROOM_BYTES = 500_000_000
PARALLEL_DOWNLOADS = 8


@dataclass(frozen=True)
class Bundle:
    """A program and the jars it is made of.

    Attributes:
        name: of the program, such as Kafka.
        version: of the program.
        megabytes: the size of the download.
        artifacts: group:artifact:version of each jar that is needed directly; their dependencies follow.
        not_needed: group and artifact of a dependency to leave out, with all its dependencies.
    """

    name: str
    version: str
    megabytes: int
    artifacts: tuple[str, ...]
    not_needed: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


KAFKA_VERSION = "4.1.2"  # docker-compose.yml runs the same 4.1
KAFKA = Bundle(
    "Kafka",
    KAFKA_VERSION,
    45,
    (
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        # Named although the others depend on it: jgo would choose the 3.8.0 that a library of theirs asks
        # for.
        f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
    ),
    not_needed=(("org.apache.kafka", "connect-runtime"),),  # half of all jars, and for Kafka Connect alone
)


def class_path(folder: Path, bundle: Bundle) -> str:
    """Return Java's class path of a program; the first call downloads its jars.

    Args:
        folder: the folder of all jars.
        bundle: the program.

    Raises:
        PipelineError: they can't be downloaded, or there is no room for them.
    """
    jars = folder / f"{bundle.name.lower()}-{bundle.version}"
    if not jars.exists():
        _download(bundle, jars)
    return str(jars / "*")


def _download(bundle: Bundle, target: Path) -> None:
    """Download all jars or none: an unfinished folder never becomes `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(target.parent).free < ROOM_BYTES:
        raise PipelineError(
            f"No space for {bundle.name} in {target.parent}: it needs {ROOM_BYTES // 10**6} MB."
        )
    unfinished = Path(tempfile.mkdtemp(prefix="download-", dir=target.parent))
    try:
        with tqdm(desc=f"Downloading {bundle}", unit="B", unit_scale=True, disable=None) as bar:
            if bar.disable:
                print(f"Downloading {bundle} ({bundle.megabytes} MB, once) ...", file=sys.stderr, flush=True)

            def show(size: int) -> None:
                bar.update(size)

            finished = unfinished / "jars"
            finished.mkdir()
            for jar in _fetch(bundle, unfinished / "repository", show):
                shutil.move(jar, finished / jar.name)
        if not target.exists():  # another process may have been faster
            os.replace(finished, target)
    except (requests.RequestException, RuntimeError) as error:  # RuntimeError: jgo, of what it can't find
        raise PipelineError(
            f"{bundle.name} could not be downloaded from Maven Central ({_reason(error)}). "
            "Check the network, or the proxy in $HTTPS_PROXY, and run this again."
        ) from error
    except OSError as error:
        raise PipelineError(
            f"{bundle.name} could not be stored in {target.parent}: {error.strerror}."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fetch(bundle: Bundle, repository: Path, progress: Callable[[int], None]) -> list[Path]:
    def report(_name: str, _size: int) -> AbstractContextManager[Callable[[int], None]]:
        return nullcontext(progress)

    context = MavenContext(
        repo_cache=repository,
        remote_repos={"central": MAVEN_CENTRAL_URL},
        resolver=PythonResolver(progress_callback=report),
    )
    not_needed = [context.project(*project) for project in bundle.not_needed]
    wanted = [context.create_dependency(coordinate, not_needed) for coordinate in bundle.artifacts]
    _, dependencies = context.resolver.resolve(wanted)
    needed = wanted + [dependency for dependency in dependencies if dependency.scope != "test"]
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        return list(pool.map(lambda dependency: dependency.artifact.resolve(), needed))


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return (str(error).splitlines() or [type(error).__name__])[0]
