"""A drawing in SVG: few shapes, styled by kind, every text escaped, equal input equal bytes.

No drawing library: the shapes are few, pages hold dozens of figures that would take matplotlib a
second each, and only plain attributes (no style sheet inside) pass the site's content policy.
Colours are Okabe and Ito's, which all kinds of colour vision tell apart; a page may restyle the
classes for a dark background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from omnibench_leaderboard.outputs.inert import line as one_line

FONT = 12  # pixels; a character is taken as 0.56 of it wide
KINDS = {
    "text": 'fill="currentColor"',
    "faint": 'fill="currentColor" fill-opacity="0.7"',
    "axis": 'stroke="currentColor" stroke-width="1"',
    "grid": 'stroke="currentColor" stroke-opacity="0.15" stroke-width="1"',
    "zero": 'stroke="currentColor" stroke-width="1" stroke-dasharray="4 3"',
    "link": 'stroke="currentColor" stroke-opacity="0.5" stroke-width="1" fill="none"',
    "bar": 'stroke="currentColor" stroke-width="4" stroke-linecap="round"',
    "range": 'stroke="#0072B2" stroke-width="2"',
    "band": 'fill="#56B4E9" fill-opacity="0.25"',
    "point": 'fill="#0072B2"',
    "seed": 'fill="#0072B2" fill-opacity="0.45"',
    "better": 'fill="#009E73" stroke="#009E73" stroke-width="2"',
    "worse": 'fill="#D55E00" stroke="#D55E00" stroke-width="2"',
    "open": 'fill="none" stroke="#0072B2" stroke-width="2"',
    "hollow": 'fill="none" stroke="currentColor" stroke-width="1.5"',
}


class Drawing:
    """Shapes on a canvas.

    Args:
        width: Pixels.
        height: Pixels.
        title: What the figure is.
        description: What it shows, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height = width, height
        self.title, self.description = title, description
        self._shapes: list[str] = []

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", kind: str = "text"
    ) -> None:
        """Write text on a base line."""
        where = f'x="{number(x)}" y="{number(y)}"'
        anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._add("text", kind, where + anchored, escape(one_line(text)))

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a line."""
        ends = (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))
        self._add("line", kind, " ".join(f'{name}="{number(v)}"' for name, v in ends))

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw lines from point to point."""
        joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._add("polyline", kind, f'points="{joined}"')

    def dot(self, x: float, y: float, radius: float, kind: str, note: str = "") -> None:
        """Draw a disc; a note is shown when pointed at."""
        where = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
        self._add("circle", kind, where, f"<title>{escape(one_line(note))}</title>" if note else "")

    def diamond(self, x: float, y: float, radius: float, kind: str, note: str = "") -> None:
        """Draw a diamond: shape tells kinds apart where colours do not."""
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        joined = " ".join(f"{number(a)},{number(b)}" for a, b in corners)
        told = f"<title>{escape(one_line(note))}</title>" if note else ""
        self._add("polygon", kind, f'points="{joined}"', told)

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """Draw a filled box."""
        sides = (("x", x), ("y", y), ("width", width), ("height", height))
        self._add("rect", kind, " ".join(f'{name}="{number(v)}"' for name, v in sides))

    def render(self) -> str:
        """Return the SVG; title and description are read out in place of the picture."""
        size = f'width="{number(self.width)}" height="{number(self.height)}"'
        box = f'viewBox="0 0 {number(self.width)} {number(self.height)}"'
        label = quoteattr(one_line(f"{self.title}. {self.description}"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img" '
            f'aria-label={label} font-family="system-ui, sans-serif" font-size="{FONT}">'
            f"<title>{escape(one_line(self.title))}</title>"
            f"<desc>{escape(one_line(self.description))}</desc>"
            f"{''.join(self._shapes)}</svg>\n"
        )

    def _add(self, tag: str, kind: str, attributes: str, inside: str = "") -> None:
        opened = f'<{tag} class="{kind}" {KINDS[kind]} {attributes}'
        self._shapes.append(f"{opened}>{inside}</{tag}>" if inside else f"{opened}/>")


class Scale:
    """Values on a horizontal or vertical stretch of pixels.

    Args:
        values: All values that must fit.
        start: Pixel of the smallest.
        stop: Pixel of the largest.
        log: Logarithmic; values are positive.
    """

    def __init__(
        self, values: Sequence[float], start: float, stop: float, *, log: bool = False
    ) -> None:
        self.log, self.start, self.stop = log, start, stop
        scaled = [self._scaled(value) for value in values]
        low, high = min(scaled), max(scaled)
        room = 0.06 * (high - low) or (0.3 if log else abs(high) * 0.01 or 1.0)
        self.low, self.high = low - room, high + room

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (self._scaled(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values in reach, about five."""
        if self.log:
            powers = range(math.floor(self.low) - 1, math.ceil(self.high) + 1)
            found = [m * 10.0**p for p in powers for m in (1, 2, 5)]
            inside = [tick for tick in found if self.low <= math.log10(tick) <= self.high]
            whole = [tick for tick in inside if math.log10(tick) % 1 < 1e-9]
            return whole if len(whole) > 2 else inside
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * next(
            (m for m, least in ((10, 7), (5, 3), (2, 1.5)) if raw >= least * power), 1
        )
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(i * step, 10) for i in range(first, last + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def number(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def width_of(texts: Sequence[str]) -> float:
    """Return about how many pixels the longest text takes."""
    return 0.56 * FONT * max((len(one_line(text)) for text in texts), default=0)


def short(value: float, digits: int = 4) -> str:
    """Return a number for an axis: `86M`, `0.5`, `9.2G`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"
