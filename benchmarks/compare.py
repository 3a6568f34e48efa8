"""Measures in turns: this project's processor, the ceiling of its client, and the alternatives.

All do the same work on the same events, exactly once: what a read_committed reader sees is counted each time.
Writes results.json, table.md and chart.svg.
"""

import argparse
import random
import signal
from pathlib import Path

from confluent_kafka import KafkaException
from kafka.errors import KafkaError

from benchmarks import report
from benchmarks.contestants import kafka_streams
from benchmarks.contestants.work import plain_servers
from benchmarks.measure import Contestant, Figures, Load, measure_one, measure_two
from benchmarks.stage import make_events
from pipeline.cli.options import choose_cluster, whole_number
from pipeline.cli.process import PipelineError
from pipeline.cli.status import log
from pipeline.client.errors import run_kafka_script
from pipeline.local import broker

RATES = (100, 1000, 5000)
WARM_UP = Load(backlog=20_000, rates=(1000,), seconds=2)  # the first contestant must not meet a slower broker
# Measured: throughput is the same from 0.05 to 1 s, as the Python code per record takes most of the time.
TUNED_COMMIT_SECONDS = "0.1"
MODULES = "benchmarks.contestants."
STREAMS = Contestant("kafka-streams", "Kafka Streams (Java)", ("-m", MODULES + "kafka_streams"))
CONTESTANTS = (
    Contestant("processor", "this project", ("stream_processor.py",)),
    Contestant("ceiling", "kafka-python, copying bytes only", ("-m", MODULES + "ceiling"), is_copy=True),
    Contestant("quixstreams", "Quix Streams", ("-m", MODULES + "quixstreams_loop")),
    Contestant(
        "quixstreams-tuned",
        f"Quix Streams, commit every {TUNED_COMMIT_SECONDS} s",
        ("-m", MODULES + "quixstreams_loop", "--commit-interval", TUNED_COMMIT_SECONDS),
    ),
    Contestant("aiokafka", "aiokafka", ("-m", MODULES + "aiokafka_loop")),
    Contestant("confluent-kafka", "confluent-kafka", ("-m", MODULES + "confluent_loop")),
    STREAMS,
)
EXAMPLES = """examples:
  ./benchmarks/run.sh                                         # five rounds, about 35 minutes
  ./benchmarks/run.sh --rounds 1 --events 20000 --seconds 3 --results /tmp/first-look
  ./benchmarks/run.sh --only processor ceiling --results /tmp/ceiling

Uses the same Kafka as run.sh does; $KAFKA_BOOTSTRAP_SERVERS names another one.
"""


def main() -> None:
    """Measure in turns, and write the results after each round."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.sh",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="default: %(default)s")
    parser.add_argument(
        "--events", type=whole_number(1000), default=200_000, help="of the backlog (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=whole_number(1), default=6, help="at each steady rate (default: %(default)s)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=report.RESULTS,
        metavar="FOLDER",
        help="where to (default: %(default)s)",
    )
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: contestants are ended, too

    kafka = broker.ready(broker.choose(), choose_cluster())
    servers = plain_servers(kafka.cluster)
    log.info(f"Kafka at {servers}, {kafka.how}.")
    load = Load(options.events, RATES, options.seconds)
    events = make_events(max(load.total, WARM_UP.total))
    chosen = [contestant for contestant in CONTESTANTS if contestant.name in options.only]
    results = report.Results(load, f"Kafka {kafka.how}", chosen)
    if STREAMS in chosen and (reason := kafka_streams.reason_to_skip()):
        chosen.remove(STREAMS)
        results.skipped[STREAMS.label] = reason
        log.info(f"{STREAMS.label} is skipped: {reason}.")
    elif STREAMS in chosen:
        kafka_streams.command(servers, "")  # downloads and compiles
    if not chosen:
        raise PipelineError("There is nobody to measure.")
    log.info("Warming the broker up ...")
    measure_one(servers, chosen[0], WARM_UP, events)
    for number in range(options.rounds):
        for contestant in random.Random(number).sample(chosen, len(chosen)):
            figures: Figures = {}
            try:
                figures |= measure_one(servers, contestant, load, events)
                figures |= measure_two(servers, contestant, load, events)
            except (PipelineError, KafkaError, KafkaException) as error:
                results.failures.setdefault(contestant.name, []).append(f"round {number + 1}: {error}")
                log.info(f"{contestant.label}: {error}")
            results.figures.setdefault(contestant.name, []).append(figures)
            log.info(f"round {number + 1}: {contestant.label}: " + _in_short(figures))
        report.write(results, options.results)
    print(report.tables(results))


def _in_short(figures: Figures) -> str:
    return ", ".join(f"{figure} {value:,.1f}" for figure, value in figures.items())


if __name__ == "__main__":
    run_kafka_script(main, "benchmarks/run.sh")
