#!/usr/bin/env bash
# ./test.sh [PYTEST OPTION...]: all tests, on a machine that has nothing but Python. Docker: BROKER=docker ./test.sh
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/environment.sh

make_environment
install requirements.txt requirements-dev.txt
# Two at a time: many tests wait for a time-out of Kafka's.
exec "$PYTHON" -m pytest --numprocesses 2 --dist worksteal "$@"
