#!/usr/bin/env bash
# ./create_topic.sh NAME [PARTITIONS] [REPLICATION]: creates a topic
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # started with `sh create_topic.sh`
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/local/environment.sh

make_environment
install requirements.txt
exec "$PYTHON" -m pipeline.client.create_topic "$@"
