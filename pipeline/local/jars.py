"""The jars of a Java program, from Maven Central, downloaded once for all projects of a user."""

import os
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import requests
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Dependency, MavenContext, PythonResolver
from tqdm import tqdm

from pipeline.cli.process import PipelineError
from pipeline.local import HOME
from pipeline.local.locks import only_one

ROOM_BYTES = 500_000_000
PARALLEL_DOWNLOADS = 8
ANSWER_SECONDS = 10
REMOVE_SECONDS = 0.5
UNFINISHED = "download-"


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


def class_path(bundle: Bundle, folder: Path | None = None, url: str = MAVEN_CENTRAL_URL) -> str:
    """Return Java's class path of a program; the first call downloads its jars.

    Args:
        bundle: the program.
        folder: the folder of all jars; by default the user's cache, or HOME where that can't be written.
        url: the Maven repository.

    Raises:
        PipelineError: they can't be downloaded, or there is no room for them.
    """
    name = f"{bundle.name.lower()}-{bundle.version}"
    folders = [folder] if folder else [platformdirs.user_cache_path("kafka-workshop"), HOME / "jars"]
    jars = next((each / name for each in folders if os.path.isdir(each / name)), None)
    if not jars:
        jars = _first_writable(bundle, folders) / name
        _download(bundle, jars, url)
    if os.pathsep in str(jars):
        raise PipelineError(
            f"Java can't find jars in {jars}: {os.pathsep!r} separates two folders for it. "
            "Name a folder without one in $XDG_CACHE_HOME."
        )
    return str(jars / "*")


def _first_writable(bundle: Bundle, folders: list[Path]) -> Path:
    failures = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return folder
        except OSError as error:
            failures.append(f"{folder}: {error.strerror}")
    raise PipelineError(f"{bundle.name} could not be stored in {', nor in '.join(failures)}.")


def _download(bundle: Bundle, target: Path, url: str) -> None:
    """Download all jars or none: an unfinished folder never becomes `target`."""
    folder = target.parent
    try:
        with only_one(folder, bundle.name, f"downloads to {folder}"):
            if target.exists():  # by the one that was waited for
                return
            for left_over in folder.glob(f"{UNFINISHED}*"):  # of one that was killed: the lock is ours
                shutil.rmtree(left_over, ignore_errors=True)
            if shutil.disk_usage(folder).free < ROOM_BYTES:
                raise PipelineError(
                    f"No space for {bundle.name} in {folder}: it needs {ROOM_BYTES // 10**6} MB."
                )
            with _temporary_folder(folder) as unfinished:
                finished = unfinished / "jars"
                finished.mkdir()
                for jar in _fetch(bundle, unfinished / "repository", url):
                    shutil.move(jar, finished / jar.name)
                finished.rename(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: jgo, of what it can't find
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and error.errno:
            raise PipelineError(
                f"{bundle.name} could not be stored in {folder}: {error.strerror}."
            ) from error
        raise PipelineError(
            f"{bundle.name} could not be downloaded from {url}: {_reason(error)}, and run this again."
        ) from error


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, even where threads that were left behind still write to it."""
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
    threads_end = time.monotonic()
    try:
        yield folder
    except BaseException:
        threads_end = time.monotonic() + REMOVE_SECONDS
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        while time.monotonic() < threads_end:  # a thread may make the folder again when its answer arrives
            time.sleep(REMOVE_SECONDS / 50)
            shutil.rmtree(folder, ignore_errors=True)


def _fetch(bundle: Bundle, repository: Path, url: str) -> list[Path]:
    """Download the jars in threads, which a Ctrl-C does not wait for: a server may be silent for long."""
    given_up = threading.Event()
    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
    with tqdm(desc=f"Downloading {bundle}", unit="B", unit_scale=True, disable=None) as bar:
        if bar.disable:
            print(f"Downloading {bundle} ({bundle.megabytes} MB, once) ...", file=sys.stderr, flush=True)

        def show(size: int) -> None:
            if given_up.is_set():
                raise InterruptedError("nobody waits for this download any longer")
            bar.update(size)

        @contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield show

        context = MavenContext(
            repo_cache=repository,
            remote_repos={"central": url},
            resolver=PythonResolver(progress_callback=progress),
            timeout=ANSWER_SECONDS,
        )
        try:
            needed = pool.submit(_needed, bundle, context).result()
            return list(pool.map(lambda dependency: dependency.artifact.resolve(), needed))
        finally:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _needed(bundle: Bundle, context: MavenContext) -> list[Dependency]:
    not_needed = [context.project(*project) for project in bundle.not_needed]
    wanted = [context.create_dependency(coordinate, not_needed) for coordinate in bundle.artifacts]
    _, dependencies = context.resolver.resolve(wanted)
    return wanted + [dependency for dependency in dependencies if dependency.scope != "test"]


def _reason(error: Exception) -> str:
    """Say why a download failed, and what to do about it."""
    causes = list(_causes(error))
    root = next((cause for cause in reversed(causes) if getattr(cause, "strerror", None)), causes[-1])
    said = (str(getattr(root, "strerror", None) or root).splitlines() or [type(root).__name__])[0]
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return f"the proxy failed: {said}. Check $HTTPS_PROXY"
    if isinstance(root, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {root.verify_message}. Behind a proxy that intercepts TLS, "
            "name the file with the certificate of that proxy in $REQUESTS_CA_BUNDLE"
        )
    if "CA certificate bundle" in said:
        return f"{said}. Check $REQUESTS_CA_BUNDLE"
    if isinstance(root, socket.gaierror):
        return f"its name could not be resolved: {said}. Check the network and its DNS, or set $HTTPS_PROXY"
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return "no answer in time. Check the network, or set $HTTPS_PROXY"
    return f"{said}. Check the network, or set $HTTPS_PROXY"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was caused by, the root last; requests and urllib3 keep it in `args`."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        yield error
        inner = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((each for each in inner if isinstance(each, BaseException) and each not in seen), error)
