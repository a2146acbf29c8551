"""A report on paper: A4, headings in both languages, a QR code that leads to the same answer.

Its fonts are in it, as far as their characters are used: it looks the same in every reader. Made
without a clock, the same answer gives the same bytes.
"""

from __future__ import annotations

import io
from itertools import islice

import segno
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Image, Paragraph, Spacer, Table

from api.oversight.parts import PARTS, Body, Part, cell
from api.oversight.tables import head_rows
from api.paper import CELL, GRID, HEADING, LATIN, TEXT, TITLE, WIDTH, latin, printed, told

# A heading stands with the first rows of its table, or on the next page.
HEADING_WITH = 22 * mm
# Rows of a part on paper; what is beyond stands in the other formats.
ROWS_MAX = 500
# Columns that hold long texts take more of the width.
_WIDE = {"from_site_id": 2, "to_site_id": 2, "site_id": 2, "events": 2.6, "code": 2.2}
_WIDE |= dict.fromkeys(("first_at", "arrived_at", "occurred_at", "declared_at", "due_at"), 1.5)
_WIDE |= {
    "kind": 2.2,
    "recipient": 1.6,
    "flags": 1.8,
    "owner": 1.8,
    "reason": 2,
    "bill_no": 1.5,
    "unit_id": 1.6,
    "lot_id": 1.8,
}


def certificate(body: Body, link: str) -> bytes:
    """Return a report as PDF; `link`: the address of the same answer at its position."""
    story: list[Flowable] = [*_head(body, link)]
    for part in PARTS:
        story += _part(body, part)
    story.append(Spacer(1, 6))
    story.append(Paragraph(latin(_NOTE_ZH), TEXT))
    story.append(Paragraph(latin(_NOTE_EN), TEXT))
    return printed(
        story,
        title=f"疫苗追溯证明 {body['head']['key']} {body['as_of']}",
        about=f"{body['head']['key']} · 截至 as of {body['as_of']}",
    )


_NOTE_ZH = (
    "每行末列为所依据事件在账本中的位置及其存储字节的 SHA-256 哈希（前 16 位；完整哈希见 JSON、"
    "Excel 与证据包）。扫描二维码可取得同一位置的同一答复。时间为北京时间。"
)
_NOTE_EN = (
    "The last column names the ledger position of the event behind a row, and the beginning of the "
    "SHA-256 of its stored bytes; the whole hash stands in JSON, Excel and the evidence bundle. "
    "The QR code leads to the same answer at the same position. Times are China Standard Time."
)


def _head(body: Body, link: str) -> list[Flowable]:
    rows = [[told(row[0]), told(row[1])] for row in head_rows(body)]
    about = Table(rows, colWidths=[42 * mm, WIDTH - 42 * mm - 36 * mm], style=GRID[:1] + GRID[2:])
    picture = io.BytesIO()
    segno.make(link, error="m").save(picture, kind="png", scale=6, border=1)
    picture.seek(0)
    beside = Table(
        [[about, Image(picture, 32 * mm, 32 * mm)]],
        colWidths=[WIDTH - 36 * mm, 36 * mm],
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)],
    )
    english = f'<font name="{LATIN}" size=11>Certificate of vaccine traceability</font>'
    title = f"疫苗追溯证明 {english}"
    return [Paragraph(title, TITLE), Spacer(1, 5), beside]


def _part(body: Body, part: Part) -> list[Flowable]:
    rows = body["parts"][part.name]
    title = f'{part.zh} <font name="{LATIN}" size=8>{part.en} ({len(rows)})</font>'
    heading = [CondPageBreak(HEADING_WITH), Paragraph(title, HEADING)]
    if not rows:
        return [*heading, told("无 none")]
    columns = [next(c for c in part.columns if c.name == name) for name in part.narrow]
    headings = [
        Paragraph(f'{latin(c.zh)}<br/><font name="{LATIN}" size=5.4>{c.en}</font>', CELL)
        for c in columns
    ]
    shown = [
        [told(cell(c.name, row.get(c.name), body, short=True), CELL) for c in columns]
        for row in islice(rows, ROWS_MAX)
    ]
    weights = [_WIDE.get(name, 1.0) for name in part.narrow]
    widths = [WIDTH * weight / sum(weights) for weight in weights]
    found: list[Flowable] = [
        *heading,
        Table([headings, *shown], colWidths=widths, repeatRows=1, style=GRID),
    ]
    if len(rows) > ROWS_MAX:
        left = len(rows) - ROWS_MAX
        text = f"其余 {left} 行见同一位置的 Excel 或 JSON | {left} more rows: see Excel or JSON"
        found.append(told(text))
    return found
