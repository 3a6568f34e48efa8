"""The table of figures in both READMEs is the one that was measured."""

import json
from statistics import median

import pytest

from pipeline.local import PROJECT

RESULTS = PROJECT / "benchmarks/results/results.json"
MEASURED = (
    "events/s",
    "events/s, 2 processes",
    "p50 ms at 1000/s",
    "p99 ms at 1000/s",
    "cpu us/event",
    "peak MiB",
)
# How a row begins, in either language.
BEGINNINGS = {
    "processor": "**",
    "ceiling": "kafka-python, ",
    "quixstreams": "Quix Streams |",
    "quixstreams-tuned": "Quix Streams, ",
    "aiokafka": "aiokafka |",
    "confluent-kafka": "confluent-kafka |",
    "kafka-streams": "Kafka Streams (Java) |",
}


@pytest.mark.parametrize("readme", sorted(path.name for path in PROJECT.glob("README*.md")))
def test_the_readme_has_what_was_measured(readme: str) -> None:
    lines = (PROJECT / readme).read_text().splitlines()
    rounds_of = json.loads(RESULTS.read_text())["figures"]
    for name, rounds in rounds_of.items():
        one, two, p50, p99, cpu, peak = (
            f"{median(figures[figure] for figures in rounds if figure in figures):,.0f}"
            for figure in MEASURED
        )
        ratio = median(
            figures["events/s"] / ours["events/s"]
            for figures, ours in zip(rounds, rounds_of["processor"], strict=True)
        )
        [row] = [line for line in lines if line.startswith("| " + BEGINNINGS[name])]
        assert row.endswith(f" | {one} | {ratio:.2f} | {two} | {p50} / {p99} | {cpu} | {peak} |")
