"""``runqy-appliance version``: print the version."""

from importlib.metadata import version

from appliance.exits import Exit


def run(*_: object) -> int:
    """One line."""
    print(f"runqy-appliance {version('runqy-appliance')}")
    return Exit.OK
