# All of the project's programs in one image, for amd64 and arm64: ark-scaler, ark-operator, ark-agent, and kubectl-ark.
#
#   docker build -t ark:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/ark:0.1.0 --push .
#
# or make image, with docker, podman or buildah. BASE is a mirror's image of the same Python where the usual one cannot be
# had. Every package is pinned by its hash and comes as a wheel, so nothing is compiled. `make package` checks what can be
# checked without a container engine.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements-build.lock requirements-image.lock ./
RUN python -m venv /opt/build && python -m venv --without-pip /opt/ark \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-build.lock \
 && pip --python /opt/ark install --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY process process
COPY api api
COPY sizing sizing
COPY taskqueue taskqueue
COPY kube kube
COPY scaler scaler
COPY agent agent
COPY operator operator
COPY cli cli
RUN /opt/build/bin/hatchling build -t wheel -d /dist \
 && pip --python /opt/ark install --no-cache-dir --no-deps --no-index /dist/*.whl
COPY hack/image/prune.sh hack/image/first.sh ./
RUN sh prune.sh /opt/ark && sh first.sh /opt/ark

FROM ${BASE}
LABEL org.opencontainers.image.title="ark" \
      org.opencontainers.image.description="Queue-driven autoscaling for LLM agents on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The Ark authors"
COPY --from=build /opt/ark /opt/ark
# Libraries look up the user's name and home; any other user will do too, as on OpenShift.
RUN echo "ark:x:65532:" >>/etc/group && echo "ark:x:65532:65532:ark:/tmp:/usr/sbin/nologin" >>/etc/passwd
# dumb-init (hack/image/first.sh) is to signal our program alone: an agent's own child processes are the agent's to end.
ENV PATH=/opt/ark/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 DUMB_INIT_SETSID=0
USER 65532:65532
# Not /tmp: Pods mount a volume there, and what an image based on this one copies to its working folder must be seen.
WORKDIR /app
CMD ["sh", "-c", "echo 'ark: name a program: ark-scaler, ark-operator, ark-agent or kubectl-ark; --help shows its settings' >&2; exit 64"]
