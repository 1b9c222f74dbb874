#!/bin/sh
# Runs the worker, one of its subcommands, or any other command, as the user the container was started as.
# Everything it needs to know is in RUNQY_* variables, which the worker itself reads (secrets from *_FILE too).
set -e

# Another uid of group 0 may have to update what this one deployed.
umask 0002

# For a uid without an entry HOME is "/" or another user's folder, and a root may be read-only.
if [ ! -w "${HOME:-/}" ]; then
    HOME=/tmp/home.$(id -u)
    export HOME
    # In a /tmp that outlives the container, a task may have put a link there.
    [ ! -L "$HOME" ] || rm -f "$HOME"
    mkdir -p "$HOME"
fi

# ssh refuses a user without a name. extrausers, whose list is a link to /tmp, heeds no entry of a system group
# but 100; the process stays in the group it has. Always a new file (set -C): a task may have left a link, or names
# of its choice. Where that fails, only ssh misses it, and says so.
if ! getent passwd "$(id -u)" >/dev/null; then
    list=/tmp/.extrausers-passwd
    (rm -f $list && set -C && echo "uid$(id -u):x:$(id -u):100:runqy:$HOME:/bin/sh" >$list) 2>/dev/null || :
fi

# Process 1 passes signals on and reaps orphans. Where an orchestrator brings its own (a shared process namespace,
# docker run --init), there is no need.
init=
[ $$ != 1 ] || init="tini --"

case ${1:-run} in
# Before programs of the same name: an image made from this one may bring its own `run`.
-* | run | validate | config | version | health | status | crashes | explain) ;;
*/*) exec $init "$@" ;;
# What is no program either is a misspelt subcommand: the worker names the right ones.
*) command -v "$1" >/dev/null && exec $init "$@" ;;
esac
set -- runqy-appliance "${@:-run}"
[ -n "$init" ] || exec "$@"

# The environment of process 1 stays readable for as long as it lives, to all that runs as the same user. It
# gets none: the worker's comes through a pipe, quoted by the shell that reads it.
exec 3<<ENVIRONMENT
$(export -p)
ENVIRONMENT
exec env -i "$(command -v tini)" -- /bin/sh -c '. /dev/fd/3; exec 3<&-; exec "$@"' sh "$@"
