#!/bin/sh
# Makes runqy-appliance-base:local, a Debian bookworm with Python 3.11, out of the Debian archive: for machines
# that reach a package mirror but no container registry. Needs root, debootstrap and a Docker engine.
#
# DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR   where packages come from; default: what this machine's apt uses
set -eu

tag=runqy-appliance-base:local
suite=bookworm
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "base: $*"; }

# $1 release, $2 what to use where apt does not know it
mirror_of() {
    # shellcheck disable=SC2016  # the dollars are apt's
    apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F '|' -v release="$1" -v fallback="$2" '
            $1 == release && $2 == "main" && !found { found = $3 }
            END { sub("/$", "", found); print found ? found : fallback }'
}
mirror=${DEBIAN_MIRROR:-$(mirror_of "$suite" http://deb.debian.org/debian)}
security=${DEBIAN_SECURITY_MIRROR:-$(mirror_of "$suite-security" http://deb.debian.org/debian-security)}
host_authorities=/etc/ssl/certs/ca-certificates.crt

recipe=$({
    cat "$here/build.sh"
    echo "$mirror $security"
    cat "$host_authorities" 2>/dev/null || true
} | sha256sum | cut -c 1-16)
if [ "$(docker image inspect --format '{{index .Config.Labels "runqy.base.recipe"}}' "$tag" 2>/dev/null)" = "$recipe" ]; then
    say "$tag is there already (recipe $recipe)"
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    say "making $tag needs root: run 'sudo make base', then 'make image' again" >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null; then
    say "debootstrap is not installed: run 'make system', or apt-get install debootstrap" >&2
    exit 1
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/runqy-base.XXXXXX")
# debootstrap may be interrupted with /proc mounted in there, and rm must not go looking.
clean_up() {
    awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | while read -r mounted; do
        umount -l "$mounted"
    done
    rm -rf --one-file-system "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say "making $tag from $mirror ($suite, recipe $recipe); this takes a minute or two"
# What is unpacked here is a build that is begun again where the machine goes down: waiting for the disk file by file
# gains nothing, there and in the images built on it (as in Debian's images).
export DPKG_FORCE=unsafe-io
if ! debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python-is-python3 \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1; then
    tail -n 20 "$root.log" >&2
    say "debootstrap failed; the whole output is in $root.log" >&2
    exit 1
fi

cat >"$root/etc/apt/sources.list" <<SOURCES
deb $mirror $suite main
deb $mirror $suite-updates main
deb $security $suite-security main
SOURCES
# As in Debian's slim images: of documentation the licences stay. An engine without BuildKit looks through all files
# after each step of each image that is built on this one.
cat >"$root/etc/dpkg/dpkg.cfg.d/docker" <<EXCLUDES
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
EXCLUDES
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/locale" "$root/usr/share/man" ! -type d -delete
find "$root/usr/share/doc" "$root/usr/share/locale" "$root/usr/share/man" -mindepth 1 -type d -empty -delete
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
# No package starts a service while an image is built.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"

# Authorities this machine trusts and Debian does not, such as a company's TLS proxy: without them neither pip
# nor git gets out of a container here. One file each, since update-ca-certificates indexes no bundles.
if [ -r "$host_authorities" ]; then
    awk -v target="$root/usr/local/share/ca-certificates" '
        BEGIN { RS = "-----END CERTIFICATE-----" }
        { sub(/^.*-----BEGIN/, "-----BEGIN") }
        NR == FNR { known[$0] = 1; next }
        /^-----BEGIN/ && !($0 in known) { print $0 RS > (target "/host-" ++n ".crt") }
    ' "$root$host_authorities" "$host_authorities"
    chroot "$root" update-ca-certificates >>"$root.log" 2>&1
fi

# debootstrap knows one archive only; what was mended since the release is in the others.
if ! chroot "$root" sh -ec 'apt-get update; apt-get upgrade --yes' >>"$root.log" 2>&1; then
    tail -n 20 "$root.log" >&2
    say "upgrading failed; the whole output is in $root.log" >&2
    exit 1
fi
rm "$root.log"

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"

tar --create --directory "$root" --one-file-system . | docker import \
    --change "LABEL runqy.base.recipe=$recipe" \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["python3"]' \
    - "$tag" >/dev/null
say "$tag is ready"
