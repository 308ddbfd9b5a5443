"""Plots as inline SVG, drawn here and not in the browser.

Horizontal places are percentages of the width, so that a plot fills a phone or a page and its
letters keep their size. Colours are the page's variables, by class.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from grandtotal.durable import Json
from grandtotal.report.markup import Html, escaped, joined, tag
from grandtotal.report.words import number, signed_minus, size

_LINE = 20  # px from one line of a plot to the next
_HEAD = 26  # px of a group's heading
_FOOT = 22  # px of the axis


@dataclass(frozen=True)
class Scale:
    """Maps low..high to the part of the width from `left` to `right`, in percent."""

    low: float
    high: float
    left: float
    right: float

    @staticmethod
    def over(values: Sequence[float], left: float, right: float) -> "Scale":
        """Returns the scale that holds all values with a little room."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
        return Scale(low - room, high + room, left, right)

    def at(self, value: float) -> str:
        """Returns the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return f"{self.left + share * (self.right - self.left):.2f}%"

    def ticks(self, count: int = 4) -> list[float]:
        """Returns about so many round numbers inside the scale."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 2.5, 5, 10), key=lambda s: abs(math.log(s * power / rough)))
        first = math.ceil(self.low / step)
        return [step * i for i in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Dot:
    """A value with its interval; kind is the class that colours it."""

    label: str
    kind: str
    entry: Json


def svg(title: str, height: float, *parts: str) -> Html:
    """Returns a plot of full width; the title is what a screen reader says."""
    return tag(
        "svg",
        tag("title", title),
        *parts,
        width="100%",
        height=f"{height:g}",
        role="img",
        aria_label=title,
        class_="plot",
    )


def dots(title: str, groups: Sequence[tuple[str, Sequence[Dot]]]) -> Html:
    """Returns for each group its heading and a line per dot: label, interval and dot, value."""
    scale = Scale.over(_ends([dot.entry for _, lines in groups for dot in lines]), 25, 84)
    parts: list[Html] = []
    y = 0.0
    for heading, lines in groups:
        parts.append(_text(heading, "0", y + 17, "head"))
        y += _HEAD
        for dot in lines:
            parts.append(_dot_line(dot, scale, y + _LINE / 2))
            y += _LINE
        y += 6
    return svg(title, y + _FOOT, _grid(scale, y), *parts)


def strip(title: str, gain: Json, scale: Scale, kind: str) -> Html:
    """Returns one gain on the common scale, with the line of no gain."""
    zero = _line(scale.at(0), 0, scale.at(0), 26, "zero")
    return svg(title, 26, zero, _interval(Dot("", kind, gain), scale, 13))


def axis(scale: Scale, unit: str) -> Html:
    """Returns the numbers under strips; hidden from screen readers, which have the words."""
    marks = [
        _text(f"{_signed(tick)}{unit if tick else ''}", scale.at(tick), 12, "tick", "middle")
        for tick in scale.ticks(3)
    ]
    return tag("svg", *marks, width="100%", height="18", class_="plot axis", aria_hidden="true")


def _signed(tick: float) -> str:
    return signed_minus(f"{tick:+.4g}") if tick else "0"


def bars(title: str, values: Sequence[tuple[str, int]]) -> Html:
    """Returns one horizontal bar a name, its bytes beside it, all on one linear scale."""
    top = max((value for _, value in values), default=1) or 1
    parts = [_bar(i, name, value, value / top) for i, (name, value) in enumerate(values)]
    return svg(title, 38.0 * len(values), *parts)


def _bar(line: int, name: str, value: int, share: float) -> Html:
    y = 38 * line
    return joined(
        [
            _text(name, "0", y + 13, "label"),
            _text(size(value), "100%", y + 13, "value", "end"),
            _rect("0", y + 19, "100%", 8, "track"),
            _rect("0", y + 19, f"{100 * share:.3f}%", 8, "bar"),
        ]
    )


def columns(title: str, values: Sequence[float], highest: float, label: str) -> Html:
    """Returns one column a value from 0 to the common highest, numbered from 1."""
    width = 100 / max(len(values), 1)
    height = 84
    drawn = [
        _rect(
            f"{i * width + 0.12 * width:.2f}%",
            18 + height * (1 - value / highest),
            f"{0.76 * width:.2f}%",
            height * value / highest,
            "bar",
        )
        for i, value in enumerate(values)
    ]
    foot = [
        _text(str(i + 1), f"{(i + 0.5) * width:.2f}%", 18 + height + 14, "tick", "middle")
        for i in range(len(values))
        if len(values) <= 8 or i == 0 or (i + 1) % 5 == 0
    ]
    base = _line("0", 18 + height, "100%", 18 + height, "base")
    return svg(title, height + 38, _text(label, "0", 11, "label"), *drawn, base, *foot)


def lines(title: str, values: Sequence[tuple[str, int]]) -> Html:
    """Returns a line a name: the name, a bar from 0 and the count, all on one linear scale."""
    top = max((value for _, value in values), default=1) or 1
    parts = [_counted_line(i, name, value, value / top) for i, (name, value) in enumerate(values)]
    return svg(title, float(_LINE * len(values) + 4), *parts)


def _counted_line(line: int, name: str, value: int, share: float) -> Html:
    y = _LINE * line
    drawn = _rect("26%", y + 6, f"{54 * share:.3f}%", 9, "bar")
    count = _text(f"{value:,}", "100%", y + 15, "value", "end")
    return joined([_text(name, "0", y + 15, "label"), drawn, count])


def course(title: str, values: Sequence[tuple[str, int]]) -> Html:
    """Returns a column a name, from 0; the names that have room stand below, the highest above."""
    top, height = max((value for _, value in values), default=1) or 1, 96
    width = 100 / max(len(values), 1)
    drawn = [
        _rect(f"{(i + 0.1) * width:.3f}%", y, f"{0.8 * width:.3f}%", 18 + height - y, "bar")
        for i, (_, value) in enumerate(values)
        if (y := 18 + height * (1 - value / top)) < 18 + height
    ]
    base = _line("0", 18 + height, "100%", 18 + height, "base")
    highest = _text(f"{top:,} at most", "0", 11, "tick")
    names = _course_names([name for name, _ in values], 18 + height + 15)
    return svg(title, height + 38, highest, *drawn, base, *names)


def _course_names(names: Sequence[str], y: float) -> Iterator[Html]:
    room = max(len(name) for name in names) * len(names) <= 40  # letters that a phone shows
    step = 1 if room else 6 if len(names) == 24 else len(names) - 1
    for i in range(0, len(names), max(step, 1)):
        last = step > 6 and i > 0
        place = 100.0 if last else 0.0 if step > 6 else 100 * (i + 0.5) / len(names)
        yield _text(
            names[i],
            f"{place:.2f}%",
            y,
            "tick",
            "end" if last else "start" if step > 6 else "middle",
        )


def curve(title: str, found: Json) -> Html:
    """Returns units sold and, from the day of the forecast on, the forecast and its 80 % band."""
    sold, start, count = found["sold"], found["from"], len(found["starts"])
    top = max([*sold, *found["high"], 1e-9]) * 1.04
    places = [100 * i / max(count - 1, 1) for i in range(count)]
    ahead = places[start : start + len(found["forecast"])]
    paths = (
        _area(ahead, found["low"], found["high"], top),
        _path([places[start]] * 2, [0, top], top, "zero"),
        _path(places[: len(sold)], sold, top, "sold"),
        _path(ahead, found["forecast"], top, "forecast"),
    )
    levels = [tick for tick in Scale(0, top, 0, 100).ticks(3) if tick]
    return svg(
        title,
        222,
        *_levels(levels, top),
        _stretched(paths),
        *_dates(found["starts"], start, "forecast from"),
    )


def shelf(title: str, found: Json) -> Html:
    """Returns what is left at the end of each period, with an order and, broken, without it."""
    stock, without, comes = found["stock"], found["without"], found["arrives"]
    top = max([*stock, *without, 1e-9]) * 1.04
    places = [100 * i / max(len(stock) - 1, 1) for i in range(len(stock))]
    paths = (
        _path(places, without, top, "forecast"),
        _path(places, stock, top, "sold"),
        _path([places[min(comes, len(places) - 1)]] * 2, [0, top], top, "zero"),
    )
    levels = [tick for tick in Scale(0, top, 0, 100).ticks(3) if tick]
    dates = _dates(found["starts"], comes, "order here")
    return svg(title, 222, *_levels(levels, top), _stretched(paths), *dates)


def steps(title: str, found: Json) -> Html:
    """Returns a level by week, and broken lines at what it was before and after a change."""
    level, start = found["level"], found["from"]
    top = max([*level, found["before"], found["after"], 1e-9]) * 1.04
    places = [100 * i / max(len(level) - 1, 1) for i in range(len(level))]
    before, after = places[: start + 1], places[start:]
    paths = (
        _path([places[start]] * 2, [0, top], top, "zero"),
        _path(places, level, top, "sold"),
        _path(before, [found["before"]] * len(before), top, "forecast"),
        _path(after, [found["after"]] * len(after), top, "forecast"),
    )
    levels = [tick for tick in Scale(0, top, 0, 100).ticks(3) if tick]
    dates = _dates(found["starts"], start, "changed about")
    return svg(title, 222, *_levels(levels, top), _stretched(paths), *dates)


def timeline(title: str, first: date, last: date, changes: Sequence[tuple[str, Json]]) -> Html:
    """Returns one line for each change: a dot at its likeliest day, a span where it may lie.

    changes: its name, and "since", "earliest", "latest" as ISO dates, "kind" the class of the dot.
    """
    scale = Scale(0, max((last - first).days, 1), 40, 98)
    height = _LINE * len(changes)
    parts = []
    for line, (name, found) in enumerate(changes):
        y = _LINE * line + _LINE / 2
        days = [
            (date.fromisoformat(found[k]) - first).days for k in ("since", "earliest", "latest")
        ]
        entry = dict(zip(("value", "low", "high"), days, strict=True))
        parts += [
            _text(name, "0", y + 4, "label"),
            _interval(Dot(name, found["kind"], entry), scale, y),
        ]
    for day, anchor in ((first, "start"), (first + (last - first) / 2, "middle"), (last, "end")):
        x = scale.at((day - first).days)
        parts += [_line(x, 4, x, height, "grid"), _text(str(day), x, height + 15, "tick", anchor)]
    return svg(title, height + _FOOT, *parts)


def demand(title: str, found: Json) -> Html:
    """Returns units a week over the price, with their 95 % band; a line where the price is now."""
    prices, units = found["prices"], found["units"]
    top = max([*found["high"], 1e-9]) * 1.04
    span = max(prices[-1] - prices[0], 1e-9)
    places = [100 * (price - prices[0]) / span for price in prices]
    now = 100 * (found["price"] - prices[0]) / span
    paths = (
        _area(places, found["low"], found["high"], top),
        _path([now] * 2, [0, top], top, "zero"),
        _path(places, units, top, "sold"),
    )
    levels = [tick for tick in Scale(0, top, 0, 100).ticks(3) if tick]
    ends = (
        _text(f"{prices[0]:,.2f}", "0", 216, "tick"),
        _text(f"{prices[-1]:,.2f}", "100%", 216, "tick", "end"),
    )
    return svg(title, 222, *_levels(levels, top), _stretched(paths), *ends)


def _levels(levels: Sequence[float], top: float) -> Iterator[Html]:
    for level in levels:
        y = 200 * (1 - level / top)
        yield _line("0", y, "100%", y, "grid")
        yield _text(f"{level:,.6g}", "0", y - 4, "tick")
    yield _line("0", 200, "100%", 200, "base")


def _dates(starts: Sequence[str], start: int, word: str) -> Iterator[Html]:
    yield _text(starts[0], "0", 216, "tick")
    if 0 < start < len(starts):
        place = 100 * start / max(len(starts) - 1, 1)
        yield _text(f"{word} {starts[start]}", f"{min(place, 100):.2f}%", 216, "tick", "end")


def _stretched(paths: Sequence[Html]) -> Html:
    # Only lines are stretched to the width; letters inside would be stretched with them.
    return tag(
        "svg",
        *paths,
        viewBox="0 0 100 200",
        preserveAspectRatio="none",
        width="100%",
        height="200",
        x="0",
        y="0",
    )


def _path(places: Sequence[float], values: Sequence[float], top: float, kind: str) -> Html:
    points = _points(places, values, top)
    return tag("polyline", points=points, class_=kind, vector_effect="non-scaling-stroke")


def _area(places: Sequence[float], low: Sequence[float], high: Sequence[float], top: float) -> Html:
    there, back = _points(places, high, top), _points(places[::-1], low[::-1], top)
    return tag("polygon", points=f"{there} {back}", class_="band")


def _points(places: Sequence[float], values: Sequence[float], top: float) -> str:
    pairs = zip(places, values, strict=True)
    return " ".join(f"{x:.2f},{200 * (1 - max(value, 0) / top):.1f}" for x, value in pairs)


def _dot_line(dot: Dot, scale: Scale, y: float) -> Html:
    label = _text(dot.label, "0", y + 4, "label")
    value = _text(number(dot.entry.get("value")), "100%", y + 4, "value", "end")
    return joined([label, _interval(dot, scale, y), value])


def _interval(dot: Dot, scale: Scale, y: float) -> Html:
    value, low, high = (dot.entry.get(name) for name in ("value", "low", "high"))
    if value is None:
        return Html("")
    ends = [] if low is None or high is None else [(low, high)]
    span = [_line(scale.at(a), y, scale.at(b), y, f"span {dot.kind}") for a, b in ends]
    mark = tag("circle", cx=scale.at(value), cy=f"{y:g}", r="4.5", class_=f"dot {dot.kind}")
    return joined([*span, mark])


def _ends(entries: Sequence[Json]) -> list[float]:
    found = [entry.get(name) for entry in entries for name in ("value", "low", "high")]
    return [value for value in found if value is not None]


def gains_scale(gains: Sequence[Json]) -> Scale:
    """Returns the scale of gains, with 0 on it."""
    return Scale.over([0.0, *_ends(gains)], 2, 98)


def _grid(scale: Scale, height: float) -> Html:
    parts = []
    for tick in scale.ticks():
        written = signed_minus(f"{tick:.4g}")
        parts.append(_line(scale.at(tick), 4, scale.at(tick), height, "grid"))
        parts.append(_text(written, scale.at(tick), height + 15, "tick", "middle"))
    return joined(parts)


def _line(x1: str, y1: float, x2: str, y2: float, kind: str) -> Html:
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", class_=kind)


def _rect(x: str, y: float, width: str, height: float, kind: str) -> Html:
    return tag("rect", x=x, y=f"{y:.1f}", width=width, height=f"{height:.1f}", class_=kind)


def _text(text: str, x: str, y: float, kind: str, anchor: str = "start") -> Html:
    return tag("text", escaped(text), x=x, y=f"{y:g}", class_=kind, text_anchor=anchor)
