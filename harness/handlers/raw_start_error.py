"""Says {"status": "error"} instead of ready, and stays.

Outcome: failed starts; the worker ends the process each time; the reason is in the log and the crash dossier.
"""

import raw


def main() -> None:
    raw.say(status="error", error="no model in this handler")
    for _ in raw.tasks():
        pass


if __name__ == "__main__":
    main()
