#!/bin/sh
# Makes .venv and installs archrep into it with everything the demo, the tests and the docs need.
#
#   TORCH=cpu   (default) the tested set of constraints/cpu.txt with a CPU build of torch, never CUDA
#   TORCH=keep  the torch that the base Python has, any version; if it has none, the newest release
#   PYTHON=...  the Python to build on; otherwise the first of python3.11, 3.12, 3.13, python3
#
# Safe to repeat: a finished .venv is left alone, an outdated one is updated, a half-made one remade.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
ready=$venv/.ready      # holds the choices of the last finished set-up
unfinished=$venv/.unfinished
choices="$PWD ${TORCH:=cpu} $(cat pyproject.toml constraints/cpu.txt | cksum)"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

case $TORCH in cpu | keep) ;; *) die "TORCH must be cpu or keep. Got $TORCH." ;; esac

# Two runs at once take turns, where the system has flock.
if command -v flock >/dev/null; then exec 9<pyproject.toml && flock 9; fi

if works "$venv/bin/python" && [ "$(cat "$ready" 2>/dev/null)" = "$choices" ]; then
    exit 0
fi

# A Python of at least 3.11 ------------------------------------------------------------------
if [ -n "${PYTHON:-}" ]; then
    works "$PYTHON" || die "archrep needs Python 3.11 or newer. PYTHON=$PYTHON is older or does not run."
else
    for PYTHON in python3.11 python3.12 python3.13 python3.14 python3 python ""; do
        [ -n "$PYTHON" ] || die "archrep needs Python 3.11 or newer, and none is on PATH. Give one: make setup PYTHON=/path/to/python3.11"
        works "$PYTHON" && break
    done
fi

# The environment ----------------------------------------------------------------------------
if [ -e "$venv" ]; then
    stale=
    [ ! -e "$unfinished" ] || stale="was left half-made"
    works "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || stale="does not run"
    case "$(cat "$ready" 2>/dev/null)" in
        "" | "$PWD $TORCH "*) ;;
        *) stale="was made elsewhere or for another TORCH" ;;
    esac
    if [ -n "$stale" ]; then
        say "$venv $stale; making it anew"
        rm -rf "$venv"
    fi
fi
if [ ! -e "$venv" ]; then
    site=
    [ "$TORCH" = cpu ] || site=--system-site-packages
    say "making $venv with $("$PYTHON" --version)"
    # A Python without ensurepip (Debian without python3-venv) lends its own pip instead.
    if ! "$PYTHON" -m venv $site "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        "$PYTHON" -m venv --without-pip $site "$venv" ||
            die "$PYTHON has no working venv module. Install it (Debian: apt-get install python3-venv)."
        touch "$unfinished"
        "$PYTHON" -m pip --python "$venv/bin/python" install --quiet pip ||
            die "$PYTHON has neither ensurepip nor pip 22.3. Install one (Debian: apt-get install python3-venv)."
    fi
    touch "$unfinished"
fi
rm -f "$ready"
python=$venv/bin/python

# What goes in -------------------------------------------------------------------------------
if [ "$TORCH" = keep ]; then
    "$python" -c 'import torch; print("setup: keeping torch", torch.__version__)' >&2 2>/dev/null ||
        say "the base Python has no torch; pip takes the newest, on Linux with CUDA (3 GB)"
    "$python" -m pip install --quiet -e ".[dev]" || die "installing failed; the reason stands above."
else
    torch=torch==2.13.0
    # On these, the plain version is a CUDA build and only "+cpu" is sure to be none.
    case "$(uname -s) $(uname -m)" in "Linux x86_64") torch=torch==2.13.0+cpu ;; esac
    links=$("$python" -m pip config get global.find-links 2>/dev/null) || links=${PIP_FIND_LINKS:-}

    uv=uv
    if ! uv --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet uv >/dev/null 2>&1 || true
        uv=$venv/bin/uv
    fi
    fetch() { say "installing with $1"; shift; "$@" -c constraints/cpu.txt "$torch" -e ".[dev]"; }
    # uv is fast but reads no pip settings, so it gets pip's wheel folders; without any, pip goes
    # first, and uv, which knows where PyTorch keeps its CPU builds, second.
    with_links() { [ -n "$links" ] && "$uv" --version >/dev/null 2>&1 && fetch uv \
        "$uv" pip install --quiet --python "$python" $(printf -- '--find-links %s ' $links); }
    with_pip() { fetch pip "$python" -m pip install --quiet --disable-pip-version-check; }
    with_uv() { "$uv" --version >/dev/null 2>&1 && fetch "uv and PyTorch's CPU builds" \
        "$uv" pip install --quiet --python "$python" --torch-backend cpu; }
    with_links || with_pip || with_uv || die "installing failed; the reason stands above. \
If no CPU build of torch was found, name a folder or index that has one in PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL, or use a torch of your own: make setup TORCH=keep"
fi
rm -f "$unfinished"
printf '%s\n' "$choices" >"$ready"
say "done: $("$python" -m pip --version | cut -d' ' -f1,2), $("$python" -c 'import torch; print("torch", torch.__version__)')"
