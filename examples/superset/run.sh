#!/usr/bin/env bash
# Apache Superset in a virtual environment of its own, a Chromium, and then end_to_end.py with the Python given.
# Usage: run.sh PYTHON FOLDER PICTURE. Takes 800 MB and some minutes the first time. Network: PyPI, and Debian's archive for Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1 folder=$2 picture=$3
venv=$folder/venv

# Superset 6.1.0 does not declare rich and cachetools, and does not work with a newer flask-caching.
if ! test -e "$venv/.installed"; then
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet 'apache-superset==6.1.0' rich cachetools 'flask-caching==2.3.1' \
    adbc-driver-flightsql psycopg2-binary playwright
  touch "$venv/.installed"
fi
# Without dependencies: Superset has older ones, and the dialect needs SQLAlchemy and ADBC alone.
"$venv/bin/pip" install --quiet --no-deps --force-reinstall .

if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  apt-get install --yes --no-install-recommends chromium
fi
"$python" examples/superset/end_to_end.py "$venv" "$folder" "$picture"
