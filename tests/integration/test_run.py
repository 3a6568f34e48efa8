"""run.sh: one command, all four scripts, a summary that adds up, and nothing left behind."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.cli.options import SERVERS_VARIABLE
from pipeline.demo.scripts import COLORS
from pipeline.local import PROJECT, broker
from tests.conftest import free_port
from tests.integration.pipelines import Pipeline, wait_until

RUN = ("-m", "pipeline.demo")
STOP_SECONDS = 5.0
OF_PIPELINE = ("TOPIC_PREFIX", SERVERS_VARIABLE, "BROKER")
LINE = r"^  (sent|clean|dead letters|to come) +([\d,]+) "


def processes_of(pipeline: Pipeline) -> list[psutil.Process]:
    """Return every process that works on this pipeline's topics."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TOPIC_PREFIX") == pipeline.prefix:
                found.append(process)
        except psutil.Error:
            continue
    return found


def require_account(pipeline: Pipeline, stdout: str) -> None:
    """The summary of a run that was stopped: all that was sent came out, or is said to come."""
    summary = stdout[stdout.index("This run") :]
    numbers = {name: int(number.replace(",", "")) for name, number in re.findall(LINE, summary, re.M)}
    sent = sum(end for end in pipeline.ends().values())
    came = len(pipeline.read(pipeline.analytics)), len(pipeline.read(pipeline.dlq))
    assert numbers["sent"] == sent
    assert numbers["clean"] + numbers["dead letters"] + numbers.get("to come", 0) == sent
    assert (numbers["clean"], numbers["dead letters"]) <= came
    assert ", each once: yes (" in summary


def test_a_count_is_sent_processed_and_summed_up(pipeline: Pipeline) -> None:
    done = pipeline.run(*RUN, "100")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout[done.stdout.index("This run") :]
    clean, dead = len(pipeline.read(pipeline.analytics)), len(pipeline.read(pipeline.dlq))
    assert (clean + dead, dead > 0) == (200, True)
    assert re.search(r"^  sent +200 ", summary, re.M)
    assert re.search(rf"^  clean +{clean} ", summary, re.M)
    assert re.search(rf"^  dead letters +{dead} ", summary, re.M)
    reasons = re.findall(r"^ +(\d+)   (?:Object|Expected|Input|JSON)", summary, re.M)
    assert sum(map(int, reasons)) == dead
    assert f"yes (200 and {clean} + {dead})" in summary
    assert f"--topic {pipeline.dlq} --from-beginning" in summary
    for name in COLORS:
        assert re.search(rf"^{name} +│ ", done.stdout, re.M)
    assert processes_of(pipeline) == []


def test_what_others_send_meanwhile_is_not_counted(pipeline: Pipeline) -> None:
    # These wait to be processed when the run starts, and further ones are sent all the time.
    pipeline.run("producer_web.py", "--count", "50", "--rate", "0")
    other = pipeline.start("producer_web.py", "--rate", "20")
    wait_until(lambda: other.stdout, "others send")
    done = pipeline.run(*RUN, "30")
    assert done.returncode == 0, done.stdout
    assert "yes (60 and " in done.stdout


def test_the_log_level_is_that_of_all_scripts(pipeline: Pipeline) -> None:
    done = pipeline.run(*RUN, "10", "--log-level", "warning")
    assert done.returncode == 0, done.stderr
    assert "each once: yes" in done.stdout
    assert "Ctrl-C to stop" not in done.stdout
    assert done.stderr == ""


def test_a_lost_event_is_seen(pipeline: Pipeline, tmp_path: Path) -> None:
    """The summary must be able to say no: here the processor loses what it reads."""
    code = (
        "import pipeline.demo.__main__ as r, pipeline.demo.summary as s\n"
        "s.QUIET_SECONDS = 5\n"
        "class Losing(r.Script):\n"
        "    def __init__(self, stop, name, *a, **k):\n"
        "        super().__init__(stop, r.CONSUMER if name == r.PROCESSOR else name, *a, **k)\n"
        "r.Script = Losing\n"
        "r.run_kafka_script(r.main, 'run.sh')\n"
    )
    done = pipeline.run(sys.executable, "-c", code, "10")
    assert done.returncode == 1
    assert "NO (20 and 0 + 0)" in done.stdout
    assert "run.sh: Sent is not clean + dead letters." in done.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_a_signal_stops_all_four_and_leaves_none_behind(pipeline: Pipeline, number: signal.Signals) -> None:
    running = pipeline.start(*RUN)
    wait_until(lambda: "│ 20" in running.stdout, "a clean event was printed")
    assert len(processes_of(pipeline)) == 5
    before = time.monotonic()
    assert running.stop(number) == 0
    assert time.monotonic() - before < STOP_SECONDS
    assert processes_of(pipeline) == []
    assert "Traceback" not in running.stdout + running.stderr
    require_account(pipeline, running.stdout)
    assert "Look into the DLQ" in running.stdout
    assert f"dlq.py stats --bootstrap-servers {pipeline.kafka.servers}" in running.stdout


def test_a_script_that_ends_by_itself_ends_the_run(pipeline: Pipeline) -> None:
    running = pipeline.start(*RUN)
    wait_until(lambda: "│ 20" in running.stdout, "a clean event was printed")
    [processor] = [p for p in processes_of(pipeline) if "stream_processor.py" in p.cmdline()]
    processor.kill()
    assert running.process.wait(20) == 1
    running.stop()
    assert "run.sh: stream_processor.py ended by itself" in running.stderr
    assert processes_of(pipeline) == []


