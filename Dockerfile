# One image for all processes of AdaSplit; which of them runs is the command.
# Needs nothing that BuildKit alone can do. For sites without a registry see docs/deploy.md.
# The defaults stand in FROM: compose 1.29 hands over what is not set as blank.
ARG PYTHON_IMAGE
ARG BUILD_IMAGE

FROM ${BUILD_IMAGE:-${PYTHON_IMAGE:-python:3.13-slim-trixie}} AS build
# The index to install from, where it is not the usual one.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/adasplit
WORKDIR /src
# First what changes seldom: a change of the source installs no dependency again.
COPY requirements/serve.txt requirements/
RUN /opt/adasplit/bin/pip install --require-hashes --requirement requirements/serve.txt
COPY . .
RUN /opt/adasplit/bin/pip install --no-deps --no-build-isolation . \
    && /opt/adasplit/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE:-python:3.13-slim-trixie}
LABEL org.opencontainers.image.title="AdaSplit" \
    org.opencontainers.image.licenses="Apache-2.0"
# /etc/adasplit holds the `.env` of an installation; a new volume there takes over its owner.
RUN groupadd --gid 10001 adasplit \
    && useradd --uid 10001 --gid adasplit --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin adasplit \
    && install --directory --owner adasplit --group adasplit --mode 0755 /etc/adasplit
COPY --from=build /opt/adasplit /opt/adasplit
COPY deploy/docker/healthy deploy/docker/make-credentials /usr/local/bin/
ENV PATH=/opt/adasplit/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /etc/adasplit
# Right for the default command; what runs another process says so with its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["healthy", "8000", "/healthz"]
CMD ["python", "-m", "gateway", "--host", "0.0.0.0"]
