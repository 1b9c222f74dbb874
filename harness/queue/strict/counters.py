"""Rules about counters."""

from collections.abc import Iterator

from harness.queue.strict.view import Found, View, whole


def whole_counts(view: View) -> Iterator[Found]:
    """A counter is a whole number that is not negative."""
    for key, _, entry in view.each("processed", "failed", "day"):
        text = entry.text.decode(errors="backslashreplace")
        count = whole(text)
        if count is None or count < 0:
            yield Found(
                key, f"it is {text!r}", "tonumber fails: the statistics shift by one, and are another day's"
            )


def failed_within_processed(view: View) -> Iterator[Found]:
    """What failed was processed, in all and on each day."""
    for key, _, entry in view.each("failed", "day"):
        if ":failed" not in key:
            continue
        beside = view.keys.get(key.replace(":failed", ":processed", 1))
        failed, processed = (
            whole(each.text.decode("latin-1")) or 0 if each else 0 for each in (entry, beside)
        )
        if failed > processed:
            yield Found(
                key,
                f"{failed} failed of {processed} processed",
                "the dashboard shows fewer than no successes",
            )
