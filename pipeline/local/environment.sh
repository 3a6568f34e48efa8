# For run.sh, test.sh and create_topic.sh: the virtual environment kafka-env/, made where it is missing.
# Sourced by them in the project's folder; bash, no `set -e` needed.

ENVIRONMENT=kafka-env
PYTHON=$ENVIRONMENT/bin/python

fail() {
  echo "$0: $*" >&2
  exit 1
}

make_environment() {
  if ! "$PYTHON" -c '' 2>/dev/null; then
    command -v python3 >/dev/null || fail "python3 is missing: install Python 3.10 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      fail "$(python3 --version) is too old: install Python 3.10 or newer"
    echo "Making the virtual environment $ENVIRONMENT/ ..." >&2
    rm -rf "$ENVIRONMENT"
    python3 -m venv "$ENVIRONMENT" >&2 ||
      fail "python3 can't make a virtual environment: install its venv module (Ubuntu: sudo apt install python3-venv)"
  fi
  put_project_on_path
}

# So that the scripts of workshops/ find pipeline/ from whatever folder they are started. Relative to the file itself:
# the path of the project may hold letters that Python would read in another encoding.
put_project_on_path() {
  local packages
  for packages in "$ENVIRONMENT"/lib/python3.*/site-packages; do
    [ -e "$packages/kafka-workshop.pth" ] || echo ../../../.. >"$packages/kafka-workshop.pth"
  done
}

# install FILE...: what the requirements files name, unless it was installed from the very same files before
install() {
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
