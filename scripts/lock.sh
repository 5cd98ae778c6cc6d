#!/bin/bash
# Resolves a requirements.in into the requirements.txt beside it: every version and hash, for Python 3.11 and newer.
set -euo pipefail
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
    --custom-compile-command "make lock" --output-file "${1%.in}.txt" "$1"
