"""Where the programs are that workers and handlers of a run may use."""

import os
import sys
from pathlib import Path


def search_path() -> str:
    """A ``PATH`` that has this environment's own programs first: uv makes environments in a fraction of
    pip's time."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
