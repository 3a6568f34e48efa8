"""environment.sh: the environment that run.sh, test.sh and create_topic.sh make."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from pipeline.local import PROJECT

IS_A_SCRIPT = 'if __name__ == "__main__":'
MAKE = "set -euo pipefail; source pipeline/local/environment.sh; make_environment"


def test_workshop_scripts_find_the_project_wherever_it_is_and_wherever_they_start(tmp_path: Path) -> None:
    """In a folder with Korean letters and a space, and in a locale that knows no Korean."""
    project = tmp_path / "바탕화면" / "카프카 실습"
    for folder in ("pipeline", "workshops"):
        shutil.copytree(PROJECT / folder, project / folder)
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONPATH": sysconfig.get_path("purelib"),  # the packages; what is on their path is not followed
    }
    made = subprocess.run(["bash", "-c", MAKE], cwd=project, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    python = project / "kafka-env" / "bin" / "python"
    scripts = [path for path in (project / "workshops").glob("*/*.py") if IS_A_SCRIPT in path.read_text()]
    assert len(scripts) == 14
    for path in scripts:
        shown = subprocess.run(
            [python, path.name, "--help"], cwd=path.parent, env=environment, capture_output=True, text=True
        )
        assert shown.returncode == 0, shown.stderr
        assert "python -m workshops." in shown.stdout
