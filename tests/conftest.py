"""Settings for all tests, a real broker, and for each test a pipeline on topics with a prefix of its own."""

import os
import random
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress

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
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from pipeline.local.processes import STOP_SECONDS
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
    """Return a free port for LocalKafka; those of further brokers and of the controllers are free, too."""
    while True:
        first = random.choice(TEST_PORTS)
        try:
            for port in range(first, first + brokers):
                socket.create_server(("127.0.0.1", port)).close()
                socket.create_server(("127.0.0.1", port + CONTROLLER_PORT_DISTANCE)).close()
        except OSError:
            continue
        return first


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """The broker that run.sh would choose; in place of the local one, another one with data of its own.

    All workers of a run share it: the first one starts it, and pytest_sessionfinish() stops it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if is_worker(pytestconfig) else own
    with FileLock(shared / "kafka.lock"):
        choice = broker.choose()
        if choice != "local":
            return broker.ready(choice, choose_cluster())
        port = shared / "kafka.port"
        if not port.exists():
            port.write_text(str(free_port()))
        local = LocalKafka(port=int(port.read_text()), home=shared)
        local.start()
    return Broker(Cluster(local.bootstrap_servers), "for the tests", f"{broker.LOCAL_TOOL} exec ", stop=None)


@pytest.fixture
def pipeline(kafka: Broker) -> Iterator[Pipeline]:
    """The four scripts, on topics that nobody else uses; they are deleted afterwards."""
    with Pipeline(kafka) as made:
        yield made
