"""Bars as SVG, made by hand: one group of bars for each latency, one bar for each application."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_COLOURS = ("#2f6f9f", "#78a8c8", "#c8743c", "#9a9a9a", "#d0d0d0")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 720, 360, 60, 64, 40, 0.25


def bars(file: Path, title: str, groups: Sequence[str], series: dict[str, Sequence[float | None]]) -> None:
    """Draw `series`, one value a group and None for no bar, to the scale of the largest value of all."""
    largest = max((value for values in series.values() for value in values if value), default=1)
    height, width = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / len(groups)
    bar = width * (1 - _GAP) / len(series)
    marks = []
    for row, (name, values) in enumerate(series.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        legend = _LEFT + row * 130
        marks.append(f'<rect x="{legend}" y="34" width="12" height="12" fill="{colour}"/>')
        marks.append(_text(legend + 18, 45, name, "start"))
        for group, value in enumerate(values):
            if value is not None:
                x, tall = _LEFT + group * width + width * _GAP / 2 + row * bar, height * value / largest
                y = _TOP + height - tall
                marks.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar - 2:.1f}" height="{tall:.1f}" fill="{colour}"/>'
                )
                marks.append(_text(x + bar / 2, y - 4, f"{value:.0f}"))
    marks += [_text(_LEFT + (each + 0.5) * width, _HEIGHT - 14, name) for each, name in enumerate(groups)]
    file.write_text(_document([_text(_LEFT, 20, title, "start"), *marks]))


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(marks: Iterable[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>', *marks, "</svg>\n"])
