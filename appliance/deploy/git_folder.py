"""Git's own folder of a clone: what in it decides which programs git runs, and where it connects to.

All of that is the worker's, written before each command. What an earlier git left there, or task code planted
on a machine that cannot keep it away, is gone by then.
"""

import re
from pathlib import Path

from appliance.deploy.files import remove, write_text

#: More configuration, programs that git runs, other attributes, and where else it looks for objects.
_NOT_OURS = ("config.worktree", "hooks", "commondir", "gitdir", "info", "objects/info/alternates")
_CONFIG = """[core]
\trepositoryformatversion = 1
\tbare = false
\tlogAllRefUpdates = false
{sparse}[remote "origin"]
\turl = "{url}"
{promisor}"""
_SPARSE = "\tsparseCheckout = true\n\tsparseCheckoutCone = false\n[extensions]\n\tpartialClone = origin\n"
_PROMISOR = "\tpromisor = true\n\tpartialCloneFilter = blob:none\n"


def write_configuration(git_dir: Path, url: str, code_path: str) -> None:
    """Make the configuration that of a clone of ``url``, for the folder ``code_path`` unless it is empty.

    Raises OSError.
    """
    for name in _NOT_OURS:
        remove(git_dir / name)
    quoted = re.sub(r'(["\\])', r"\\\1", url)
    is_part = bool(code_path)
    config = _CONFIG.format(
        url=quoted, sparse=_SPARSE if is_part else "", promisor=_PROMISOR if is_part else ""
    )
    if is_part:
        pattern = re.sub(r"([\\*?\[\]!#])", r"\\\1", code_path)
        (git_dir / "info").mkdir()
        write_text(git_dir / "info" / "sparse-checkout", f"/{pattern}/\n")
    write_text(git_dir / "config", config)
