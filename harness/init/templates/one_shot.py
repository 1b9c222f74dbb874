"""The task: a text goes in, the number of its words and the longest of them come out."""

from runqy_python import run_once, task


@task
def handle(payload: dict) -> dict:
    """Runs once, in a process for this task. What it returns is the result, an exception is the error."""
    text = payload.get("text")
    if not isinstance(text, str):
        raise ValueError(f"text: expected a string, got {text!r}")
    words = [word.strip(".,;:!?") for word in text.split()]
    # What is printed goes to the worker's log, with the task's id.
    print(f"{len(words)} words")
    return {"words": len(words), "longest": max(words, key=len, default="")}


if __name__ == "__main__":
    run_once()