def test_a_reader_that_leaves_stops_the_run(pipeline: Pipeline) -> None:
    done = pipeline.run("bash", "-c", f"{shlex.quote(sys.executable)} -m pipeline.demo 2000 | head -n 3")
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
    wait_until(lambda: processes_of(pipeline) == [], "none is left behind")


def test_ctrl_c_while_a_count_is_sent(pipeline: Pipeline) -> None:
    running = pipeline.start(*RUN, "1000000")
    wait_until(lambda: "│ 20" in running.stdout, "a clean event was printed")
    before = time.monotonic()
    assert running.stop(signal.SIGINT) == 0
    assert time.monotonic() - before < STOP_SECONDS
    assert processes_of(pipeline) == []
    assert ", each once: yes (" in running.stdout


def test_the_printed_commands_show_and_replay_the_dead_letters_of_this_run(pipeline: Pipeline) -> None:
    pipeline.run(*RUN, "20")
    earlier = len(pipeline.read(pipeline.dlq))
    wait_until(lambda: time.time() % 1 < 0.5, "the next second")  # --since knows whole seconds
    done = pipeline.run(*RUN, "40")
    letters = len(pipeline.read(pipeline.dlq)) - earlier
    hints = done.stdout[done.stdout.index("Look into the DLQ") :]
    # In another terminal, which has none of this one's variables
    environment = {name: value for name, value in os.environ.items() if name not in OF_PIPELINE}
    shown = {}
    for line in (line.strip() for line in hints.splitlines() if " dlq.py " in line):
        command = line.replace(broker.PYTHON, shlex.quote(sys.executable))
        answer = subprocess.run(
            ["bash", "-c", command], cwd=PROJECT, env=environment, capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stderr
        shown[line.split("dlq.py ")[1].split()[0]] = answer.stdout + answer.stderr
    assert f"{pipeline.dlq}: {letters} open" in shown["stats"]
    assert len(shown["list"].splitlines()) == letters
    assert f"Replayed: {letters}\n" in shown["replay"]


def test_the_printed_commands_work_elsewhere(pipeline: Pipeline, tmp_path: Path) -> None:
    """For one who started /path/to/run.sh."""
    done = pipeline.run(*RUN, "1", OLDPWD=str(tmp_path))
    assert f"\n  cd {shlex.quote(str(PROJECT))}\n" in done.stdout


def test_a_script_that_can_not_be_started_leaves_none_behind(pipeline: Pipeline) -> None:
    code = (
        "import pipeline.demo.__main__ as r\n"
        "class Failing(r.Script):\n"
        "    def __init__(self, stop, name, *a, **k):\n"
        "        if name == r.CONSUMER: raise OSError(11, 'Resource temporarily unavailable')\n"
        "        super().__init__(stop, name, *a, **k)\n"
        "r.Script = Failing\n"
        "r.run_kafka_script(r.main, 'run.sh')\n"
    )
    done = pipeline.run(sys.executable, "-c", code)
    assert done.returncode == 1
    assert done.stderr.endswith("run.sh: [Errno 11] Resource temporarily unavailable\n")
    assert processes_of(pipeline) == []


def test_servers_that_can_not_be_read(pipeline: Pipeline) -> None:
    shown = pipeline.run(*RUN, "1", KAFKA_BOOTSTRAP_SERVERS="nowhere")
    assert shown.returncode == 2
    assert (
        "run.sh: error: $KAFKA_BOOTSTRAP_SERVERS can't be used: 'nowhere' is not HOST:PORT\n" in shown.stderr
    )


def test_bad_usage() -> None:
    shown = subprocess.run([sys.executable, *RUN, "many"], cwd=PROJECT, capture_output=True, text=True)
    assert shown.returncode == 2
    assert (
        "./run.sh 500"
        in subprocess.run(
            [sys.executable, *RUN, "--help"], cwd=PROJECT, capture_output=True, text=True
        ).stdout
    )


def test_an_unknown_broker_is_reported(pipeline: Pipeline) -> None:
    shown = pipeline.run(*RUN, "1", BROKER="podman")
    assert (shown.returncode, shown.stderr) == (
        1, "run.sh: BROKER=podman is not known; it can be docker or local.\n",
    )  # fmt: skip


@pytest.mark.thorough
def test_a_secured_kafka_with_a_user_for_each_script(tmp_path: Path) -> None:
    copy, port = tmp_path / "바탕화면" / "카프카 실습", str(free_port())
    shutil.copytree(PROJECT / "pipeline", copy / "pipeline")
    for script in (*(f"{name}.py" for name in COLORS), "dlq.py", "requirements.txt"):
        shutil.copy(PROJECT / script, copy / script)

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=copy, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        shown = run("-m", "pipeline.demo", "--secure", "--bootstrap-servers", f"localhost:{port}", "50")
        assert "sent = clean + dead letters, each once: yes (100 and " in shown
        [command] = [line.strip() for line in shown.splitlines() if " dlq.py replay " in line]
        replayed = run(*shlex.split(command)[1:]).splitlines()
        assert re.search(rf"dead letters +{len(replayed)} ", shown)
    finally:
        run("-m", "pipeline.local", "stop", "--secure", "--port", port)
