"""The task: a text goes in, the number of its words and the longest of them come out."""

from runqy_python import load, run, task


@load
def setup() -> dict:
    """Runs once, when the process starts: load a model here, open a connection."""
    return {"punctuation": ".,;:!?"}


@task
def handle(payload: dict, context: dict) -> dict:
    """Runs for each task. What it returns is the task's result, an exception is its error."""
    text = payload.get("text")
    if not isinstance(text, str):
        raise ValueError(f"text: expected a string, got {text!r}")
    words = [word.strip(context["punctuation"]) for word in text.split()]
    # What is printed goes to the worker's log, with the task's id.
    print(f"{len(words)} words")
    return {"words": len(words), "longest": max(words, key=len, default="")}


if __name__ == "__main__":
    run()
