"""The users of a secured cluster: one for each script, with the least rights that it needs."""

from pipeline.client.access import Right
from pipeline.topics import (
    ANALYTICS_DLQ,
    ANALYTICS_EVENTS,
    CONSUMER_GROUP,
    DLQ_REPLAYS,
    PROCESSOR_GROUP,
    PURCHASE_EVENTS,
    REPLAY_ID,
    WEB_EVENTS,
)

ADMIN = "admin"  # a super user
SCRIPTS = {
    "producer-web": (Right("WRITE", "TOPIC", WEB_EVENTS),),
    "producer-purchase": (Right("WRITE", "TOPIC", PURCHASE_EVENTS),),
    "stream-processor": (
        Right("READ", "TOPIC", WEB_EVENTS),
        Right("READ", "TOPIC", PURCHASE_EVENTS),
        Right("WRITE", "TOPIC", ANALYTICS_EVENTS),
        Right("WRITE", "TOPIC", ANALYTICS_DLQ),
        Right("READ", "GROUP", PROCESSOR_GROUP),
        # Each process has an id of its own
        Right("WRITE", "TRANSACTIONAL_ID", f"{PROCESSOR_GROUP}-", prefixed=True),
    ),
    "consumer-analytics": (
        Right("READ", "TOPIC", ANALYTICS_EVENTS),
        Right("READ", "GROUP", CONSUMER_GROUP),
    ),
    "dlq": (
        Right("READ", "TOPIC", ANALYTICS_DLQ),
        Right("WRITE", "TOPIC", WEB_EVENTS),
        Right("WRITE", "TOPIC", PURCHASE_EVENTS),
        Right("READ", "TOPIC", DLQ_REPLAYS),
        Right("WRITE", "TOPIC", DLQ_REPLAYS),
        Right("DESCRIBE_CONFIGS", "TOPIC", DLQ_REPLAYS),  # it must be a compacted one
        Right("WRITE", "TRANSACTIONAL_ID", REPLAY_ID),
    ),
}
USERS = (ADMIN, *SCRIPTS)
