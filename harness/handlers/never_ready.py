"""Starts and says nothing, for ever.

Outcome: failed starts, each after the start-up limit; tasks wait.
"""

import time

import diary


def main() -> None:
    diary.opened()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
