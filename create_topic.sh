#!/usr/bin/env bash
# ./create_topic.sh NAME [PARTITIONS] [REPLICATION]: creates a topic
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/environment.sh

make_environment
install requirements.txt
exec "$PYTHON" -m pipeline.create_topic "$@"
