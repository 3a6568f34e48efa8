#!/usr/bin/env bash
# ./test.sh [--all] [PYTEST OPTION...]: all tests, on a machine that has nothing but Python. --all: the fault tests
# in full, about 40 minutes. Docker: BROKER=docker ./test.sh
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # started with `sh test.sh`
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/local/environment.sh

make_environment
install requirements.txt requirements/local.txt requirements/dev.txt workshops/musinsa/requirements.txt
# Two at a time, as many tests wait for a time-out of Kafka's; the full form loads both cores by itself.
case " $* " in *" --all "*) at_a_time=0 ;; *) at_a_time=2 ;; esac
exec "$PYTHON" -m pytest --numprocesses "$at_a_time" --dist worksteal "$@"
