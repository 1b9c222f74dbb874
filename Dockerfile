# The worker as an image, on any Debian or Ubuntu base that has Python 3.11 or later.
#
# Two Pythons live in it and do not see each other: the worker's packages are in /opt/runqy/venv, and the
# base's own python3, with whatever the base brings (torch, CUDA bindings), is what task code inherits.
#
# A tag moves, a digest does not: give BASE_IMAGE as name:tag@sha256:… (docker-bake.hcl keeps the digest of a release,
# and PINNED=true refuses a base without one).
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS builder
USER root
# Indexes may hold credentials: they are known to this stage only, which is not part of the image.
ARG BASE_IMAGE PINNED=false PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
# From here to the tools the harness's builder is the same, word for word: an engine makes that once for both.
COPY compose/image/tools.lock compose/image/worker.lock compose/image/harness.lock /src/
# Wheels only: nothing is compiled here, so what runs is what its authors published, checked by hash.
RUN case "$PINNED $BASE_IMAGE" in \
    "false "* | "true "*@sha256:*) ;; \
    *) echo "BASE_IMAGE is $BASE_IMAGE; with PINNED=true it has to be name:tag@sha256:digest (make pin)" >&2; exit 1 ;; \
    esac \
    && python3 -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
        "BASE_IMAGE has Python " + sys.version.split()[0] + "; the worker needs 3.11 or later")' \
    && if ! python3 -c 'import ensurepip'; then \
        apt-get update && apt-get install --yes --no-install-recommends python3-venv; fi \
    && python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-compile --only-binary :all: --require-hashes -r /src/tools.lock
# /out is what the image gets, in one layer.
RUN mkdir -p /out/opt/runqy /out/usr/local/bin \
    && ln -s /out/opt/runqy /opt/runqy \
    && python3 -m venv --without-pip /opt/runqy/venv \
    && /opt/tools/bin/pip --python /opt/runqy/venv/bin/python install --no-compile \
        --only-binary :all: --require-hashes -r /src/worker.lock \
    && cp /opt/tools/bin/uv /out/usr/local/bin/
COPY appliance pyproject.toml README.md LICENSE entrypoint.sh /src/appliance/
# Bytecode that is checked by nothing: a read-only root could not renew it, and the same input gives the same image.
# The harness breaks things on purpose and has no place in production: neither its code nor its command.
RUN cd /src \
    && mv appliance/entrypoint.sh /out/usr/local/bin/ \
    && mv appliance/pyproject.toml appliance/README.md appliance/LICENSE . \
    && /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /src/dist /src \
    && /opt/tools/bin/pip --python /opt/runqy/venv/bin/python install --no-compile --no-deps --no-index /src/dist/*.whl \
    && rm /opt/runqy/venv/bin/runqy-harness \
    && /opt/runqy/venv/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash \
        /opt/runqy/venv/lib/python3.*/site-packages

# What changes least comes first: a change of the worker's code then costs seconds to build. Steps are few, and
# those that change no file come before files do: an engine without BuildKit looks through all files after each.
FROM ${BASE_IMAGE}
USER root
# One list of trusted authorities for all: pip and git read the system's anyway, uv and httpx only when told.
ENV HOME=/var/lib/runqy/home \
    LANG=C.UTF-8 \
    RUNQY_DEPLOYMENT_DIR=/var/lib/runqy/deployment \
    RUNQY_HTTP_ADDR=0.0.0.0:8686 \
    RUNQY_STATE_DIR=/state \
    RUNQY_STOP_GRACE=10s \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
LABEL org.opencontainers.image.title="runqy-appliance" \
      org.opencontainers.image.description="A production worker for the runqy task queue" \
      org.opencontainers.image.licenses="MIT"
# SIGTERM is the graceful stop: running tasks may finish within RUNQY_SHUTDOWN_TIMEOUT, their process may take
# RUNQY_PROCESS_STOP_GRACE more. RUNQY_STOP_GRACE below is what Docker gives before SIGKILL unless it is told more.
STOPSIGNAL SIGTERM
# Health, metrics and the status page: read only, without secrets.
EXPOSE 8686
# Healthy is a worker that takes tasks; a first deployment may install packages for minutes before.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["runqy-appliance", "health"]
# It becomes tini, and that stays as process 1.
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
CMD ["run"]
WORKDIR /var/lib/runqy
# Group 0 is given what the user has, because OpenShift and `--user 12345:0` bring any uid but that group.
# Such a uid has no name, and ssh refuses to run without one: the entrypoint adds it to extrausers' list, which
# cannot redefine a user of the system. A volume keeps files of an earlier uid, which git distrusts unless told.
# Of documentation the licences stay; the rest is not read here. No program lends its caller another user's rights:
# none here is for changing users, and a setuid program is where such attacks begin.
# A program that its user may not read is closed to that user's other programs once it runs: so is process 1.
# HOME is beside the deployed code, not above it: task code makes files there.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        --option Dpkg::Options::=--path-exclude=/usr/share/doc/* \
        --option Dpkg::Options::=--path-include=/usr/share/doc/*/copyright \
        --option Dpkg::Options::=--path-exclude=/usr/share/locale/* \
        --option Dpkg::Options::=--path-exclude=/usr/share/man/* \
        ca-certificates git git-lfs libnss-extrausers openssh-client tini \
        $(python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv) \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
    && useradd --uid 10001 --gid 0 --no-log-init --no-create-home --home-dir /var/lib/runqy/home --shell /bin/sh runqy \
    && install -d -o runqy -g 0 -m 0770 /var/lib/runqy /var/lib/runqy/deployment /var/lib/runqy/home /state \
    && install -d -m 0755 /var/lib/extrausers \
    && ln -s /tmp/.extrausers-passwd /var/lib/extrausers/passwd \
    && sed -i '/extrausers/!s/^passwd:.*/& extrausers/' /etc/nsswitch.conf \
    && git config --system --add safe.directory '*' \
    && chmod 0111 "$(command -v tini)" \
    && ln -s /opt/runqy/venv/bin/runqy-appliance /usr/local/bin/runqy-appliance
# Written are RUNQY_DEPLOYMENT_DIR and RUNQY_STATE_DIR, both worth a volume with a name, and /tmp. No VOLUME: each
# `docker run` would leave three of them without a name behind, an installation in one of them.
# A number, so that Kubernetes' runAsNonRoot can tell.
USER 10001:0
COPY --from=builder /out /
