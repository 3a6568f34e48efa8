"""The rights of docs/security.md: with exactly these each script works, and each of them is needed."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.cli.cluster import read_cluster
from pipeline.client.access import Right, grant, set_passwords
from pipeline.client.admin import admin_client, ensure_compacted_topic, ensure_topics
from pipeline.client.health import answers
from pipeline.local import PROJECT
from pipeline.local.broker import LOCAL_TOOL, Broker
from pipeline.local.rights import SCRIPTS
from pipeline.local.secure import SecureKafka
from pipeline.topics import DLQ_REPLAYS
from tests.integration.pipelines import Pipeline, wait_until

COMMANDS = {
    "producer-web": ("producer_web.py", "--count", "100", "--rate", "0", "--broken", "0.5"),
    "producer-purchase": ("producer_purchase.py", "--count", "100", "--rate", "0"),
    "stream-processor": ("stream_processor.py",),
    "consumer-analytics": ("consumer_analytics.py", "--max-messages", "1"),
    "dlq": ("dlq.py", "replay"),
}
PASSWORD = "a-password-for-tests"
AT_ONCE = 3


class Users(Pipeline):
    """A pipeline on the secured Kafka, and users with the rights that a test chooses."""

    def __init__(self, secured: SecureKafka) -> None:
        super().__init__(Broker(secured.files.cluster("admin"), "", f"{LOCAL_TOOL} exec ", stop=None))
        self._secured = secured
        self.replays = self.prefix + DLQ_REPLAYS
        ensure_topics(self.kafka.cluster, self.web, self.purchase, self.analytics, self.dlq)
        ensure_compacted_topic(self.kafka.cluster, self.replays)

    def create(self, rights: dict[str, list[Right]]) -> None:
        """Create users, and wait until they can log in."""
        ours = {self.prefix + user: map(self._of_this_test, of_user) for user, of_user in rights.items()}
        with admin_client(self.kafka.cluster) as admin:
            grant(admin, ours)
            set_passwords(admin, dict.fromkeys(ours, PASSWORD))
        files = [self.config(user) for user in rights]
        clusters = [read_cluster(file, None, self.kafka.servers) for file in files]
        wait_until(lambda: all(answers(cluster, seconds=1) for cluster in clusters), "users can log in")

    def config(self, user: str) -> str:
        """Write the client properties file of a user, and return its path."""
        file = self._secured.folder / f"{self.prefix}{user}.properties"
        login = f'username="{self.prefix}{user}" password="{PASSWORD}"'
        of_admin = self._secured.files.client("admin").read_text()
        file.write_text(re.sub(r'username="admin" password=".*"', login, of_admin))
        file.chmod(0o600)
        return str(file)

    def _of_this_test(self, right: Right) -> Right:
        return right._replace(name=self.prefix + right.name)


@pytest.fixture
def users(secure_kafka: SecureKafka) -> Iterator[Users]:
    made = Users(secure_kafka)
    with made:
        yield made


@pytest.mark.thorough
def test_each_script_works_with_its_rights_and_needs_each_of_them(users: Users) -> None:
    without = {
        f"{user}-{number}": (user, right)
        for user, rights in SCRIPTS.items()
        for number, right in enumerate(rights)
    }
    users.create(
        {user: list(rights) for user, rights in SCRIPTS.items()}
        | {
            name: [right for right in SCRIPTS[user] if right != missing]
            for name, (user, missing) in without.items()
        }
    )

    def run(user: str, script: str | None = None) -> tuple[int, str]:
        done = users.run(*COMMANDS[script or user], "--config", users.config(user))
        return done.returncode, done.stderr

    # With all rights: also through kill -9 of a processor and a replay
    first = users.start("stream_processor.py", "--config", users.config("stream-processor"))
    first.wait_for("Processing")
    for producer in ("producer-web", "producer-purchase"):
        assert run(producer)[0] == 0
    first.process.kill()
    second = users.start("stream_processor.py", "--config", users.config("stream-processor"))
    users.wait_until_processed()
    letters = len(users.read(users.dlq))
    assert letters > 0
    assert letters + len(users.read(users.analytics)) == 200
    assert run("consumer-analytics")[0] == 0
    code, said = run("dlq")
    assert code == 0, said
    assert f"Replayed: {letters}" in said
    wait_until(lambda: len(users.read(users.dlq)) == 2 * letters, "they failed again, once each")
    assert second.stop() == 0

    # With any one taken out
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(without, pool.map(lambda name: run(name, without[name][0]), without), strict=True))
    for name, (user, right) in without.items():
        code, said = results[name]
        kind = right.resource.lower().replace("_", "-")
        operation = "".join(word.title() for word in right.operation.split("_"))
        [error] = [line for line in said.splitlines() if "does not allow" in line]
        assert code == 1, (name, said)
        assert f"Kafka does not allow {operation} on {kind} {users.prefix}{right.name}" in error, (
            user,
            right,
        )
        assert f"--operation {operation} --{kind} {users.prefix}{right.name}" in error


def test_the_table_of_the_documentation_is_what_was_tested() -> None:
    text = (PROJECT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| (\w+) \| (\w[\w ]*) \| `(\S+)` \|$", text, re.MULTILINE)
    expected = {
        (
            user,
            "".join(word.title() for word in right.operation.split("_")),
            right.resource.lower().replace("_", " ") + (" prefix" if right.prefixed else ""),
            right.name,
        )
        for user, rights in SCRIPTS.items()
        for right in rights
    }
    assert set(rows) == expected
