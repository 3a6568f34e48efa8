"""The names of topics and consumer groups. Knows no Kafka, no network and no files."""

import os

# Several pipelines on one broker: each with a prefix of its own (the tests do that).
TOPIC_PREFIX = os.environ.get("TOPIC_PREFIX", "")


def source_topic(source: str) -> str:
    """Return the topic of a source's events, such as web-events for "web"."""
    return f"{TOPIC_PREFIX}{source}-events"


WEB_EVENTS = source_topic("web")
PURCHASE_EVENTS = source_topic("purchase")
ANALYTICS_EVENTS = TOPIC_PREFIX + "analytics-events"
ANALYTICS_DLQ = TOPIC_PREFIX + "analytics-dlq"
DLQ_REPLAYS = TOPIC_PREFIX + "analytics-dlq-replays"  # the ledger of dlq.py replay

# What the processor writes to. An output is larger than its source record (headers, new fields), so these
# topics get a higher size limit.
OUTPUT_TOPICS = (ANALYTICS_EVENTS, ANALYTICS_DLQ)
PARTITIONS = 3  # of each topic that the scripts create

PROCESSOR_GROUP = TOPIC_PREFIX + "stream-processor"
CONSUMER_GROUP = TOPIC_PREFIX + "analytics-consumer"
REPLAY_ID = (
    TOPIC_PREFIX + "dlq-replay"
)  # the transactional id of all replays: a new one fences the one before
