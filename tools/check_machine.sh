#!/bin/sh
# Is everything here that `make demo` and `make test` need? Says what is missing, with the command that mends it, and exits 2.
# usage: check_machine.sh PYTHON
set -u
python=$1
debian='sudo apt-get install -y git make python3-venv'

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

[ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] ||
    fail "Bongsu runs on x86-64 Linux; this is $(uname -s) on $(uname -m). The MicroPython interpreter it needs has no package for it."

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
case ${glibc:-none} in
    none | [01].* | 2.[0-9] | 2.1[0-9] | 2.2[0-7])
        fail "Bongsu needs glibc 2.28 or newer; this system has ${glibc:-another C library}. Debian 10, Ubuntu 20.04 and later will do." ;;
esac

missing=
command -v git >/dev/null 2>&1 || missing="$missing git"
command -v "$python" >/dev/null 2>&1 || missing="$missing $python"
if [ -z "$missing" ] || [ "$missing" = " git" ]; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    case ${version:-none} in
        3.11 | 3.12 | 3.13 | 3.14) ;;
        *) fail "Bongsu needs Python 3.11-3.14; $python is ${version:-no working Python}. Name another one: make demo PYTHON=python3.12" ;;
    esac
    # Debian ships venv without ensurepip until python3-venv is installed.
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || missing="$missing venv"
fi
[ -z "$missing" ] || fail "Missing:$missing. On Debian or Ubuntu:" "$debian"
