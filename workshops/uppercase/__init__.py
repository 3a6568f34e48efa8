"""Words upper-cased on their way from one topic to another (workshop 003)."""
