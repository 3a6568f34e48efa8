"""The other four workshops."""
