# Both images for both processors, with buildx: `docker buildx bake`, `docker buildx bake --push release`.
# On one machine, without buildx and without a registry: `make image harness-image`.
variable "VERSION" {
  default = "0.1.0"
}

variable "REVISION" {
  default = ""
}

variable "REGISTRY" {
  default = ""
}

variable "BASE_IMAGE" {
  default = "python:3.12-slim-bookworm"
}

# What BASE_IMAGE was when this was released, as sha256:…: `make pin` looks it up and writes it here.
variable "BASE_DIGEST" {
  default = ""
}

group "default" {
  targets = ["worker", "harness"]
}

target "common" {
  context   = "."
  platforms = ["linux/amd64", "linux/arm64"]
  args = {
    BASE_IMAGE = BASE_DIGEST == "" ? BASE_IMAGE : "${BASE_IMAGE}@${BASE_DIGEST}"
  }
  labels = {
    "org.opencontainers.image.version"     = VERSION
    "org.opencontainers.image.revision"    = REVISION
    "org.opencontainers.image.base.name"   = BASE_IMAGE
    "org.opencontainers.image.base.digest" = BASE_DIGEST
  }
  # What went into the image and how it was built, attached to it.
  attest = ["type=sbom", "type=provenance,mode=max"]
}

target "worker" {
  inherits   = ["common"]
  dockerfile = "Dockerfile"
  tags       = ["${REGISTRY}runqy-appliance:${VERSION}"]
}

# What is published: refused without the digest of the base.
target "release" {
  inherits = ["worker"]
  args = {
    PINNED = "true"
  }
}

target "harness" {
  inherits   = ["common"]
  dockerfile = "compose/harness/Dockerfile"
  tags       = ["${REGISTRY}runqy-harness:${VERSION}"]
}
