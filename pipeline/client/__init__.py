"""Everything that knows kafka-python: connections, topics, reading, sending, transactions, exactly once."""
