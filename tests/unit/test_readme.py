"""The table of figures in both READMEs is the one that was measured."""

import json
from statistics import median

import pytest

from pipeline.broker import PROJECT

RESULTS = PROJECT / "benchmarks/results/results.json"
MEASURED = (
    "events/s",
    "events/s, 2 processes",
    "p50 ms at 1000/s",
    "p99 ms at 1000/s",
    "cpu us/event",
    "peak MiB",
)


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_readme_tells_what_was_measured(readme: str) -> None:
    text = (PROJECT / readme).read_text()
    rounds_of = json.loads(RESULTS.read_text())["figures"]
    for rounds in rounds_of.values():
        one, two, p50, p99, cpu, peak = (
            f"{median(figures[name] for figures in rounds if name in figures):,.0f}" for name in MEASURED
        )
        ratio = median(
            figures["events/s"] / ours["events/s"]
            for figures, ours in zip(rounds, rounds_of["processor"], strict=True)
        )
        assert f" | {one} | {ratio:.2f} | {two} | {p50} / {p99} | {cpu} | {peak} |\n" in text
