"""compose/secure.yml: the same Kafka as without Docker, with the same rules."""

import re
import shutil
import subprocess

import pytest

from pipeline.local import PROJECT
from pipeline.local.secure import SETTINGS

VARIABLE = re.compile(r"^ +KAFKA_(?!CLUSTERS)(\w+): (.+)$", re.MULTILINE)
IMAGE = re.compile(r"image: (\S+cp-kafka\S+)")
SECURED = (PROJECT / "compose" / "secure.yml").read_text()
PLAIN = (PROJECT / "docker-compose.yml").read_text()


def properties(compose: str) -> dict[str, str]:
    """Return the broker's properties, as the image makes them of its variables."""
    named = {
        name.lower().replace("___", "-").replace("_", "."): value for name, value in VARIABLE.findall(compose)
    }
    return {name: value.partition(" #")[0].strip('"') for name, value in named.items()}


def test_security_is_that_of_the_one_without_docker() -> None:
    secured = properties(SECURED)
    for name, value in SETTINGS.items():
        if name.endswith(".location"):
            assert secured[name].rpartition("/")[2] == value.rpartition("/")[2]
        else:
            assert secured[name] == value, name


def test_all_else_is_that_of_the_plain_one() -> None:
    secured, plain = properties(SECURED), properties(PLAIN)
    assert IMAGE.findall(SECURED) == IMAGE.findall(PLAIN)
    own = {"listeners", "advertised.listeners", "controller.quorum.voters", *SETTINGS}
    assert {name: value for name, value in secured.items() if name not in own} == {
        name: value for name, value in plain.items() if name not in own
    }


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no command docker")
def test_docker_compose_accepts_it() -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("there is no docker compose")
    checked = subprocess.run(
        ["docker", "compose", "-f", "compose/secure.yml", "config", "--quiet"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")
