"""Small plots as SVG, readable on a phone and in the dark: the text takes the colour of the page around it."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 320  # in units of the drawing; the text is 12 of them high
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 10, 42  # room for axes
LINE, LETTER = 13, 7  # least distance between labels; width of a letter
MARKED = 15  # a line through more points is drawn without circles
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08500", "#3fa9d5"),
    *("#808080", "#8a6fd1", "#7a9a2b", "#c0504d", "#2f9e9e", "#a0622d"),
)


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        name: for the legend.
        points: (x, y).
        joined: with a line through them.
        hollow: circles that are not filled.
        label: also write the name beside the first point, and leave it out of the legend.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    joined: bool = False
    hollow: bool = False
    label: bool = False


def plot(series: Sequence[Series], across: str, up: str, logarithmic: bool = False) -> str:
    """A figure element: the drawing and its legend; "" where there is nothing to draw.

    Args:
        series: each in its own colour; those without points are left out.
        across: what x is, with its unit.
        up: what y is, with its unit.
        logarithmic: x in powers of ten.
    """
    series = [one for one in series if one.points]
    if not series:
        return ""
    x = _Axis.of([px for one in series for px, _ in one.points], LEFT, WIDTH - RIGHT, logarithmic)
    heights = [py for one in series for _, py in one.points]
    room = 0.1 * (max(heights) - min(heights)) if any(one.label for one in series) else 0  # for labels at the edges
    y = _Axis.of([*heights, min(heights) - room, max(heights) + room / 2], HEIGHT - BOTTOM, TOP)
    parts = [_grid(x, y), _captions(across, up)]
    labels, marked = [], []
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        places = [(x.place(px), y.place(py)) for px, py in one.points]
        parts.append(_marks(places, colour, one))
        marked += places
        if one.label:
            labels.append((*places[0], one.name))
    parts.append(_labels(labels, marked))
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(f"{up} by {across}")}">'
    return f"<figure class=plot>{drawing}{''.join(parts)}</svg>{_legend(series)}</figure>"


@dataclass(frozen=True)
class _Axis:
    """Values from low to high, drawn from start to end."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, logarithmic: bool = False) -> "_Axis":
        if logarithmic:
            bottom = math.floor(math.log10(min(values)))
            top = max(math.ceil(math.log10(max(values))), bottom + 1)
            return cls(bottom, top, start, end, tuple(10.0**power for power in range(bottom, top + 1)), True)
        low, high = min(values), max(values)
        step = _step((high - low) or abs(high) or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        last = max(last, first + 1)
        return cls(first * step, last * step, start, end, tuple(i * step for i in range(first, last + 1)))

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        at = math.log10(value) if self.logarithmic else value
        return self.start + (self.end - self.start) * (at - self.low) / (self.high - self.low)


def _step(span: float) -> float:
    """A round distance that cuts the span into about five."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5)


def _grid(x: _Axis, y: _Axis) -> str:
    lines = []
    for tick in x.ticks:
        at = x.place(tick)
        lines.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" class=grid />')
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(tick)}</text>')
    for tick in y.ticks:
        at = y.place(tick)
        lines.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" class=grid />')
        lines.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    return "".join(lines)


def _number(value: float) -> str:
    """0.5, 40, 10k, 1M."""
    if abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value / 1e3:.4g}k" if abs(value) < 1e6 else f"{value / 1e6:.4g}M"


def _captions(across: str, up: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{_text(across)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{_text(up)}</text>'
    )


def _marks(places: Sequence[tuple[float, float]], colour: str, one: Series) -> str:
    fill = "none" if one.hollow else colour
    marks = [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2">'
        f"<title>{_text(one.name)}: {vx:.4g}, {vy:.4g}</title></circle>"
        for (px, py), (vx, vy) in zip(places, one.points, strict=True)
        if not one.joined or len(places) <= MARKED
    ]
    if one.joined:
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        marks.insert(0, f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" />')
    return "".join(marks)


def _labels(labels: Sequence[tuple[float, float, str]], marked: Sequence[tuple[float, float]]) -> str:
    """Names beside points: towards the middle unless a point lies there, and moved down where two would overlap."""
    drawn: list[str] = []
    taken = {True: -math.inf, False: -math.inf}  # the lowest label so far, on either side
    for px, py, name in sorted(labels, key=lambda label: label[1]):
        inward, length = px < (LEFT + WIDTH) / 2, 8 + LETTER * len(name)
        room = px > length if inward else px + length < WIDTH  # on the other side
        right = inward != (room and _covers(px, py, length if inward else -length, marked))
        at = max(py + 4, taken[right] + LINE)
        taken[right] = at
        anchor, x = ("start", px + 8) if right else ("end", px - 8)
        drawn.append(f'<text x="{x:.1f}" y="{at:.1f}" text-anchor="{anchor}">{_text(name)}</text>')
    return "".join(drawn)


def _covers(px: float, py: float, length: float, marked: Sequence[tuple[float, float]]) -> bool:
    """Whether a name beside a point, to the left if its length is negative, would cover another point."""
    return any(0 < (x - px) / length < 1 and abs(y - py) < LINE for x, y in marked)


def _legend(series: Sequence[Series]) -> str:
    entries = [
        f'<span><i style="border-color:{COLOURS[n % len(COLOURS)]};'
        f'background:{"none" if one.hollow else COLOURS[n % len(COLOURS)]}"></i>{_text(one.name)}</span>'
        for n, one in enumerate(series)
        if not one.label
    ]
    return f"<figcaption>{' '.join(entries)}</figcaption>" if entries else ""


def _text(text: str) -> str:
    return html.escape(text, quote=True)
