"""A record or report on paper: fields, charts, tables, and where people sign.

Charts are drawn by the library that makes the paper; lines are thinned so that every peak is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from reportlab.graphics.shapes import Drawing, Line, PolyLine, Rect, String
from reportlab.lib import colors
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, Paragraph, Spacer, Table

from api.oversight.parts import Cell
from api.paper import CELL, FONT, GRID, HEADING, LATIN, TITLE, WIDTH, latin, printed, told
from api.records.sheet import Band, Chart, Field, Floats, Sheet, cell
from api.records.sheet import Table as Rows
from domain.cold_chain.records import SHANGHAI

# Rows of a table on paper; what is beyond stands in the other formats.
ROWS_MAX = 600
HEADING_WITH = 22 * mm
CHART_HEIGHT: float = 58 * mm
_LEFT, _RIGHT, _BOTTOM, _TOP = 26.0, 6.0, 16.0, 14.0
_COLOURS = ("#1F5FA8", "#C2571A", "#2E8B57", "#8E4585", "#7A6A00", "#2F4F4F", "#B03060", "#4169E1")
_LIMIT, _GREY, _BAND = (colors.HexColor(c) for c in ("#CC2222", "#B8C2CC", "#F4E3C1"))
_STEPS_C = (0.5, 1, 2, 5, 10, 20, 50)
_STEPS = tuple(
    timedelta(minutes=n) for n in (1, 5, 15, 30, 60, 120, 360, 720, 1440, 2880, 7200, 14400)
)
_TICKS_MAX = 9
_DAY = timedelta(days=1)
# Names that a legend has room for.
_NAMES_MAX = 8


def paper(sheet: Sheet, language: int, at: str) -> bytes:
    """Return a sheet as PDF, in a language (0 Chinese, 1 English) and as of a position."""
    title = latin(sheet.en) if language else f"{sheet.zh} {_small(sheet.en)}"
    story: list[Flowable] = [Paragraph(title, TITLE), Spacer(1, 5), _head(sheet.head, language)]
    for chart in sheet.charts:
        heading = Paragraph(_headed(chart.zh, chart.en, language), HEADING)
        story.append(KeepTogether([heading, drawing(chart, language)]))
    for table in sheet.tables:
        story += _table(table, language)
    story.append(Spacer(1, 6))
    story += [told(note[language]) for note in sheet.notes]
    about = f"{sheet.file} · {('截至', 'as of')[language]} {at}"
    return printed(story, title=f"{(sheet.zh, sheet.en)[language]} {sheet.file}", about=about)


def _head(head: Sequence[Field], language: int) -> Table:
    """Return the fields in two columns."""
    pairs = [
        (told(_named(field.zh, field.en, language)), told(_shown(cell(field.value, language))))
        for field in head
    ]
    half = -(-len(pairs) // 2)
    blank = (told(""), told(""))
    rows = [
        [*pairs[n], *(pairs[half + n] if half + n < len(pairs) else blank)] for n in range(half)
    ]
    label = 46 * mm
    style = [*GRID[:1], *GRID[2:]]
    return Table(rows, colWidths=[label, WIDTH / 2 - label] * 2, style=style)


def _table(table: Rows, language: int) -> Iterator[Flowable]:
    yield CondPageBreak(HEADING_WITH)
    yield Paragraph(_headed(table.zh, table.en, language), HEADING)
    if not table.rows:
        yield told(("无", "none")[language])
        return
    headings = [
        Paragraph(
            latin(c.en) if language else f"{latin(c.zh)}<br/>{_small(c.en, 5.2)}",
            CELL,
        )
        for c in table.columns
    ]
    rows = [
        [told(_shown(cell(row.get(c.name), language)), CELL) for c in table.columns]
        for row in islice(table.rows, ROWS_MAX)
    ]
    whole = sum(column.wide for column in table.columns)
    widths = [WIDTH * column.wide / whole for column in table.columns]
    yield Table([headings, *rows], colWidths=widths, repeatRows=1, style=GRID)
    if len(table.rows) > ROWS_MAX:
        left = len(table.rows) - ROWS_MAX
        more = f"其余 {left} 行见 CSV 或 JSON", f"{left} more rows: see CSV or JSON"
        yield told(more[language])


def _headed(zh: str, en: str, language: int) -> str:
    return latin(en) if language or en == zh else f"{latin(zh)} {_small(en)}"


def _small(text: str, size: float = 8) -> str:
    return f"<font size={size}>{latin(text)}</font>"


def _named(zh: str, en: str, language: int) -> str:
    return en if language else f"{zh} {en}"


def _shown(value: Cell) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- charts ----


class _Scale:
    """Where times and temperatures stand in the drawing, in points."""

    def __init__(self, chart: Chart) -> None:
        self.t0, self.t1 = chart.t0, chart.t1
        values = [v for line in chart.lines for _, part in line.parts for v in _ends(part)]
        values += chart.limits or ()
        low, high = min(values, default=0.0), max(values, default=10.0)
        self.step = next((s for s in _STEPS_C if (high - low) / s <= _TICKS_MAX), 100.0)
        self.low = (low // self.step) * self.step
        self.high = -(-high // self.step) * self.step
        if self.low == self.high:
            self.high += self.step

    def x(self, at_ms: float) -> float:
        """Return where a moment stands."""
        begin, end = self.t0.timestamp() * 1000, self.t1.timestamp() * 1000
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at_ms - begin) / (end - begin)

    def y(self, celsius: float) -> float:
        """Return where a temperature stands."""
        room = CHART_HEIGHT - _BOTTOM - _TOP
        return _BOTTOM + room * (celsius - self.low) / (self.high - self.low)

    def temperatures(self) -> list[float]:
        """Return the temperatures that are written beside it."""
        count = round((self.high - self.low) / self.step)
        return [self.low + n * self.step for n in range(count + 1)]

    def times(self) -> list[datetime]:
        """Return the times that are written below: whole ones in China."""
        span = self.t1 - self.t0
        step = next((s for s in _STEPS if span / s <= _TICKS_MAX), span / _TICKS_MAX)
        local = self.t0.astimezone(SHANGHAI)
        at = local.replace(hour=0, minute=0, second=0, microsecond=0)
        at += -(-(local - at) // step) * step
        found = []
        while at <= self.t1:
            found.append(at)
            at += step
        return found


def drawing(chart: Chart, language: int) -> Drawing:
    """Return a chart as a drawing as wide as the paper."""
    found = Drawing(WIDTH, CHART_HEIGHT)
    scale = _Scale(chart)
    for shape in (
        *_bands(chart.bands, scale, language),
        *_axes(scale),
        *_limits(chart, scale),
        *_lines(chart, scale),
        *_legend(chart),
    ):
        found.add(shape)
    return found


def _axes(scale: _Scale) -> Iterator[Line | String]:
    right, top = WIDTH - _RIGHT, CHART_HEIGHT - _TOP
    for celsius in scale.temperatures():
        y = scale.y(celsius)
        yield Line(_LEFT, y, right, y, strokeColor=_GREY, strokeWidth=0.3)
        yield _text(_LEFT - 3, y - 2, f"{celsius:g}", anchor="end")
    yield _text(2, top + 5, "°C")
    whole_days = scale.t1 - scale.t0 > _TICKS_MAX * _DAY / 2
    for at in scale.times():
        x = scale.x(at.timestamp() * 1000)
        yield Line(x, _BOTTOM, x, top, strokeColor=_GREY, strokeWidth=0.3)
        label = f"{at:%m-%d}" if whole_days else f"{at:%m-%d %H:%M}"
        yield _text(min(x, right - 18), _BOTTOM - 9, label, anchor="middle")


def _limits(chart: Chart, scale: _Scale) -> Iterator[Line]:
    for celsius in chart.limits or ():
        y = scale.y(celsius)
        yield Line(
            *(_LEFT, y, WIDTH - _RIGHT, y),
            strokeColor=_LIMIT,
            strokeWidth=0.7,
            strokeDashArray=[4, 2],
        )


def _bands(bands: Sequence[Band], scale: _Scale, language: int) -> Iterator[Rect | String]:
    for band in bands:
        begin, end = (
            scale.x(min(max(t, scale.t0), scale.t1).timestamp() * 1000) for t in (band.t0, band.t1)
        )
        width, height = max(end - begin, 0.5), CHART_HEIGHT - _BOTTOM - _TOP
        yield Rect(begin, _BOTTOM, width, height, fillColor=_BAND, strokeColor=None)
        label = (band.zh, band.en)[language]
        yield _text(begin + 1, _BOTTOM + 2, label, font=LATIN if language else FONT)


def _lines(chart: Chart, scale: _Scale) -> Iterator[PolyLine]:
    for n, line in enumerate(chart.lines):
        colour = colors.HexColor(_COLOURS[n % len(_COLOURS)])
        for ts_ms, celsius in line.parts:
            told_at = [(scale.x(t), scale.y(v)) for t, v in zip(ts_ms, celsius, strict=True)]
            if len(told_at) == 1:  # one reading alone: a dot
                told_at.append((told_at[0][0] + 0.6, told_at[0][1]))
            yield PolyLine(
                [place for point in told_at for place in point],
                strokeColor=colour,
                strokeWidth=0.7,
                strokeDashArray=[2, 1.5] if line.apart else None,
            )


def _legend(chart: Chart) -> Iterator[Line | String]:
    x, y = _LEFT + 4, CHART_HEIGHT - _TOP + 5
    for n, line in enumerate(islice(chart.lines, _NAMES_MAX)):
        colour = colors.HexColor(_COLOURS[n % len(_COLOURS)])
        dashed = [2, 1.5] if line.apart else None
        yield Line(x, y + 2, x + 12, y + 2, strokeColor=colour, strokeDashArray=dashed)
        yield _text(x + 15, y, line.name)
        x += 22 + 4.0 * len(line.name)
    if len(chart.lines) > _NAMES_MAX:
        yield _text(x, y, f"+{len(chart.lines) - _NAMES_MAX}")


def _text(x: float, y: float, text: str, *, anchor: str = "start", font: str = LATIN) -> String:
    return String(x, y, text, fontName=font, fontSize=6, textAnchor=anchor)


def _ends(celsius: Floats) -> tuple[float, float]:
    return float(celsius.min()), float(celsius.max())
