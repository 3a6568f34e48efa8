"""Settings for all tests, a real broker, and for each test a pipeline on topics with a prefix of its own."""

import os
import random
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import choose_cluster
from pipeline.local import broker
from pipeline.local.broker import Broker
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, INTERNAL_PORT_DISTANCE, LocalKafka
from pipeline.local.processes import STOP_SECONDS
from pipeline.local.secure import SecureKafka
from tests.integration.pipelines import Pipeline

# One worker runs all tests of these files: it alone starts their services, and may kill them.
FILES_OF_ONE_WORKER = (
    "tests/workshops/test_musinsa_sinks.py",
    "tests/integration/test_local_command.py",
    "tests/integration/test_connections.py",
)
RUN_VARIABLE = "KAFKA_WORKSHOP_TEST_RUN"  # inherited by whatever a run of the tests starts
TEST_PORTS = range(20_000, 22_000)

# Few examples per run: the unit tests run after every change, and each run tries other examples.
settings.register_profile("short", max_examples=25, deadline=None)
settings.load_profile("short")

# Started by nohup or with &, this process ignores these signals, and the scripts that the tests start would
# inherit that. They do not inherit a handler.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the fault tests in full: 100,000 events each")
    parser.addoption("--thorough", action="store_true", help="all tests, the fault tests in their short form")


def left_out(config: pytest.Config) -> list[str]:
    """Return the markers of the tests that do not run; a slow one runs where the command line names it."""
    if config.getoption("--all"):
        return []
    named = (
        config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword or config.option.markexpr
    )
    return ["only_in_full"] if config.getoption("--thorough") or named else ["only_in_full", "thorough"]


def pytest_report_header(config: pytest.Config) -> str:
    return f"left out: {' and '.join(left_out(config)) or 'nothing'} (markers; run with --all and --thorough)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        for item in items:
            item.add_marker(pytest.mark.timeout(900))
    markers = left_out(config)
    out = [item for item in items if any(map(item.get_closest_marker, markers))]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


class OneByOne(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out single tests in their order, so that no worker has to wait for another one's rest.

    The mark xdist_group would do the same, but xdist 3.8.0 ignores it with pytest 9.2.0.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if file in FILES_OF_ONE_WORKER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne:
    return OneByOne(config, log)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        os.environ[RUN_VARIABLE] = uuid.uuid4().hex


@pytest.hookimpl(trylast=True)  # after all workers ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the shared Kafka; after Ctrl-C or a crash, also what a worker did not stop any more."""
    if is_worker(session.config):
        return
    started = [
        process for process in psutil.process_iter() if process.pid != os.getpid() and is_of_this_run(process)
    ]
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(started, timeout=STOP_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_of_this_run(process: psutil.Process) -> bool:
    """Return whether a process was started by this run of the tests, however indirectly."""
    try:
        return process.environ().get(RUN_VARIABLE) == os.environ[RUN_VARIABLE]
    except psutil.Error:
        return False


def free_port(brokers: int = 1) -> int:
    """Return a free port for LocalKafka; those of further brokers and of other listeners are free, too."""
    while True:
        first = random.choice(TEST_PORTS)
        try:
            for port in range(first, first + brokers):
                for distance in (0, INTERNAL_PORT_DISTANCE, CONTROLLER_PORT_DISTANCE):
                    socket.create_server(("127.0.0.1", port + distance)).close()
        except OSError:
            continue
        return first


def shared_folder(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all workers of a run share."""
    own = factory.getbasetemp()
    return own.parent if is_worker(config) else own


def port_in(file: Path) -> int:
    """Return the port that a file has; the first one to ask chooses it."""
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """The broker that run.sh would choose; in place of the local one, another one with data of its own.

    All workers of a run share it: the first one starts it, and pytest_sessionfinish() stops it.
    """
    shared = shared_folder(pytestconfig, tmp_path_factory)
    with FileLock(shared / "kafka.lock"):
        choice = broker.choose()
        if choice != "local":
            return broker.ready(choice, choose_cluster())
        local = LocalKafka(port=port_in(shared / "kafka.port"), home=shared)
        local.start()
    return Broker(Cluster(local.bootstrap_servers), "for the tests", f"{broker.LOCAL_TOOL} exec ", stop=None)


@pytest.fixture(scope="session")
def secure_kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> SecureKafka:
    """A secured broker: TLS, passwords, nothing allowed by default; shared and stopped as `kafka` is."""
    shared = shared_folder(pytestconfig, tmp_path_factory)
    with FileLock(shared / "secure-kafka.lock"):
        secure = SecureKafka(port=port_in(shared / "secure-kafka.port"), home=shared)
        secure.start()
    return secure


@pytest.fixture
def pipeline(kafka: Broker) -> Iterator[Pipeline]:
    """The four scripts, on topics that nobody else uses; they are deleted afterwards."""
    with Pipeline(kafka) as made:
        yield made
