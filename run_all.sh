#!/usr/bin/env bash
# From a fresh machine to figures: sets up what is missing, then hands over to `python -m reclib run`.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: ./run_all.sh [OPTIONS]            execute the notebooks
       ./run_all.sh test [PYTEST ARGS]   run the tests

Both set up first. An active conda or virtual environment is used as it is, and gets only what it lacks;
otherwise .venv is made beside this script with Python 3.11, 3.12 or 3.13. Set-up is done once: 3 to 10
minutes, about 1.5 GB (a CUDA build of torch: 6 GB); after that the work starts within seconds.

Options:
  --profile NAME   smoke (8 minutes on two cores), default (30 minutes) or paper (hours, a GPU)
  --only LIST      only these notebooks, by number: --only 11,12
  --force          compute again what an earlier run left in the cache
  --keep-going     go on after a notebook fails
  --list           show the notebooks and what they are expected to take, run nothing
  --jobs N         notebooks at once (default 1)
  --set NAME=VALUE change a setting of the profile, as often as needed: --set tune.epochs=2
  --help           this text

Environment: RECLIB_CACHE (default: artifacts/ beside this script), RECLIB_DATA, RECLIB_ASSETS.
USAGE
}

say() { printf '[run_all] %s\n' "$*"; }
die() { printf '[run_all] %s\n' "$*" >&2; exit 1; }

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

fits() { # a Python that starts, has a version we support, and can make an environment
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local name
    for name in python3.12 python3.13 python3.11 python3 python; do
        if fits "$name"; then command -v "$name"; return; fi
    done
    die "no Python 3.11, 3.12 or 3.13 with venv was found on PATH: install one (conda: 'conda env create -f" \
        "environment.yml && conda activate reclib'; Debian or Ubuntu: 'apt install python3 python3-venv'), then run this again"
}

find_environment() { # sets prefix (the environment) and is_ours (whether this script made it)
    is_ours=no
    if [[ -n "${VIRTUAL_ENV:-}" ]]; then
        prefix=$VIRTUAL_ENV
    elif [[ -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-}" != base ]]; then
        prefix=$CONDA_PREFIX
    else
        prefix=$root/.venv is_ours=yes
    fi
    python=$prefix/bin/python
}

make_environment() {
    local base
    base=$(find_python)
    say "making $prefix with $("$base" --version) ($base): a few seconds"
    "$base" -m venv --clear -- "$prefix"
}

fingerprint() { # changes when the set-up has to be looked at again
    { "$python" -c 'import sys; print(sys.version)'
      printf '%s\n' "$root"
      cat -- "$root/pyproject.toml" "$root/constraints.txt"; } | "$python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

install() {
    local constraints=$root/constraints.txt missing torch kept
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip
    if [[ $is_ours = no ]]; then
        missing=$("$python" -P "$root/reclib/environment.py" missing)
        kept=$(mktemp)
        "$python" -P "$root/reclib/environment.py" constraints >"$kept"
        constraints=$kept
    else
        missing=everything
    fi
    if [[ -n "$missing" ]]; then
        say "installing into $prefix, at the versions of constraints.txt: 3 to 10 minutes, most of it torch"
        torch=$(grep '^torch==' "$constraints")
        "$python" -m pip install --disable-pip-version-check "$torch"
        "$python" -m pip install --disable-pip-version-check -c "$constraints" -e "$root[dev]"
    else
        "$python" -m pip install --disable-pip-version-check --quiet --no-deps -e "$root"
    fi
    if [[ -n "${kept:-}" ]]; then rm -f -- "$kept"; fi
}

set_up() {
    find_environment
    if [[ $is_ours = yes ]] && ! fits "$python"; then make_environment; fi
    fits "$python" || die "the active environment $prefix has no Python 3.11 to 3.13 with venv: activate another" \
        "(conda env create -f environment.yml && conda activate reclib), or deactivate it and .venv is made"
    local stamp=$prefix/.reclib-set-up now
    now=$(fingerprint)
    if [[ "$(cat -- "$stamp" 2>/dev/null || true)" != "$now" ]]; then
        say "setting up $prefix: done once, again only after pyproject.toml or constraints.txt changed"
        install
        printf '%s\n' "$now" >"$stamp"
    fi
    say "environment: $prefix ($("$python" --version))"
}

for argument in "$@"; do
    if [[ "$argument" = --help || "$argument" = -h ]] && [[ "${1:-}" != test ]]; then usage; exit 0; fi
done

set_up
cd -- "$root"
if [[ "${1:-}" = test ]]; then
    shift
    say "running the tests: about 10 minutes on two cores"
    exec "$python" -m pytest "$@"
fi
exec "$python" -m reclib run "$@"
