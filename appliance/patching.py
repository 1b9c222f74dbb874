"""Has gevent patch the standard library: what waits there lets others run."""

import os


def patch() -> str:
    """Patch it, before all other imports; returns what is wrong with gevent's settings, or nothing."""
    from importlib import metadata  # noqa: PLC0415

    from gevent import config, get_hub, monkey  # noqa: PLC0415

    asked = metadata.entry_points
    metadata.entry_points = _no_plugins  # type: ignore[assignment]
    try:
        monkey.patch_all()
        # Now: the loop and the resolver are chosen when they are first used.
        get_hub().resolver  # noqa: B018
    except (ImportError, ValueError, TypeError) as exc:
        named = [setting.environment_key for setting in config.settings.values()]
        given = ", ".join(f"{name}={os.environ[name]!r}" for name in named if os.environ.get(name))
        if not given:
            raise
        return f"{given}: gevent cannot be set up like this ({exc}): correct it, or do not set it"
    finally:
        metadata.entry_points = asked
    # gevent's (25.8 and later) leaves the closing to the loop of the thread that calls it. That of a thread
    # of the pool does not turn: what code there closes stays open, and fails with EBADF where its number
    # comes up again. Here no loop watches a descriptor any more that is closed: gevent's is for that case.
    os.close = monkey.get_original("os", "close")
    return ""


def _no_plugins(**_: str) -> tuple[()]:
    """What is installed beside us has no say in what is patched.

    gevent would ask, and for each module once more read what every installed package says of itself: a tenth
    of a worker's start where there are a hundred of them.
    """
    return ()
