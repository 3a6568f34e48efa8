#!/usr/bin/env bash
# ./test.sh [PYTEST OPTION...]: all tests, on a machine that has nothing but Python. Docker: BROKER=docker ./test.sh
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/environment.sh

make_environment
install requirements.txt requirements-dev.txt
exec "$PYTHON" -m pytest "$@"
