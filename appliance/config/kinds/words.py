"""Values that are words: yes or no, one of a few, a name, names of queues. Pure."""

from appliance.config.kinds.base import Kind, is_visible, quoted
from appliance.values import value_class


@value_class
class Boolean(Kind):
    """Yes or no; the words YAML 1.1 reads as booleans count in variables too."""

    allowed: str = "true, false, 1 or 0 (also yes, no, on, off)"

    def parse(self, text: str) -> bool:
        """See :class:`Kind`."""
        word = text.lower()
        if word not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
            raise ValueError
        return word in {"true", "1", "yes", "on"}

    def show(self, value: bool) -> str:
        """See :class:`Kind`."""
        return "true" if value else "false"

    def plain(self, value: bool) -> bool:
        """See :class:`Kind`."""
        return value


@value_class
class Choice(Kind):
    """One of a few words, in any case."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return "one of " + ", ".join(self.words)

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if text.lower() not in self.words:
            raise ValueError
        return text.lower()


@value_class
class Word(Kind):
    """Characters without blanks; ``ascii_only`` for what travels in an HTTP header."""

    longest: int
    ascii_only: bool = False

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        characters = "visible ASCII characters" if self.ascii_only else "visible characters"
        return f"up to {self.longest} {characters} without blanks or line breaks"

    def parse(self, text: str) -> str:
        """See :class:`Kind`."""
        if len(text) > self.longest or not is_visible(text) or (self.ascii_only and not text.isascii()):
            raise ValueError
        return text


@value_class
class QueueNames(Kind):
    """Queue names, comma-separated in text. A name becomes part of Redis keys and its parent a folder."""

    allowed: str = (
        "queue names such as inference or inference.high, without blanks, commas, quotes, braces, "
        "slashes, a dot at either end, or a colon in the parent's name"
    )

    def parse(self, text: str) -> tuple[str, ...]:
        """See :class:`Kind`. Keeps duplicates: dropping them is worth a warning."""
        return self.parse_list(tuple(text.split(",")))

    def parse_list(self, items: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of a list, one name per item; raises ValueError."""
        names = tuple(item.strip() for item in items)
        if not names:
            raise ValueError("expected at least one")
        for name in names:
            if not name:
                raise ValueError("one name is empty")
            if len(name) > 200:
                raise ValueError(f"{quoted(name)} is longer than 200 characters")
            if set(name) & set("\"'`"):
                # Of an env file: docker run --env-file keeps quotes as part of the value.
                raise ValueError(f"{quoted(name)} has quotes in it: write the name without them")
            if not is_visible(name) or set(name) & set(",{}/\\") or name != name.strip("."):
                raise ValueError(f"{quoted(name)} is not a valid queue name")
            if ":" in name.partition(".")[0]:
                # Of the folder that the environment lies in: PATH has no way to write a colon.
                raise ValueError(
                    f"{quoted(name)} has a colon in the parent's name, which names a folder of programs; "
                    "PATH separates folders by colons"
                )
        return names

    def show(self, value: tuple[str, ...]) -> str:
        """See :class:`Kind`."""
        return ",".join(value)

    def plain(self, value: tuple[str, ...]) -> list[str]:
        """See :class:`Kind`."""
        return list(value)

    def statements(self, value: tuple[str, ...]) -> frozenset[str]:
        """See :class:`Kind`."""
        return frozenset(value)

    def without_repetition(self, value: tuple[str, ...]) -> tuple[str, ...]:
        """See :class:`Kind`."""
        return tuple(dict.fromkeys(value))
