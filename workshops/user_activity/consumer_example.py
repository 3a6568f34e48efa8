"""Prints what users do on a site, out of the topic user_activity.

It continues where its consumer group stopped the last time; a new group begins with the oldest message.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import msgspec
from kafka import KafkaConsumer, TopicPartition

from pipeline.cli.options import option_parser, whole_number
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.consuming import SESSION_MS, StartAt, close, commit, partitions_of, records, subscribe
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import place_of
from pipeline.text import printable
from pipeline.topics import TOPIC_PREFIX

TOPIC = TOPIC_PREFIX + "user_activity"
GROUP = TOPIC_PREFIX + "user_activity_group"
EXAMPLES = """
    python -m workshops.user_activity.consumer_example
    python -m workshops.user_activity.consumer_example --manual-commit
    python -m workshops.user_activity.consumer_example --seek 3 --group another_group
"""


class Activity(msgspec.Struct):
    """The fields of a message that are printed."""

    user_id: int
    action: str
    amount: int | None = None

    def __post_init__(self) -> None:
        """Check what a type can't; msgspec reports it as a ValidationError."""
        if self.action == "purchase" and self.amount is None:
            raise ValueError("a purchase without `amount`")


def line_for(activity: Activity) -> str:
    """Return the line to print for an activity."""
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


def within_topic(consumer: KafkaConsumer, wanted: int) -> dict[TopicPartition, int]:
    """Return the offset to start at in each partition, and report where it is not the wanted one.

    A consumer that seeks an offset outside the partition continues where auto_offset_reset says: from behind
    the end it would jump back to the very beginning.
    """
    partitions = partitions_of(consumer, TOPIC)
    firsts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    starts = {}
    for partition in partitions:
        first, end = firsts[partition], ends[partition]
        starts[partition] = min(max(wanted, first), end)
        if starts[partition] != wanted:
            log.info(
                f"Partition {partition.partition} has offsets {first} to {end - 1}: starting at "
                f"{starts[partition]}."
                if end > first
                else f"Partition {partition.partition} is empty: starting at {end}."
            )
    return starts


def main() -> None:
    """Read and print messages until a stop is requested."""
    parser = option_parser(__doc__, EXAMPLES, group=GROUP)
    parser.add_argument(
        "--manual-commit",
        action="store_true",
        help="commit after each message, not every 5 seconds in the background",
    )
    parser.add_argument("--seek", type=whole_number(), metavar="N", help="start at offset N")
    options = parser.parse_args()
    stop = Stop()
    ensure_topics(options.cluster, TOPIC, reads=[TOPIC], partitions=1)
    report_outages(options.cluster)

    # 1. The consumer
    consumer = KafkaConsumer(
        **connection_settings(options.cluster),
        group_id=options.group,
        auto_offset_reset="earliest",  # a new group begins with the oldest message
        enable_auto_commit=not options.manual_commit,  # every 5 seconds, in the background
        session_timeout_ms=SESSION_MS,
    )
    start = None if options.seek is None else StartAt(consumer, within_topic(consumer, options.seek))
    subscribe(consumer, TOPIC, listener=start)
    log.info(f"Reading {TOPIC} at {options.cluster}; Ctrl-C to stop.")

    try:
        # 2. The loop
        for record in records(consumer, stop):
            # 3. Process a message. It is decoded here: an error in a value_deserializer would end the loop,
            # and again at every start, as the consumer never gets past this message.
            try:
                activity = msgspec.json.decode(record.value or b"", type=Activity)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                log.warning(f"Not a user activity: {place_of(record)}: {error}")
            else:
                print(f"======= 새 메시지 수신 (파티션: {record.partition}, 오프셋: {record.offset}) =======")
                print(line_for(activity))
                print(flush=True)
            if options.manual_commit:
                commit(consumer)

        if not options.manual_commit:
            commit(consumer)  # what came after the last commit in the background
    finally:
        close(consumer)  # also where the reader of a pipe left: the next consumer need not wait
    log.info("Stopped.")


if __name__ == "__main__":
    run_kafka_script(main)
