"""Products, from a shop's pages through Kafka into a database and a search index (workshop 001)."""
