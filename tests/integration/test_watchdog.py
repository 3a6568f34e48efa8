"""watchdog.py and process.py: calls that hang restart the process, or do not keep it from ending."""

import subprocess
import sys
from pathlib import Path

from pipeline.local import PROJECT

PROGRAM = """
import sys, threading, time
from pathlib import Path
from pipeline.client.watchdog import Watchdog, restart_process

lives = Path(sys.argv[1])
lives.write_text(lives.read_text() + "life ")
watchdog = Watchdog(limit=0.5, on_hang=restart_process)
if lives.read_text() == "life ":
    with watchdog.watch("quick()"):
        pass
    time.sleep(2)  # idle for longer than the limit
    print("idle was no reason", flush=True)
    with watchdog.watch("commit()"):
        threading.Event().wait()
print("done in another life", flush=True)
"""


def test_a_call_that_hangs_is_ended_by_a_new_process_and_idling_is_not(tmp_path: Path) -> None:
    program, lives = tmp_path / "program.py", tmp_path / "lives"
    program.write_text(PROGRAM)
    lives.write_text("")

    done = subprocess.run(
        [sys.executable, str(program), str(lives)], cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout == "idle was no reason\ndone in another life\n"
    assert done.stderr == "commit() did not return within 0 s; restarting this process.\n"
    assert lives.read_text() == "life life "


AT_A_BAD_MOMENT = """
import os, signal, threading
from pipeline.cli.process import Stop

stop = Stop(seconds=0.2)
with threading._active_limbo_lock:  # held whenever a thread is started
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(5)
    threading.Event().wait()  # a call that never returns
"""


def test_a_signal_that_comes_while_a_lock_is_held_ends_the_process_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_A_BAD_MOMENT], cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == "Stopped without waiting any longer.\n"


def test_a_stopped_terminal_does_not_keep_a_process_alive() -> None:
    """Ctrl-S, or a pipe that nobody reads: print() does not return."""
    program = (
        "from pipeline.cli.process import Stop; stop = Stop(seconds=0.2); print('x' * 10**6); stop.wait(99)"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", program], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        assert process.stdout.read(1) == b"x"
        process.terminate()
        assert process.wait(5) == 0
