#!/usr/bin/env bash
# Opens an export of palpate with the real LeRobot and compares what it gives with the data set.
#
#   scripts/check_lerobot.sh                 a small made-up data set, exported and checked
#   scripts/check_lerobot.sh DATA            the same for a data folder of yours
#   scripts/check_lerobot.sh --import DIR    a LeRobot data set (v2.1 or v3.0), imported and exported again: every number must be its own
#
# LeRobot brings its own torch (about 8 GB on disk), so it lives in a virtual environment of its own:
# LEROBOT_ENV (default /tmp/lerobot-env) is made once and used again.
set -euo pipefail
cd "$(dirname "$0")/.."

lerobot_version=0.4.4
env=${LEROBOT_ENV:-/tmp/lerobot-env}
palpate_python=${PALPATE_PYTHON:-.venv/bin/python}

if ! "$env/bin/python" -c "import lerobot" 2>/dev/null; then
    python3 -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check "lerobot==$lerobot_version"
fi
# soundfile and OpenCV are not needed: the check reads LeRobot's items and one .npz file only.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step=make
if [ "${1:-}" = --import ]; then
    step=reimport
    shift
fi
"$palpate_python" scripts/check_lerobot.py "$step" "$work" "$@"
HF_HUB_OFFLINE=1 HF_DATASETS_CACHE="$work/cache" "$env/bin/python" scripts/check_lerobot.py check "$work"
