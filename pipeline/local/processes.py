"""Services that outlive the command that started them, found again by a pid file."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

STOP_SECONDS = 20.0


class BackgroundProcess:
    """A service in the background, with its pid file and its log."""

    def __init__(self, folder: Path, log: Path, mark: str) -> None:
        """Describe it; nothing is started.

        Args:
            folder: the folder for the pid file.
            log: the file for its output.
            mark: an argument of its command line that no other process has.
        """
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

    def start(self, command: Sequence[str]) -> None:
        """Start it in a session of its own: Ctrl-C in the terminal is not meant for it."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid_file.write_text(str(process.pid))


def stop_all(services: Sequence[BackgroundProcess]) -> bool:
    """Stop services, by force where one does not end in time; return whether any was running."""
    running = [process for service in services if (process := service.running)]
    for process in running:
        process.terminate()
    _, stubborn = psutil.wait_procs(running, timeout=STOP_SECONDS)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn)
    return bool(running)
