"""Grouped bars as SVG, written by hand: no plotting library for two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH, _HEIGHT = 860, 400
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 44, 16, 96
#: Ours in blues, others in greys and browns; readable in greyscale and for the colour-blind.
_OURS: Final = ("#0b3c8c", "#2f7fd6", "#9cc7f0")
_OTHERS: Final = ("#5b5b5b", "#8d7b68", "#a9a9a9", "#cdbfae")


@dataclass(frozen=True, slots=True)
class Bars:
    """A picture of groups of bars.

    Attributes:
        title: What is shown.
        groups: Names along the axis.
        series: For each target its value in each group; None leaves the bar out.
        limit: Where the line is drawn that stands for the bare loop.
    """

    title: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    limit: float = 1.0

    def svg(self) -> str:
        """The picture."""
        values = [v for row in self.series.values() for v in row if v is not None]
        top = max([*values, self.limit]) * 1.1
        across = (_WIDTH - _LEFT - _RIGHT) / max(len(self.groups), 1)
        down = _HEIGHT - _TOP - _BOTTOM

        def y(value: float) -> float:
            return _TOP + down * (1 - value / top)

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
            'font-family="sans-serif" font-size="12" role="img">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            f'<text x="{_LEFT}" y="24" font-size="15">{escape(self.title)}</text>',
        ]
        step = next(s for s in (0.1, 0.25, 0.5, 1, 2, 5, 10, 50, 100, 1e9) if top / s <= 8)
        for number in range(int(top / step) + 1):
            tick = number * step
            parts.append(
                f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>'
                f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            )
        colours = _colours(self.series)
        width = across * 0.84 / max(len(self.series), 1)
        for at, group in enumerate(self.groups):
            left = _LEFT + across * (at + 0.08)
            for place, (name, row) in enumerate(self.series.items()):
                if (value := row[at]) is None:
                    continue
                x = left + width * place
                parts.append(
                    f'<rect x="{x:.1f}" y="{y(value):.1f}" width="{width * 0.92:.1f}" '
                    f'height="{y(0) - y(value):.1f}" fill="{colours[name]}">'
                    f"<title>{escape(name)}: {value:.3g}</title></rect>"
                )
            parts.append(
                f'<text x="{_LEFT + across * (at + 0.5):.1f}" y="{y(0) + 18:.1f}" '
                f'text-anchor="middle">{escape(group)}</text>'
            )
        parts.append(
            f'<path d="M{_LEFT} {y(self.limit):.1f}H{_WIDTH - _RIGHT}" stroke="#c02020" '
            f'stroke-dasharray="5 4"/>'
        )
        parts += self._legend(colours)
        return "\n".join([*parts, "</svg>\n"])

    def _legend(self, colours: Mapping[str, str]) -> list[str]:
        columns = 4
        parts = []
        for at, name in enumerate(self.series):
            x = _LEFT + (at % columns) * (_WIDTH - _LEFT) / columns
            y = _HEIGHT - 50 + 20 * (at // columns)
            parts.append(
                f'<rect x="{x:.0f}" y="{y - 10}" width="12" height="12" fill="{colours[name]}"/>'
                f'<text x="{x + 17:.0f}" y="{y}">{escape(name)}</text>'
            )
        return parts


def _colours(series: Mapping[str, object]) -> dict[str, str]:
    ours, others = iter(_OURS), iter(_OTHERS)
    return {name: next(ours if name.startswith("Blindgate") else others, "#333") for name in series}
