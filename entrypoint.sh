#!/bin/sh
# Runs the worker, one of its subcommands, or any other command, as whoever the container was started as.
# Everything it needs to know is in RUNQY_* variables, which the worker itself reads (secrets from *_FILE too).
set -e

# Another uid of group 0 may have to update what this one deployed.
umask 0002

# A uid without an entry of its own is told "/" or somebody else's folder, and a root may be read-only.
if [ ! -w "${HOME:-/}" ]; then
    HOME=/tmp/home.$(id -u)
    export HOME
    mkdir -p "$HOME"
fi

# ssh refuses a user without a name. extrausers, whose list is a link to /tmp, heeds no entry of a system group
# but 100; the process stays in the group it has. Where that fails, only ssh misses it, and says so.
if ! getent passwd "$(id -u)" >/dev/null; then
    (echo "uid$(id -u):x:$(id -u):100:runqy:$HOME:/bin/sh" >>/var/lib/extrausers/passwd) 2>/dev/null || :
fi

case ${1:-run} in
# Before programs of the same name: an image made from this one may have a `run` of its own.
-* | run | validate | config | version | health | status | crashes | explain) ;;
*/*) exec "$@" ;;
# What is no program either is a misspelt subcommand: the worker names the right ones.
*) command -v "$1" >/dev/null && exec "$@" ;;
esac
exec runqy-appliance "${@:-run}"
