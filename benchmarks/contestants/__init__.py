"""The work of stream_processor.py, written as the documentation of other libraries writes such a loop."""
