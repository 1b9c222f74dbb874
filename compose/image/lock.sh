#!/bin/sh
# Resolves what the images install, for every platform and Python the project supports, with hashes: worker.lock
# and harness.lock from pyproject.toml, tools.lock from tools.in. Versions locked already stay unless UPGRADE=1.
set -eu
cd "$(dirname "$0")/../.."

uv=$(command -v uv || echo .venv/bin/uv)
lock() { # $1 the file written; then what it is resolved from
    target=compose/image/$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        ${UPGRADE:+--upgrade} --output-file "$target" "$@"
}

lock worker.lock pyproject.toml
lock harness.lock --extra harness pyproject.toml
lock tools.lock compose/image/tools.in
