"""The worker as it would be if it masked secrets only as they stand, and its page showed what tasks say."""

import os
import sys

from appliance import patching

patching.patch()

from appliance import __main__ as program  # noqa: E402
from appliance.observe import recent, redaction  # noqa: E402

redaction.forms = lambda part: frozenset({part})  # type: ignore[attr-defined]
redaction.without_escapes = redaction.without_invisible = str  # type: ignore[attr-defined, assignment]
recent._is_own = lambda field, value: True

if __name__ == "__main__":
    sys.path.pop(0)
    os.environ.pop("PYTHONPATH", None)
    sys.exit(program.main())
