"""local/jars.py against a Maven repository of its own: downloads that are shared, interrupted, or fail."""

import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.cli.process import PipelineError
from pipeline.local import PROJECT, jars
from pipeline.local.jars import Bundle, class_path

PROGRAM = Bundle("Program", "1.0", 1, ("org.example:program:1.0",))
POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>org.example</groupId><artifactId>program</artifactId><version>1.0</version></project>"""
JAR = b"a jar" * 10_000
NOWHERE = "http://127.0.0.1:9"
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Repository(ThreadingHTTPServer):
    """Serves one program. While `silent` is set, the second half of its jar does not come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.scheme = "http"
        self.jars_asked_for = 0
        self.half_sent, self.silent, self.closed = threading.Event(), threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that does not trust the certificate, or was stopped."""


class Answer(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        content = {"program-1.0.pom": POM.encode(), "program-1.0.jar": JAR}.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        if content is JAR:
            self.server.jars_asked_for += 1
            self.server.half_sent.set()
            if self.server.silent.is_set():
                self.server.closed.wait(60)
        self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is for failures."""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with Repository() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.closed.set()
        server.shutdown()


@pytest.fixture
def certificate(repository: Repository, tmp_path: Path) -> Path:
    """A certificate that nobody has signed, which the repository has from now on."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    repository.socket = context.wrap_socket(repository.socket, server_side=True)
    repository.scheme = "https"
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failure(folder: Path, url: str) -> str:
    with pytest.raises(PipelineError) as raised:
        class_path(PROGRAM, folder, url)
    assert names(folder) == ["lock"], "nothing half done"
    return str(raised.value)


def test_all_projects_of_a_user_share_one_download(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also two that download at once; and what one left that was killed is gone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "kafka-workshop"
    (folder / "download-killed" / "jars").mkdir(parents=True)
    repository.silent.set()
    with ThreadPoolExecutor() as pool:
        projects = [pool.submit(class_path, PROGRAM, None, repository.url) for _ in range(2)]
        assert repository.half_sent.wait(10)
        repository.closed.set()
        assert {project.result() for project in projects} == {str(folder / "program-1.0" / "*")}
    assert repository.jars_asked_for == 1
    assert (folder / "program-1.0" / "program-1.0.jar").read_bytes() == JAR
    assert names(folder) == ["lock", "program-1.0"]


def test_without_a_cache_that_can_be_written_the_project_keeps_the_jars(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "HOME", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert class_path(PROGRAM, url=repository.url) == str(tmp_path / "jars" / "program-1.0" / "*")


def test_no_folder_at_all_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "HOME", Path("/dev/null"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    with pytest.raises(
        PipelineError, match=r"^Program could not be stored in /dev/null/kafka-workshop: Not a directory, nor"
    ):
        class_path(PROGRAM)


def test_a_path_that_java_would_divide(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="XDG_CACHE_HOME"):
        class_path(PROGRAM, tmp_path / "9:30", repository.url)


def test_ctrl_c_during_a_download_ends_it_and_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    repository.silent.set()
    program = f"""
from pathlib import Path
from pipeline.cli.process import run
from pipeline.local.jars import Bundle, class_path
run(lambda: class_path({PROGRAM!r}, Path({str(tmp_path)!r}), {repository.url!r}))
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, stderr=subprocess.PIPE, text=True
    )
    assert repository.half_sent.wait(20)
    started = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert time.monotonic() - started < 2
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert names(tmp_path) == ["lock"]


def test_a_certificate_that_is_not_trusted(
    repository: Repository, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy that intercepts TLS; and what the line proposes helps."""
    folder = tmp_path / "jars"
    said = failure(folder, repository.url)
    assert "its certificate is not trusted: self-signed certificate" in said
    assert "$REQUESTS_CA_BUNDLE" in said

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    class_path(PROGRAM, folder, repository.url)
    assert names(folder) == ["lock", "program-1.0"]


def test_a_certificate_file_that_is_missing(
    repository: Repository, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    said = failure(tmp_path / "jars", repository.url)
    assert "could not be downloaded" in said
    assert "nowhere.pem. Check $REQUESTS_CA_BUNDLE" in said


@pytest.mark.parametrize(
    ("url", "proxy", "reason"),
    [
        (NOWHERE, "", "Connection refused. Check the network, or set $HTTPS_PROXY"),
        ("https://nowhere.invalid", "", "its name could not be resolved: "),
        ("https://nowhere.invalid", NOWHERE, "the proxy failed: Connection refused. Check $HTTPS_PROXY"),
    ],
    ids=["refused", "no such name", "proxy"],
)
def test_without_network_the_reason_is_said(
    url: str, proxy: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, proxy)
    assert f"Program could not be downloaded from {url}: {reason}" in failure(tmp_path, url)


def test_a_server_that_does_not_answer(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "ANSWER_SECONDS", 1)
    repository.silent.set()
    assert "no answer in time. Check the network" in failure(tmp_path, repository.url)


def test_a_program_that_the_repository_does_not_have(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^Other could not be downloaded .*not found"):
        class_path(Bundle("Other", "2", 1, ("org.example:other:2",)), tmp_path, repository.url)
