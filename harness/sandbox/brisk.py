"""Settings at a pace a test can wait for. A worker ignores what it does not know."""

#: No waiting where a production worker would spare others; everything else stays as shipped.
BRISK = {
    "RUNQY_RECOVERY_INITIAL_DELAY": "50ms",
    "RUNQY_RETRY_BASE_DELAY": "50ms",
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "50ms",
}
#: With nothing inherited uv makes the environments, and code that forgot a requirement fails.
ALONE = {"RUNQY_USE_SYSTEM_SITE_PACKAGES": "false"}
