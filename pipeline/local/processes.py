"""Services that outlive the command that started them, found again by a pid file."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from pipeline.cli.process import PipelineError

STOP_SECONDS = 20.0


class BackgroundProcess:
    """A service in the background, with its pid file and its log."""

    def __init__(self, folder: Path, log: Path, mark: str) -> None:
        """Describe it; nothing is started.

        Args:
            folder: the folder for the pid file, and the one it runs in.
            log: the file for its output.
            mark: an argument of its command line that no other process has.
        """
        self._folder = folder
        self._pid_file = folder / "pid"
        self._log = log
        self._mark = mark

    @property
    def running(self) -> psutil.Process | None:
        """The running process; None if there is none, also where its pid is another program's by now."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            command = process.cmdline()  # empty for a moment: Java's launcher executes itself again
            return process if not command or self._mark in command else None
        except (OSError, ValueError, psutil.Error):
            return None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it in a session of its own: Ctrl-C in the terminal is not meant for it.

        Args:
            command: its command line.
            environment: its variables.
        """
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self._folder, env=environment,
            )  # fmt: skip
        self._pid_file.write_text(str(process.pid))


def stop_all(services: Sequence[BackgroundProcess], seconds: float = STOP_SECONDS) -> bool:
    """Stop services, by force where one does not end in time; return whether any was running.

    Args:
        services: the services.
        seconds: how long each may take to end by itself.

    Raises:
        PipelineError: one of them was started by another user.
    """
    running = [process for service in services if (process := service.running)]
    for process in running:
        try:
            process.terminate()
        except psutil.NoSuchProcess:  # it ended by itself
            continue
        except psutil.AccessDenied as error:
            owner = process.username()
            raise PipelineError(
                f"Process {process.pid} ({process.name()}) was started by the user {owner}, "
                f"who has to stop it; or you, with `sudo kill {process.pid}`."
            ) from error
    _, stubborn = psutil.wait_procs(running, timeout=seconds)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn)
    return bool(running)
