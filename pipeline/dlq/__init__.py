"""The work of dlq.py: read the dead letter queue, select, edit, replay, show. Knows no kafka-python."""
