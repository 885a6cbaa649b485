"""Small plots as SVG, by matplotlib: readable in the dark, as text and axes take the colour of the page around them."""

import hashlib
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unshrink.errors import not_installed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

WIDTH, HEIGHT, ENTRY = 5.4, 3.6, 0.2  # inches: of a plot without its legend, and of a line of that
COLUMNS = 2  # of the legend
MARKED = 15  # a line through more points is drawn without circles
INK = "#123456"  # stands for the colour of the text until the plot is SVG
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08500", "#3fa9d5"),
    *("#808080", "#8a6fd1", "#7a9a2b", "#c0504d", "#2f9e9e", "#a0622d"),
)
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = {
    **dict.fromkeys(INKED, INK),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.family": "sans-serif",
    "font.size": 11,
    "grid.alpha": 0.4,
    "grid.color": "#808080",
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar is a dollar
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "unshrink",  # the same names inside for the same drawing
}
BESIDE = ((7, 0), (-7, 0), (0, 7), (0, -7), (7, 11), (7, -11), (-7, 11), (-7, -11))  # places of a name, in points


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        name: for the legend.
        points: (x, y).
        joined: with a line through them.
        hollow: circles that are not filled.
        label: the name stands beside the first point, and not in the legend.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    joined: bool = False
    hollow: bool = False
    label: bool = False


@dataclass(frozen=True)
class Plot:
    """What is drawn.

    Attributes:
        series: each in its own colour; those without points are left out.
        across: what x is, with its unit.
        up: what y is, with its unit.
        logarithmic: x in powers of ten.
    """

    series: Sequence[Series]
    across: str
    up: str
    logarithmic: bool = False

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that stand for all that is drawn; the SVG holds them."""
        drawn = tuple(self.series), self.across, self.up, self.logarithmic
        return hashlib.sha256(repr(drawn).encode()).hexdigest()[:16]

    def svg(self, ink: str = "currentColor") -> str:
        """The drawing as an SVG element, with text and axes in a colour; "" where there is nothing to draw.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        if not any(one.points for one in self.series):
            return ""
        try:
            import matplotlib
        except ImportError:
            raise not_installed("plots need matplotlib", "report") from None
        with matplotlib.rc_context(STYLE):
            return self._element(_drawn(self)).replace(INK, ink)

    def _element(self, figure: "Figure") -> str:
        stream = io.StringIO()
        untold = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=untold, bbox_inches="tight")  # with room for a long legend
        drawing = stream.getvalue()
        drawing = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", drawing[drawing.index("<svg") :])  # not once in a page of many
        about = f'role="img" aria-label="{html.escape(f"{self.up} by {self.across}")}" data-of="{self.fingerprint}"'
        return drawing.replace("<svg", f"<svg {about}", 1)


def _drawn(plot: Plot) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = sum(not one.label for one in plot.series if one.points)
    figure = Figure((WIDTH, HEIGHT + ENTRY * math.ceil(entries / COLUMNS)), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)  # which measures text
    axes = figure.add_subplot(facecolor="none", xlabel=plot.across)
    axes.set_title(plot.up, loc="left")  # level, and so never longer than its side
    _scale(axes, plot)
    marked = [one for one in plot.series if one.points]
    for number, one in enumerate(marked):
        _mark(axes, one, COLOURS[number % len(COLOURS)])
    axes.margins(0.08, 0.1)
    if entries:
        figure.legend(loc="outside lower center", ncols=COLUMNS)
    figure.draw_without_rendering()  # so that places on the page are known,
    figure.set_layout_engine("none")  # and stay
    _name(axes, marked)
    return figure


def _scale(axes: "Axes", plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if plot.logarithmic:
        axes.set_xscale("log")
        values = [x for one in plot.series for x, _ in one.points]
        few = max(values) / min(values) < 100
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(_number))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))


def _number(value: float, position: object = None) -> str:
    """0.5, 40, 10k, 1M."""
    if abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value / 1e3:.4g}k" if abs(value) < 1e6 else f"{value / 1e6:.4g}M"


def _mark(axes: "Axes", one: Series, colour: str) -> None:
    axes.plot(
        *zip(*one.points, strict=True),
        color=colour,
        linestyle="-" if one.joined else "none",
        marker="" if one.joined and len(one.points) > MARKED else "o",
        markeredgewidth=1.8,
        markersize=5,
        markerfacecolor="none" if one.hollow else colour,
        label="_" if one.label else one.name,  # matplotlib's legend leaves out what begins so
    )


def _name(axes: "Axes", series: Sequence[Series]) -> None:
    """Names beside their points, each where it covers neither a point nor another name and stays inside."""
    from matplotlib.transforms import Bbox

    places = axes.transData.transform([point for one in series for point in one.points])
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    for one in (one for one in series if one.label):
        for drawn, box in _tried(axes, one):
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not box.count_overlaps(taken):
                break
            drawn.remove()
        else:
            drawn, box = next(_tried(axes, one))
        taken.append(box)


def _tried(axes: "Axes", one: Series) -> Iterator[tuple[Any, "Bbox"]]:
    """The name in one place after another, and the room that it takes."""
    for right, up in BESIDE:
        drawn = axes.annotate(
            one.name,
            one.points[0],
            (right, up),
            textcoords="offset points",
            horizontalalignment="left" if right > 0 else "right" if right else "center",
            verticalalignment="center" if right else "bottom" if up > 0 else "top",
        )
        yield drawn, drawn.get_window_extent()
