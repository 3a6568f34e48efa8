# For run.sh, test.sh and create_topic.sh: the virtual environment kafka-env/, made where it is missing.
# Sourced by them in the project's folder; bash, no `set -e` needed.

ENVIRONMENT=kafka-env
PYTHON=$ENVIRONMENT/bin/python
HALF_MADE=$ENVIRONMENT/half-made # there until the environment is complete

# pip ends with an exit code of its own after Ctrl-C, which would look like any other failure
trap 'exit 130' INT

fail() {
  echo "$0: $*" >&2
  exit 1
}

make_environment() {
  one_at_a_time make_missing_environment
}

# install FILE...: what the requirements files name, unless it was installed from the very same files before
install() {
  one_at_a_time install_missing "$@"
}

# One at a time in this folder: the second of two first starts would remove what the first one makes.
# macOS has no flock; there it goes without.
one_at_a_time() {
  exec 9<.
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    echo "Waiting for another start in this folder, which makes $ENVIRONMENT/ ..." >&2
    flock 9
  fi
  "$@"
  exec 9<&-
}

make_missing_environment() {
  environment_is_complete || make_new_environment
  put_project_on_path
}

environment_is_complete() {
  [ ! -e "$HALF_MADE" ] &&
    # Without pip where its making was interrupted, or Python got another version since. -I: not that of $PYTHONPATH
    "$PYTHON" -I -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null &&
    # In a copy, the commands in bin/ and activate would go on using the original
    (set +u && source "$ENVIRONMENT/bin/activate" && [ "$VIRTUAL_ENV" -ef "$ENVIRONMENT" ]) 2>/dev/null
}

make_new_environment() {
  local said
  command -v python3 >/dev/null || fail "python3 is missing: install Python 3.10 or newer"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$(python3 --version) is too old: install Python 3.10 or newer"
  if [ -e "$ENVIRONMENT" ]; then
    echo "Making the virtual environment $ENVIRONMENT/ again: it is incomplete, or was made in another folder ..." >&2
  else
    echo "Making the virtual environment $ENVIRONMENT/ ..." >&2
  fi
  said=$({ rm -rf "$ENVIRONMENT" && mkdir "$ENVIRONMENT" && : >"$HALF_MADE"; } 2>&1) ||
    fail "can't write in the folder $PWD (${said##*$'\n'}). Make it writable, or move the project to a folder of yours"
  # Its output is shown where it failed: after Ctrl-C it is a traceback
  said=$(python3 -m venv "$ENVIRONMENT" 2>&1) || {
    echo "$said" >&2
    python3 -c 'import ensurepip' 2>/dev/null ||
      fail "python3 can't make a virtual environment: install its venv module (Ubuntu: sudo apt install python3-venv)"
    fail "python3 could not make $ENVIRONMENT/; its reason stands above. Check the space on the disk, then run this again"
  }
  rm "$HALF_MADE"
}

# So that the scripts of workshops/ find pipeline/ from whatever folder they are started. Relative to the file itself:
# the path of the project may hold letters that Python would read in another encoding.
put_project_on_path() {
  local packages
  for packages in "$ENVIRONMENT"/lib/python3.*/site-packages; do
    [ -e "$packages/kafka-workshop.pth" ] || echo ../../../.. >"$packages/kafka-workshop.pth"
  done
}

install_missing() {
  local file missing=()
  for file in "$@"; do
    cmp -s "$file" "$ENVIRONMENT/installed-${file//\//-}" || missing+=("$file")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "Installing ${missing[*]} into $ENVIRONMENT/ ..." >&2
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "${missing[@]/#/--requirement=}" >&2 ||
    fail "pip could not install; its reason stands above. Check the network and the space on the disk, then run this again"
  for file in "$@"; do
    cp "$file" "$ENVIRONMENT/installed-${file//\//-}"
  done
}
