"""Prints what users do on a site, out of the topic user_activity.

It goes on where its consumer group stopped the last time; a new group starts with the oldest message.
"""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics, subscribe
from pipeline.options import group_name, option_parser, whole_number
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.reading import LOOK_MS, SESSION_MS, close, commit, records
from pipeline.status import say
from pipeline.text import printable

TOPIC = PREFIX + "user_activity"
GROUP = PREFIX + "user_activity_group"
EXAMPLES = """
    python workshops/user_activity/consumer_example.py
    python workshops/user_activity/consumer_example.py --manual-commit
    python workshops/user_activity/consumer_example.py --seek 3 --group another_group
"""


class Activity(msgspec.Struct):
    """A message of the topic, as far as it is printed."""

    user_id: int
    action: str
    amount: int | None = None

    def __post_init__(self) -> None:
        """Check what a type can't; msgspec tells it as a ValidationError."""
        if self.action == "purchase" and self.amount is None:
            raise ValueError("a purchase without `amount`")


def line_for(activity: Activity) -> str:
    """Give the line that is printed for an activity."""
    user = f"사용자 {activity.user_id}가"
    if activity.action == "login":
        return f"🟢 {user} 로그인했습니다."
    if activity.action == "logout":
        return f"🔴 {user} 로그아웃했습니다."
    if activity.action == "view":
        return f"👀 {user} 상품을 조회했습니다."
    if activity.action == "purchase":
        return f"💰 {user} {activity.amount}원 결제했습니다."
    return f"❓ {user} 알 수 없는 활동을 했습니다: {printable(activity.action)}"


class StartAt(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Moves to an offset in each partition, the first time that it is assigned."""

    def __init__(self, consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._offsets = dict(offsets)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Nothing to do: the client commits by itself, or we did."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Seek. Only now: a partition that is not ours yet has no position."""
        for partition in self._offsets.keys() & set(assigned):
            self._consumer.seek(partition, self._offsets.pop(partition))


def within_topic(consumer: KafkaConsumer, wanted: int) -> dict[TopicPartition, int]:
    """Give the offset to start at for each partition, and say so where it can't be the one that is wanted.

    A consumer that is sent where nothing is goes to where auto_offset_reset says: from behind the end back to
    the very beginning, which nobody means who asks for an offset.
    """
    partitions = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC)]
    firsts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    starts = {}
    for partition in partitions:
        first, end = firsts[partition], ends[partition]
        starts[partition] = min(max(wanted, first), end)
        if starts[partition] != wanted:
            say(
                f"Partition {partition.partition} has offsets {first} to {end - 1}: starting at "
                f"{starts[partition]}."
                if end > first
                else f"Partition {partition.partition} is empty: starting at {end}."
            )
    return starts


def main() -> None:
    """Read and print messages until a stop is requested."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--group", type=group_name, default=GROUP, help="consumer group (default: %(default)s)"
    )
    parser.add_argument(
        "--manual-commit",
        action="store_true",
        help="commit after each message, not every 5 seconds in the background",
    )
    parser.add_argument("--seek", type=whole_number(), metavar="N", help="start at offset N")
    options = parser.parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)

    # 1. The consumer: where Kafka is, which group, where a new group begins, who commits
    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=not options.manual_commit,
        session_timeout_ms=SESSION_MS,
        consumer_timeout_ms=LOOK_MS,
    )
    start = None if options.seek is None else StartAt(consumer, within_topic(consumer, options.seek))
    subscribe(consumer, TOPIC, listener=start)
    say(f"Reading {TOPIC} at {options.bootstrap_servers}; Ctrl-C to stop.")

    # 2. The loop
    for record in records(consumer, stop):
        # 3. What is done with a message. It is decoded here: an error in a value_deserializer would end the
        # loop, and come again at every start, as the consumer gets no further than to this message.
        try:
            activity = msgspec.json.decode(record.value or b"", type=Activity)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            say(f"Not a user activity: {record.topic}[{record.partition}]@{record.offset}: {error}")
        else:
            print(f"======= 새 메시지 수신 (파티션: {record.partition}, 오프셋: {record.offset}) =======")
            print(line_for(activity))
            print(flush=True)
        if options.manual_commit:
            commit(consumer)

    if not options.manual_commit:
        commit(consumer)  # what came after the last commit in the background
    close(consumer)
    say("Stopped.")


if __name__ == "__main__":
    run(main)
