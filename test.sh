#!/usr/bin/env bash
# ./test.sh [--thorough | --all] [PYTEST OPTION...], on a machine that has nothing but Python. Docker: BROKER=docker ./test.sh
#   without an option   one test of each promise, less than 5 minutes on two cores
#   --thorough          all tests, the fault tests in a short form, 9 minutes
#   --all               all tests, the fault tests in full, and each defence taken out, 40 minutes
# Files and tests that are named, with -k too, run as with --thorough.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # started with `sh test.sh`
set -euo pipefail
cd "$(dirname "$0")"
source pipeline/local/environment.sh

make_environment
install requirements.txt requirements/local.txt requirements/dev.txt workshops/musinsa/requirements.txt
# Three at a time also on two cores, as many tests wait for a time-out of Kafka's; the full form loads all by itself.
case " $* " in *" --all "*) at_a_time=0 ;; *) at_a_time=3 ;; esac
exec "$PYTHON" -m pytest --numprocesses "$at_a_time" "$@"
