"""One place that knows the secrets, so that every sink can be kept free of them."""

from typing import Any

#: What stands where a secret stood.
MASK = "********"
#: Shorter values are no secrets worth the name, and masking them would shred ordinary text.
SHORTEST_SECRET = 4


class Redactor:
    """Masks known secrets in text. Secrets are added as they become known, longest masked first."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, *secrets: str | None) -> None:
        """Mask these from now on, and each line of those that have several; very short ones are ignored."""
        known = set(self._secrets)
        for secret in secrets:
            if secret:
                known |= {secret, *(line.strip() for line in secret.splitlines())}
        self._secrets = sorted((s for s in known if len(s) >= SHORTEST_SECRET), key=len, reverse=True)

    def text(self, text: str) -> str:
        """``text`` with every secret masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def value(self, value: Any) -> Any:
        """The same for what a log field may hold: text, and text inside lists, tuples and dicts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, int | float | None):
            return value
        return self.text(str(value))
