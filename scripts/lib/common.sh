# shellcheck shell=bash
# shellcheck disable=SC2034  # the scripts that source this use them
# Sourced by the other scripts: where things are, how progress is told.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${IGRS_LOCK_CACHE:-${XDG_CACHE_HOME:-${HOME:-$ROOT/.cache}/.cache}/igrs-lock}
VENV=$ROOT/.venv

# Oldest that work: Home Assistant's own floor, cryptolib plus f-strings in MicroPython, PostgreSQL's oldest kept up.
PYTHON_FLOOR=3.14.2
MICROPYTHON_FLOOR=1.23
POSTGRES_FLOOR=14

say() { printf '\033[1m%3ds\033[0m  %s\n' "$SECONDS" "$*" >&2; }
die() {
    printf '\nset-up failed: %s\n' "$1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 1
}

# at_least FLOOR VERSION
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# The machine's own certificates, where it has some: they include those of a company's proxy or mirror.
if [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/ssl/cert.pem ]; then
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
fi
