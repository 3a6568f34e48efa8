"""Looks into analytics-dlq: why events died and how many, and sends them back to their source.

Nothing is ever deleted from the queue. A replay sends each letter back once, whatever dies when. What was not
mended dies again, as a new letter that says how often it was tried.
"""

import argparse
from itertools import islice

from pipeline.connection import ANALYTICS_DLQ, SOURCES, ensure_topics
from pipeline.dead_letter_queue import DeadLetterQueue
from pipeline.letter_views import Statistics, as_json, as_line, as_page, as_way_back
from pipeline.letters import Filter
from pipeline.options import (
    add_servers,
    moment,
    option_parser,
    place,
    rate,
    shell_command,
    whole_number,
)
from pipeline.process import PipelineError, Stop, run
from pipeline.redelivery import Selection, batches
from pipeline.replay import DryRun, Replay
from pipeline.status import Progress, say

EXAMPLES = """
    python3 dlq.py stats
    python3 dlq.py list --source web --since 10m
    python3 dlq.py show web-events:0:17
    python3 dlq.py replay --reason 'field `page`' --edit "jq -c '.page=\\"/unknown\\"'" --dry-run
"""


def list_letters(options: argparse.Namespace, stop: Stop) -> None:
    """Print a line for each letter, those that died first first."""
    letters = DeadLetterQueue(options.bootstrap_servers, stop).letters(_filter(options))
    for letter in islice(letters, options.limit):
        print(as_json(letter) if options.json else as_line(letter))


def count_letters(options: argparse.Namespace, stop: Stop) -> None:
    """Print how many died of what, and when."""
    statistics = Statistics()
    for letter in DeadLetterQueue(options.bootstrap_servers, stop).letters(_filter(options)):
        statistics.add(letter)
    print(statistics.as_json() if options.json else statistics.as_text())


def show_letter(options: argparse.Namespace, stop: Stop) -> None:
    """Print everything about the letter of one source record (several, if it died in several groups)."""
    letters = DeadLetterQueue(options.bootstrap_servers, stop).letters(Filter())
    found = [letter for letter in letters if options.place in (letter.place, letter.lies_at)]
    if not found:
        raise PipelineError(f"{ANALYTICS_DLQ} has no letter of {options.place}. See `python3 dlq.py list`.")
    print("\n\n".join(map(as_page, found)))


def replay(options: argparse.Namespace, stop: Stop) -> None:
    """Choose letters, edit them, send a batch of them back in a transaction, print, until all are done."""
    sender = (DryRun if options.dry_run else Replay)(options.bootstrap_servers, stop)
    selection = Selection(sender.queue.source_partitions(), options.max_attempts, stop)
    going = selection.take(sender.queue.letters(_filter(options)))
    if options.edit:
        going = selection.edit(going, options.edit)
    say(f"Replaying {ANALYTICS_DLQ} at {options.bootstrap_servers}; Ctrl-C to stop.")

    progress = Progress("letters")
    try:
        for batch in batches(islice(going, options.limit), 0 if options.dry_run else options.rate, stop):
            # All of a batch or nothing of it; so a line printed here is a fact, not an attempt.
            for outgoing, place, refusal in sender.send_back(batch):
                if refusal:
                    selection.keep(outgoing, refusal)
                    continue
                progress.add()
                print(as_way_back("would send" if options.dry_run else "sent", outgoing, place), flush=True)
    finally:
        progress.end()
        say(selection.describe(f"{'Would send' if options.dry_run else 'Sent'} back: {progress.count:,}"))
    if selection.failed:
        raise PipelineError(f"{selection.failed:,} letters could not be sent back; they stay as they are.")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = option_parser(__doc__, EXAMPLES)
    shared = argparse.ArgumentParser(add_help=False)
    add_servers(shared, default=argparse.SUPPRESS)  # before the command or behind it
    filters = argparse.ArgumentParser(add_help=False, parents=[shared])
    filters.add_argument("--source", choices=SOURCES, help="only letters of these events")
    filters.add_argument("--reason", metavar="TEXT", help="only where the reason contains this")
    filters.add_argument(
        "--since", type=moment, metavar="WHEN", help="only what died since: 10m, 2h, 3d, or 2026-11-22T10:00"
    )
    limit = argparse.ArgumentParser(add_help=False)
    limit.add_argument("--limit", type=whole_number(), metavar="N", help="no more than N, oldest first")
    as_data = argparse.ArgumentParser(add_help=False)
    as_data.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")

    commands = parser.add_subparsers(required=True, metavar="list | stats | show | replay")
    command = commands.add_parser("list", parents=[filters, limit, as_data], help="a line for each letter")
    command.set_defaults(run=list_letters)
    command = commands.add_parser("stats", parents=[filters, as_data], help="how many died of what")
    command.set_defaults(run=count_letters)
    command = commands.add_parser("show", parents=[shared], help="everything about one letter")
    command.add_argument("place", type=place, metavar="TOPIC:PARTITION:OFFSET", help="where it came from")
    command.set_defaults(run=show_letter)
    command = commands.add_parser("replay", parents=[filters, limit], help="send letters back, each once")
    command.add_argument("--dry-run", action="store_true", help="tell what would go where, send nothing")
    command.add_argument(
        "--edit", type=shell_command, metavar="COMMAND", help="send what this prints when it reads a value"
    )
    command.add_argument(
        "--max-attempts", type=whole_number(1), default=3, metavar="N",
        help="leave letters that were tried as often (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--rate", type=rate, default=0.0, metavar="R",
        help="letters per second, 0 for as fast as it goes (default: 0)",
    )  # fmt: skip
    command.set_defaults(run=replay)
    return parser.parse_args()


def main() -> None:
    """Do what the command line says, until it is done or Ctrl-C."""
    options = parse_options()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, ANALYTICS_DLQ, *SOURCES.values())
    options.run(options, stop)


def _filter(options: argparse.Namespace) -> Filter:
    return Filter(options.source, options.reason, options.since)


if __name__ == "__main__":
    run(main)
