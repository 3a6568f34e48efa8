"""run.sh: one command, all four scripts, a summary that adds up, and nothing left behind."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.demo.scripts import COLORS
from pipeline.local import PROJECT
from tests.integration.pipelines import Pipeline, wait_until

RUN = ("-m", "pipeline.demo")


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_four_and_leaves_none_behind(pipeline: Pipeline, number: signal.Signals) -> None:
    running = pipeline.start(*RUN)
    wait_until(lambda: "│ 20" in running.stdout, "a clean event was printed")
    assert len(processes_of(pipeline)) == 5
    assert running.stop(number) == 0
    assert processes_of(pipeline) == []
    assert "Traceback" not in running.stdout + running.stderr
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
    done = pipeline.run("bash", "-c", f"{sys.executable} -m pipeline.demo 2000 | head -n 3")
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
    wait_until(lambda: processes_of(pipeline) == [], "none is left behind")


def test_ctrl_c_while_a_count_is_sent(pipeline: Pipeline) -> None:
    running = pipeline.start(*RUN, "1000000")
    wait_until(lambda: "│ 20" in running.stdout, "a clean event was printed")
    assert running.stop(signal.SIGINT) == 0
    assert processes_of(pipeline) == []


def test_servers_that_can_not_be_read(pipeline: Pipeline) -> None:
    shown = pipeline.run(*RUN, "1", KAFKA_BOOTSTRAP_SERVERS="nowhere")
    assert shown.returncode == 1
    assert shown.stderr == "run.sh: $KAFKA_BOOTSTRAP_SERVERS can't be used: 'nowhere' is not HOST:PORT.\n"


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
