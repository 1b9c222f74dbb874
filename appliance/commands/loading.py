"""What several commands begin with: settings from file and variables, and a look into Redis."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from appliance.commands.options import Options
from appliance.config.load import Loaded, load
from appliance.config.settings import Settings
from appliance.exits import Exit
from appliance.plain import plain


def load_settings(options: Options, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """The settings; all warnings are printed. Raises :class:`~appliance.errors.ConfigurationError`."""
    loaded = load(environ, options.config_file, cwd)
    print_warnings((*loaded.warnings, *loaded.run_warnings))
    return loaded


def print_warnings(warnings: Sequence[str]) -> None:
    """On stderr, one per line."""
    for warning in warnings:
        print(plain(f"warning: {warning}"), file=sys.stderr)


def look_into_redis(
    options: Options, environ: Mapping[str, str], cwd: Path, look: Callable[[Settings], int]
) -> int:
    """The exit status that ``look`` returns, or the one of the failure that kept it from looking."""
    from appliance.errors import ApplianceError, RegistrationError  # noqa: PLC0415
    from appliance.observe.log import configure_command  # noqa: PLC0415  other commands are quicker without

    loaded = load(environ, options.config_file, cwd)
    print_warnings(loaded.warnings)
    configure_command(sys.stderr)
    try:
        return look(loaded.settings)
    except ApplianceError as exc:
        print(plain(f"{options.command}: {exc}"), file=sys.stderr)
        return Exit.REGISTRATION if isinstance(exc, RegistrationError) else Exit.STARTUP
