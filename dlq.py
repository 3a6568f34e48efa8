"""Looks into analytics-dlq: why events died and how many, and sends them back to their source.

Nothing is ever deleted from the queue. A replay sends each letter back once, whatever dies when. What was not
mended dies again, as a new letter that says how often it was tried.
"""

from argparse import Namespace
from itertools import islice

from pipeline.connection import ANALYTICS_DLQ, SOURCES, ensure_topics
from pipeline.dead_letter_queue import DeadLetterQueue
from pipeline.dlq_options import parse_options
from pipeline.letter_views import Statistics, as_json, as_line, as_page, as_way_back
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


def list_letters(options: Namespace, stop: Stop) -> None:
    """Print a line for each letter, those that died first first."""
    letters = DeadLetterQueue(options.bootstrap_servers, stop).letters(options.wanted)
    printed = 0
    for letter in islice(letters, options.limit):
        print(as_json(letter) if options.json else as_line(letter))
        printed += 1
    if not printed:
        say(f"{ANALYTICS_DLQ} has no such letter.")


def count_letters(options: Namespace, stop: Stop) -> None:
    """Print how many died of what, and when."""
    statistics = Statistics()
    for letter in DeadLetterQueue(options.bootstrap_servers, stop).letters(options.wanted):
        statistics.add(letter)
    print(statistics.as_json() if options.json else statistics.as_text())


def show_letter(options: Namespace, stop: Stop) -> None:
    """Print everything about the letter of one source record (several, if it died in several groups)."""
    letters = DeadLetterQueue(options.bootstrap_servers, stop).letters(options.wanted)
    found = [letter for letter in letters if options.place in (letter.place, letter.lies_at)]
    if not found:
        raise PipelineError(f"{ANALYTICS_DLQ} has no letter of {options.place}. See `python3 dlq.py list`.")
    print("\n\n".join(map(as_page, found)))


def replay(options: Namespace, stop: Stop) -> None:
    """Choose letters, edit them, send a batch of them back in a transaction, print, until all are done."""
    sender = (DryRun if options.dry_run else Replay)(options.bootstrap_servers, stop)
    selection = Selection(sender.queue.source_partitions(), options.max_attempts, stop)
    going = selection.take(sender.queue.letters(options.wanted))
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
        what = f"{'Would send' if options.dry_run else 'Sent'} back: {progress.count:,}"
        say(selection.describe(f"{what}, stopped" if stop.requested else what))
    if selection.failed:
        raise PipelineError(f"{selection.failed:,} letters could not be sent back; they stay as they are.")


def main() -> None:
    """Do what the command line says, until it is done or Ctrl-C."""
    options = parse_options(
        __doc__, EXAMPLES, listing=list_letters, stats=count_letters, show=show_letter, replay=replay
    )
    stop = Stop()
    ensure_topics(options.bootstrap_servers, ANALYTICS_DLQ, *SOURCES.values())
    options.run(options, stop)


if __name__ == "__main__":
    run(main)
