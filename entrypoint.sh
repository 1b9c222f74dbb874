#!/bin/sh
# Runs the worker, one of its subcommands, or any other command, as whoever the container was started as.
set -e

# Another uid of group 0 may have to update what this one deployed.
umask 0002

# A uid without an entry of its own is told "/" or somebody else's folder.
if [ ! -w "${HOME:-/}" ]; then
    HOME=$(mktemp -d /tmp/home.XXXXXX)
    export HOME
fi

# ssh refuses a user without a name. extrausers heeds no entry of a system group but 100; the process stays in
# the group it has. On a read-only root there is no adding: use the image's own uid there.
if ! getent passwd "$(id -u)" >/dev/null && [ -w /var/lib/extrausers/passwd ]; then
    echo "uid$(id -u):x:$(id -u):100:runqy:$HOME:/bin/sh" >>/var/lib/extrausers/passwd
fi

if [ $# -eq 0 ]; then
    set -- run
fi
case $1 in
-* | run | validate | config | version | health | status | crashes | explain) exec runqy-appliance "$@" ;;
*) exec "$@" ;;
esac
