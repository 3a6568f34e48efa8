"""Services without Docker, and which broker to use."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HOME = PROJECT / ".kafka"  # data and logs of local services
HOST = "127.0.0.1"
