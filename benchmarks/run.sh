#!/usr/bin/env bash
# ./benchmarks/run.sh [OPTION...]: measures this project against what one would use instead; --help tells more.
set -euo pipefail
cd "$(dirname "$0")/.."
source pipeline/environment.sh

make_environment
install requirements.txt requirements-dev.txt benchmarks/requirements.txt
exec "$PYTHON" -m benchmarks.compare "$@"
