#!/usr/bin/env bash
# ./benchmarks/run.sh [OPTION...]: measures this project against what one would use instead; see --help.
set -euo pipefail
cd "$(dirname "$0")/.."
source pipeline/local/environment.sh

make_environment
install requirements.txt requirements/local.txt requirements/dev.txt benchmarks/requirements.txt
exec "$PYTHON" -m benchmarks.compare "$@"
