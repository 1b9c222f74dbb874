"""Values that count or measure something, each between two bounds. Pure."""

import re
from typing import ClassVar

from appliance.config.durations import format_duration, parse_duration
from appliance.config.kinds.base import Kind
from appliance.values import value_class


@value_class
class Duration(Kind):
    """Seconds from Go's notation, between two bounds; ``zero`` says what a permitted 0 means."""

    minimum: str
    maximum: str
    zero: str = ""
    unit: str = "ms, s, m, h"
    field_suffix: ClassVar[str] = "_s"

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        return f"{zero}a duration from {self.minimum} to {self.maximum}, such as 30s or 1m30s"

    def parse(self, text: str) -> float:
        """See :class:`Kind`."""
        seconds = parse_duration(text)
        if self.zero and seconds == 0:
            return seconds
        if not parse_duration(self.minimum) <= seconds <= parse_duration(self.maximum):
            raise ValueError
        return seconds

    def show(self, value: float) -> str:
        """See :class:`Kind`."""
        return format_duration(value)


@value_class
class Integer(Kind):
    """A whole number, plain decimal: no leading zeros, which YAML would read as octal."""

    minimum: int
    maximum: int
    counts: str

    @property
    def unit(self) -> str:
        """See :class:`Kind`."""
        return self.counts

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or not self.minimum <= int(text) <= self.maximum:
            raise ValueError
        return int(text)

    def plain(self, value: int) -> int:
        """See :class:`Kind`."""
        return value


@value_class
class Number(Kind):
    """A decimal number."""

    minimum: float
    maximum: float
    counts: str

    @property
    def unit(self) -> str:
        """See :class:`Kind`."""
        return self.counts

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def parse(self, text: str) -> float:
        """See :class:`Kind`."""
        if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text):
            raise ValueError
        if not self.minimum <= float(text) <= self.maximum:
            raise ValueError
        return float(text)

    def plain(self, value: float) -> float:
        """See :class:`Kind`."""
        return value


@value_class
class Size(Kind):
    """Bytes, as a whole number of KiB, MiB or GiB (or as Kubernetes writes them); 0 is ``zero``, if any."""

    zero: str = ""
    minimum: int = 1024**2
    maximum: int = 1024**5
    example: str = "512MiB or 2GiB"
    unit: str = "KiB, MiB, GiB"
    field_suffix: ClassVar[str] = "_bytes"

    @property
    def allowed(self) -> str:
        """See :class:`Kind`."""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        bounds = f"from {self.show(self.minimum)} to {self.show(self.maximum)}"
        return f"{zero}a size {bounds}, such as {self.example}"

    def parse(self, text: str) -> int:
        """See :class:`Kind`."""
        if self.zero and text == "0":
            return 0
        found = re.fullmatch(r"([1-9][0-9]{0,14})([KMGT])i?B?", text, re.ASCII)
        if found is None:
            raise ValueError("a size needs a unit" if text.isdecimal() else "")
        size = int(found[1]) << 10 * (1 + "KMGT".index(found[2]))
        if not self.minimum <= size <= self.maximum:
            raise ValueError
        return size

    def show(self, value: int) -> str:
        """See :class:`Kind`."""
        power = max(power for power in range(5) if value % 1024**power == 0) if value else 0
        return f"{value // 1024**power}{('', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
