#!/usr/bin/env bash
# ./run.sh [COUNT]: the whole pipeline in one terminal, on a machine that has nothing but Python.
# Without COUNT until Ctrl-C; with it COUNT events from each producer, and a summary.
# --config FILE: on a Kafka with TLS, user and password; --secure: on such a Kafka of this machine.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # started with `sh run.sh`
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/local/environment.sh

make_environment
install requirements.txt
case " $* " in
  *" --secure "*) install requirements.txt requirements/secure.txt ;;
  *)
    choice=$("$PYTHON" -m pipeline.local.broker "$@")
    # Only Kafka without Docker needs more than the scripts do: a Java runtime and the jars
    [ "$choice" != local ] || install requirements.txt requirements/local.txt
    ;;
esac
exec "$PYTHON" -m pipeline.demo "$@"
