"""What the scripts share, one room an idea; docs/contributing.md has the map.

Imports point one way: scripts -> demo -> dlq, local -> client -> cli -> topics, schema, dead_letters, text.
"""
