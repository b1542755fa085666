# The image of Countersign: one binary on a base with glibc and nothing else, without a shell.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t countersign:0.1.0 .
#
# Pin both base images by digest for a release. `docker buildx build --sbom=true --provenance=mode=max` attaches a list of all
# packages and the record of the build.

ARG BUILDER_IMAGE=docker.io/library/rust:1.94-bookworm
# Debian's release must not be older than the builder's, because the binary links glibc dynamically.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
ENV CARGO_INCREMENTAL=0
# The dependencies alone, in a layer that is kept until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' | tee build.rs > src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --release --bin countersign
COPY build.rs ./
COPY proto proto
COPY src src
# Cargo goes by times, and the copied files may be older than what was built above.
RUN touch build.rs src/lib.rs src/main.rs \
    && cargo build --locked --release --bin countersign \
    && mkdir -p /out/data \
    && cp target/release/countersign /out/

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="countersign" \
      org.opencontainers.image.description="A gRPC identity service: sign-in, sessions, moderation and federated tokens" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /out/countersign /usr/local/bin/countersign
# An empty directory that the user owns: a new volume takes over its owner.
COPY --from=builder --chown=65532:65532 /out/data /var/lib/countersign
USER 65532:65532
# The SQLite database and its key file are made here, unless settings say otherwise.
WORKDIR /var/lib/countersign
VOLUME /var/lib/countersign
# gRPC, gRPC health in clear text, and HTTP for metrics and probes, if the settings open them.
EXPOSE 50051 50052 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/countersign"]
