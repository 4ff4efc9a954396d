#!/usr/bin/env bash
# Installs what the tests need and runs all of them: style, types, dependencies between the parts, tests.
# `tests/run.sh --cov --cov-report=term:skip-covered` measures coverage too, which makes the tests three times as slow.
# Needs Python 3.11 and, for the peers, apt packages that it installs itself when it is root (or has sudo).
set -euo pipefail
cd "$(dirname "$0")/.."

packages="python3-venv mosquitto mosquitto-clients libcoap3-bin tshark nodejs npm"
missing=""
for package in $packages; do
  case $package in
    python3-venv) python3 -c "import ensurepip" 2>/dev/null || missing="$missing python3-venv" ;;
    nodejs) command -v node >/dev/null || missing="$missing nodejs" ;;
    npm) command -v npm >/dev/null || missing="$missing npm" ;;
    *) dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo"
  echo "installing$missing"
  $sudo apt-get update -qq
  # shellcheck disable=SC2086 # a list of packages
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

venv="${TWIN_VENV:-.venv}"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q -e '.[test]' -e examples/modbus
for peer in tests/peers/*/package.json; do
  [ -e "$peer" ] || continue
  npm install --no-audit --no-fund --loglevel=error --prefix "$(dirname "$peer")" >/dev/null
done

"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
"$venv/bin/lint-imports"
# Several processes share the cores: more threads in each for linear algebra only get in each other's way.
export OPENBLAS_NUM_THREADS=1
# Most of the time a test waits for a peer: three processes side by side take a third of the time on two cores.
status=0
"$venv/bin/python" -m pytest -n "${TWIN_TEST_PROCESSES:-3}" --dist loadfile --no-loadscope-reorder -q "$@" || status=$?
if [ "$status" = 1 ]; then
  # Many tests run against real peers in real time, which a crowded machine can spoil. What failed beside others must
  # pass alone; what fails again is a failure.
  echo "again, one after the other: what failed"
  exec "$venv/bin/python" -m pytest --last-failed --last-failed-no-failures none -q "$@"
fi
exit "$status"
