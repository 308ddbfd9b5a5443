"""Numbers and judgements as people read them."""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

from grandtotal.durable import Json
from grandtotal.report.markup import MISSING

_SPELLED = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NBSP = "\u00a0"
_FINEST = 3  # decimals of a percentage, so that a bound beside 0 is not printed as 0


def number(value: Any) -> str:
    """Returns about three digits of a number: 0.098, 12.3, 4,567; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value and abs(value) < 0.001:
        return signed_minus(f"{value:.1g}")
    decimals = 3 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return signed_minus(f"{value:,.{decimals}f}")


def plain(value: Any) -> str:
    """Returns a setting as it is written: 1000.0 as 1,000, a list with commas, a word as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, int | float):
        return signed_minus(f"{value:,.10g}")
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return str(value)


def signed_minus(text: str) -> str:
    """Returns the number with a real minus sign, and none before a zero."""
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "−")


def size(count: int) -> str:
    """Returns a number of bytes, in kB or MB (of 10^3 and 10^6 bytes) from a thousand on."""
    if count < 1000:
        return f"{count}{_NBSP}{'byte' if count == 1 else 'bytes'}"
    unit, name = (1e3, "kB") if count < 1e6 else (1e6, "MB")
    return f"{count / unit:,.{1 if count < 100 * unit else 0}f}{_NBSP}{name}"


def seconds(value: float | None) -> str:
    """Returns a duration in seconds or minutes."""
    if value is None:
        return MISSING
    if value >= 120:
        return f"{value / 60:.1f}{_NBSP}min"
    return f"{value:.{2 if value < 1 else 1}f}{_NBSP}s"


def interval(entry: Json) -> str:
    """Returns "low to high" of a value with an interval; a dash where there is none."""
    if entry.get("low") is None or entry.get("high") is None:
        return MISSING
    return f"{number(entry['low'])} to {number(entry['high'])}"


def spelled(count: int) -> str:
    """Returns a small number as a word."""
    return _SPELLED[count] if count < len(_SPELLED) else f"{count:,}"


def times(count: int) -> str:
    """Returns "once", "twice", "three times", "12 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{spelled(count)} times")


def counted(count: int, one: str, many: str = "") -> str:
    """Returns "1 round", "33 rounds"."""
    return f"{count:,}{_NBSP}{one if count == 1 else many or one + 's'}"


def all_of(names: Sequence[str]) -> str:
    """Returns "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def sentence(text: str) -> str:
    """Returns the text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


class Verdict(Enum):
    """What a gain and its 95 % interval say; the value is the mark in the report."""

    GAINED = "gained"
    LOST = "lost"
    UNCLEAR = "unclear"
    BARE = "bare"  # no interval: the coordinator holds totals only
    UNKNOWN = "unknown"


def verdict(gain: Json) -> Verdict:
    """Returns the judgement: a gain counts only where the whole interval is above 0."""
    if gain.get("value") is None:
        return Verdict.UNKNOWN
    low, high = gain.get("low"), gain.get("high")
    if low is None or high is None:
        return Verdict.BARE
    if low > 0:
        return Verdict.GAINED
    return Verdict.LOST if high < 0 else Verdict.UNCLEAR


def is_relative(gain: Json) -> bool:
    """Returns whether the gain is known as a share of what it is compared with."""
    return gain.get("relative") is not None


def gain_entry(gain: Json, relative: bool) -> Json:
    """Returns {value, low, high} of the gain, in percent if relative, else in the metric's unit."""
    if not relative:
        return {name: gain.get(name) for name in ("value", "low", "high")}
    found = [gain.get(name) for name in ("relative", "relative_low", "relative_high")]
    value, low, high = (None if share is None else 100 * share for share in found)
    return {"value": value, "low": low, "high": high}


def gain_words(gain: Json) -> str:
    """Returns the gain as in "+5.3 % (95 %: 2.1 to 8.4)"; in the metric's unit if not relative."""
    if gain.get("value") is None:
        return MISSING
    relative = is_relative(gain)
    found = [gain_entry(gain, relative)[name] for name in ("value", "low", "high")]
    value, low, high = _percentages(found) if relative else [number(v) for v in found]
    if not any(found):
        return "none"
    unit = f"{_NBSP}%" if relative else ""
    sign = "+" if value.strip("0.") and value[0] != "−" else ""
    span = "" if MISSING in (low, high) else f" (95{_NBSP}%: {low} to {high})"
    return f"{sign}{value}{unit}{span}"


def _percentages(values: Sequence[float | None]) -> list[str]:
    known = [abs(v) for v in values if v]
    decimals = 1 if any(v < 9.95 for v in known) else 0
    while decimals < _FINEST and any(round(v, decimals) == 0 for v in known):
        decimals += 1
    return [MISSING if v is None else signed_minus(f"{v:,.{decimals}f}") for v in values]
