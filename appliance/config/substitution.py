"""``${VAR}`` in the text of the configuration file. Pure.

Works on scalars after YAML has been parsed, so that a value can never become structure. There is
no nesting and nothing recursive: what a variable holds is taken as it is.
"""

import re
from collections.abc import Mapping

# A lone "$" and "$$" stay as they are: passwords contain them.
_REFERENCE = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def sole_reference(text: str) -> str | None:
    """The name of the variable where ``text`` is one ``${VAR}``, without a default, and nothing else."""
    found = re.fullmatch(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", text.strip())
    return found[1] if found else None


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with each ``${VAR}`` replaced by the variable's value.

    ``${VAR:-default}`` gives the default where the variable is unset or empty; ``$${`` is a literal
    ``${``. Raises ValueError, naming the reference but no value, where a variable is not set or a
    reference is malformed.
    """

    def value_of(match: re.Match[str]) -> str:
        escape, inside, closing = match.groups()
        if escape:
            return f"${{{inside}{closing}"
        reference = _INSIDE.fullmatch(inside)
        if reference is None or not closing:
            # What stands inside may be part of a password.
            raise ValueError(
                "it has a ${ that starts neither ${VAR} nor ${VAR:-default}; write $${ to mean ${"
            )
        name, default = reference.groups()
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise ValueError(f"it refers to {name}, which is not set; ${{{name}:-...}} would give a default")
        return environ[name]

    return _REFERENCE.sub(value_of, text)
