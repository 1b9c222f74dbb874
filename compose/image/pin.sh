#!/bin/sh
# Looks up what the base image is now, and writes its digest into docker-bake.hcl: `make pin`, before a release.
# BASE_IMAGE is the base (default: the one of docker-bake.hcl).
set -eu
cd "$(dirname "$0")/../.."

name=$(sed -n '/^variable "BASE_IMAGE"/,/^}/s/.*default *= *"\(.*\)".*/\1/p' docker-bake.hcl)
name=${BASE_IMAGE:-$name}
# Of all platforms together where buildx can tell, which is what a release for two of them needs.
digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$name" 2>/dev/null || true)
if [ -z "$digest" ]; then
    docker pull --quiet "$name" >/dev/null
    digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$name")
fi
digest=${digest##*@}
case $digest in
sha256:*) ;;
*)
    echo "pin: no registry said what $name is" >&2
    exit 1
    ;;
esac
sed -i '/^variable "BASE_DIGEST"/,/^}/s|default *=.*|default = "'"$digest"'"|' docker-bake.hcl
echo "pin: $name is $digest"
