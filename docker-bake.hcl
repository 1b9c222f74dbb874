# Both images for both processors, with buildx: `docker buildx bake`, `docker buildx bake --push worker`.
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

group "default" {
  targets = ["worker", "harness"]
}

target "common" {
  context   = "."
  platforms = ["linux/amd64", "linux/arm64"]
  args = {
    BASE_IMAGE = BASE_IMAGE
  }
  labels = {
    "org.opencontainers.image.version"   = VERSION
    "org.opencontainers.image.revision"  = REVISION
    "org.opencontainers.image.base.name" = BASE_IMAGE
  }
  # What went into the image and how it was built, attached to it.
  attest = ["type=sbom", "type=provenance,mode=max"]
}

target "worker" {
  inherits   = ["common"]
  dockerfile = "Dockerfile"
  tags       = ["${REGISTRY}runqy-appliance:${VERSION}"]
}

target "harness" {
  inherits   = ["common"]
  dockerfile = "compose/harness/Dockerfile"
  tags       = ["${REGISTRY}runqy-harness:${VERSION}"]
}
