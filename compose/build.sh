#!/bin/sh
# Builds an image of this project: `compose/build.sh worker` or `compose/build.sh harness`.
#
# BASE_IMAGE     the base; default: python:3.12-slim-bookworm (at the digest that docker-bake.hcl keeps, if it does) if
#                it is here, else the one made here before, else pull the former, else make the latter
# PINNED         true: refuse a base that is not named by its digest
# IMAGE_TAG      the tag (dev), for more than one checkout on a machine
# PULL_TIMEOUT   seconds a pull may take (120)
# PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST, http_proxy, https_proxy, no_proxy
#                are handed to the build where set, and do not stay in the image
set -eu
cd "$(dirname "$0")/.."

digest=$(sed -n '/^variable "BASE_DIGEST"/,/^}/s/.*default *= *"\(.*\)".*/\1/p' docker-bake.hcl)
public_base=python:3.12-slim-bookworm${digest:+@$digest}
local_base=runqy-appliance-base:local

say() { echo "image: $*"; }

case ${1:-} in
worker) tag=runqy-appliance:${IMAGE_TAG:-dev} dockerfile=Dockerfile ;;
harness) tag=runqy-harness:${IMAGE_TAG:-dev} dockerfile=compose/harness/Dockerfile ;;
*)
    echo "usage: compose/build.sh worker|harness" >&2
    exit 2
    ;;
esac

if ! command -v docker >/dev/null; then
    say "there is no docker command here: install Docker to build $tag" >&2
    exit 1
fi
if ! reason=$(docker info 2>&1 >/dev/null); then
    say "the Docker engine does not answer: $reason" >&2
    exit 1
fi

if [ -n "${BASE_IMAGE:-}" ]; then
    base=$BASE_IMAGE
    say "the base is $base, as BASE_IMAGE says"
elif docker image inspect "$public_base" >/dev/null 2>&1; then
    base=$public_base
    say "the base is $base, which is here"
elif docker image inspect "$local_base" >/dev/null 2>&1; then
    say "the base is $local_base, which was made here; remove it to pull $public_base"
    compose/base/build.sh
    base=$local_base
elif say "pulling $public_base (at most ${PULL_TIMEOUT:-120} s)" && timeout "${PULL_TIMEOUT:-120}" docker pull --quiet "$public_base"; then
    base=$public_base
else
    say "no registry gave us $public_base: using $local_base instead"
    compose/base/build.sh
    base=$local_base
fi

# What pip is configured with counts like its variables; a build cannot see this machine's files.
for option in index-url extra-index-url trusted-host; do
    name=PIP_$(echo "$option" | tr 'a-z-' 'A-Z_')
    value=$(printenv "$name" || python3 -m pip config get "global.$option" 2>/dev/null || true)
    if [ -n "$value" ]; then
        export "$name=$value"
    fi
done
set --
for name in PINNED PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST http_proxy https_proxy no_proxy; do
    if printenv "$name" >/dev/null; then
        set -- "$@" --build-arg "$name"
    fi
done

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)
# The commit's time, not now: the same input gives the same image.
created=$(git log -1 --format=%cI 2>/dev/null || true)
# Which bytes the name stood for: a registry's digest, or of a base that was made here its id.
base_digest=$(docker image inspect --format '{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}' "$base" 2>/dev/null || true)
labels="${created:+org.opencontainers.image.created=\"$created\"} \
    org.opencontainers.image.version=\"$version\" \
    org.opencontainers.image.revision=\"$revision\" \
    org.opencontainers.image.base.name=\"$base\" \
    org.opencontainers.image.base.digest=\"${base_digest##*@}\""
say "building $tag $version ($revision) on $base"
previous=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true)
# One instruction: without BuildKit each --label is a step, after which the engine looks through all files.
{ cat "$dockerfile" && echo "LABEL $labels"; } |
    docker build --file - --tag "$tag" --build-arg "BASE_IMAGE=$base" "$@" .
say "$tag is ready"
if [ -n "$previous" ] && [ "$previous" != "$(docker image inspect --format '{{.Id}}' "$tag")" ]; then
    docker image rm "$previous" >/dev/null 2>&1 || say "the one before, $previous, is in use and stays"
fi
