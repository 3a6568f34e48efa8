"""environment.sh: the environment that run.sh, test.sh and create_topic.sh make."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.local import PROJECT
from tests.integration.pipelines import wait_until

IS_A_SCRIPT = 'if __name__ == "__main__":'
MAKE = "set -euo pipefail; source pipeline/local/environment.sh; make_environment"
INSTALL = f"{MAKE}; install requirements.txt"

# Makes an environment as python3 does, but at once: ensurepip takes seconds, and is not what is tested.
PYTHON3 = """#!/bin/sh
if [ "$2" = venv ]; then
  touch venv-runs
  {before_venv}
  "{python}" -m venv --without-pip "$3"
  "$3/bin/python" -c 'import shutil, sysconfig; shutil.copy("fake-bin/pip.py", sysconfig.get_path("purelib"))'
else
  exec "{python}" "$@"
fi
"""
SLOW_PIP = """
import pathlib, sys, time
if __name__ == "__main__":
    pathlib.Path("pip-runs").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(1)  # as the real one does
"""


def variables_of(project: Path, pip: str = "", before_venv: str = "") -> dict[str, str]:
    """Return the variables for a shell whose python3 makes environments with this pip."""
    folder = project / "fake-bin"
    folder.mkdir(exist_ok=True)
    (folder / "pip.py").write_text(pip)
    (folder / "python3").write_text(PYTHON3.format(python=sys.executable, before_venv=before_venv))
    (folder / "python3").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def bash(code: str, folder: Path, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", code, "run.sh"], cwd=folder, env=dict(variables), capture_output=True, text=True
    )


def interrupt(project: Path, variables: Mapping[str, str], at: str) -> str:
    """Press Ctrl-C once a file appeared, and return what is on the terminal."""
    running = subprocess.Popen(
        ["bash", "-c", INSTALL, "run.sh"], cwd=project, env=dict(variables),
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until((project / at).exists, at)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    stderr = running.communicate(timeout=20)[1]
    assert running.returncode == 130, stderr
    return stderr


def require_made_again(project: Path, variables: Mapping[str, str]) -> None:
    made = bash(INSTALL, project, variables)
    assert (made.returncode, "again" in made.stderr) == (0, True), made.stderr
    found = bash(INSTALL, project, variables)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what environment.sh needs, and no environment."""
    made = tmp_path / "카프카 실습"
    (made / "pipeline" / "local").mkdir(parents=True)
    shutil.copy(PROJECT / "pipeline/local/environment.sh", made / "pipeline/local")
    shutil.copy(PROJECT / "requirements.txt", made)
    return made


def test_an_environment_without_pip_is_made_again(project: Path) -> None:
    """As Ctrl-C leaves it, or a Python without its venv module (Ubuntu)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / "kafka-env"], check=True)
    require_made_again(project, variables_of(project))


def test_ctrl_c_while_the_environment_is_made(project: Path) -> None:
    stderr = interrupt(project, variables_of(project, before_venv='mkdir -p "$3"; sleep 60'), at="venv-runs")
    assert "can't make" not in stderr
    require_made_again(project, variables_of(project))


def test_ctrl_c_while_pip_installs(project: Path) -> None:
    stderr = interrupt(project, variables_of(project, SLOW_PIP), at="pip-runs")
    assert "pip could not" not in stderr


def test_an_environment_whose_python_is_gone_is_made_again(project: Path) -> None:
    variables = variables_of(project)
    assert bash(INSTALL, project, variables).returncode == 0
    for python in (project / "kafka-env/bin").glob("python*"):
        python.unlink()
    require_made_again(project, variables)


def test_an_environment_that_was_copied_is_made_again(project: Path) -> None:
    """Its commands in bin/, and activate, would go on using the environment of the original."""
    assert bash(INSTALL, project, variables_of(project)).returncode == 0
    copy = project.parent / "copy"
    shutil.copytree(project, copy, symlinks=True)
    require_made_again(copy, variables_of(copy))
    activated = bash("source kafka-env/bin/activate; command -v python", copy, os.environ)
    assert activated.stdout.strip() == str(copy / "kafka-env/bin/python")


def test_two_first_starts_at_once(project: Path) -> None:
    variables = variables_of(project, before_venv="sleep 1")
    starts = [
        subprocess.Popen(
            ["bash", "-c", INSTALL, "run.sh"], cwd=project, env=variables, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [start.communicate()[1] for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert "".join(said).count("Making the virtual environment") == 1


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path
    if os.geteuid() == 0:  # root may write anywhere, except there
        folder = Path("/proc")
    tmp_path.chmod(0o555)
    made = bash(MAKE.replace("pipeline/", f"'{PROJECT}'/pipeline/"), folder, os.environ)
    assert made.returncode == 1
    assert f"run.sh: can't write in the folder {folder} (" in made.stderr
    assert "python3-venv" not in made.stderr


@pytest.mark.skipif(not shutil.which("dash"), reason="dash is not installed")
@pytest.mark.parametrize("script", ["run.sh", "test.sh", "create_topic.sh"])
def test_sh_runs_the_scripts_too(project: Path, script: str) -> None:
    shutil.copy(PROJECT / script, project)
    for requirements in ("requirements", "workshops/musinsa"):
        shutil.copytree(PROJECT / requirements, project / requirements)
    for module in ("pipeline/local/broker", "pipeline/demo", "pipeline/client/create_topic", "pytest"):
        (project / module).parent.mkdir(exist_ok=True)
        (project / f"{module}.py").write_text("import sys; print(sys.argv[-1])")
    started = bash(f"dash {script} 'two words'", project, variables_of(project))
    assert (started.returncode, started.stdout) == (0, "two words\n"), started.stderr


def test_workshop_scripts_find_the_project_wherever_it_is_and_wherever_they_start(tmp_path: Path) -> None:
    """In a folder with Korean letters and a space, and in a locale that knows no Korean."""
    project = tmp_path / "바탕화면" / "카프카 실습"
    for folder in ("pipeline", "workshops"):
        shutil.copytree(PROJECT / folder, project / folder)
    shutil.copy(PROJECT / "requirements.txt", project)
    variables = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONPATH": sysconfig.get_path("purelib"),  # the packages; what is on their path is not followed
    }
    made = subprocess.run(["bash", "-c", MAKE], cwd=project, env=variables, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    python = project / "kafka-env" / "bin" / "python"
    scripts = [path for path in (project / "workshops").glob("*/*.py") if IS_A_SCRIPT in path.read_text()]
    assert len(scripts) == 14
    for path in scripts:
        shown = subprocess.run(
            [python, path.name, "--help"], cwd=path.parent, env=variables, capture_output=True, text=True
        )
        assert shown.returncode == 0, shown.stderr
        assert "python -m workshops." in shown.stdout
