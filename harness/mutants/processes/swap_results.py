"""Gives each task the result of the one before it: ``python mutant.py python main.py``."""

import json
import subprocess
import sys


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    before = None
    for line in process.stdout:
        answer = json.loads(line) if line.startswith("{") else {}
        if "result" in answer:
            answer["result"], before = before, answer["result"]
        sys.stdout.write(json.dumps(answer) + "\n" if answer else line)
        sys.stdout.flush()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
