# Three images: --target kube-prepull (the manager), --target kube-prepull-noop (all that nodes ever pull from us), and --target
# kubectl-prepull (the plugin, for Jobs that wait).
# Their binaries are those of "make image", byte for byte, if Go is the same: the release that go.mod names.
ARG GO_VERSION=1.26.8
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH

FROM build AS build-noop
RUN go build -trimpath -buildvcs=false -ldflags "-s -w" -o /noop ./cmd/noop

FROM build AS build-manager
ARG VERSION=
RUN go build -trimpath -buildvcs=false -ldflags "-s -w ${VERSION:+-X main.version=$VERSION}" -o /kube-prepull ./cmd/kube-prepull

FROM build AS build-plugin
ARG VERSION=
RUN go build -trimpath -buildvcs=false -ldflags "-s -w ${VERSION:+-X main.version=$VERSION}" -o /kubectl-prepull ./cmd/kubectl-prepull

# No file but the binary: it brings the certificates of public authorities itself.
FROM scratch AS kube-prepull-noop
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.source=https://github.com/kube-prepull/kube-prepull
COPY --from=build-noop --chmod=0555 /noop /noop
USER 65532:65532
ENTRYPOINT ["/noop"]

FROM scratch AS kubectl-prepull
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.source=https://github.com/kube-prepull/kube-prepull
COPY --from=build-plugin --chmod=0555 /kubectl-prepull /kubectl-prepull
USER 65532:65532
ENTRYPOINT ["/kubectl-prepull"]

FROM scratch AS kube-prepull
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.source=https://github.com/kube-prepull/kube-prepull
COPY --from=build-manager --chmod=0555 /kube-prepull /kube-prepull
USER 65532:65532
ENTRYPOINT ["/kube-prepull"]
