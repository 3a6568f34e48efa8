"""The work of stream_processor.py, written as other libraries show such a loop in their documentation."""
