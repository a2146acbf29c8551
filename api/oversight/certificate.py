"""A report on paper: A4, headings in both languages, a QR code that leads to the same answer.

Its fonts are in it, as far as their characters are used: it looks the same in every reader. Made
without a clock, the same answer gives the same bytes.
"""

from __future__ import annotations

import io
import re
from html import escape
from itertools import islice
from pathlib import Path

import segno
from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    Flowable,
    Image,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

from api.oversight.parts import PARTS, Body, Part, cell
from api.oversight.tables import head_rows

# Droid Sans Fallback draws the characters of GB 18030's first plane; Vera comes with the library.
FONT, LATIN = "DroidSansFallback", "Vera"
FONT_FILE = Path(__file__).with_name("DroidSansFallbackFull.ttf")
_LATIN_1 = re.compile("[ -~\u00a0-\u00ff]+")
PAGE = landscape(A4)
MARGIN = 14 * mm
# The library's frames keep so much free inside their edges, points.
PADDING = 6
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

pdfmetrics.registerFont(TTFont(FONT, FONT_FILE))
pdfmetrics.registerFont(TTFont(LATIN, "Vera.ttf"))
_TITLE = ParagraphStyle("title", fontName=FONT, fontSize=17, leading=22)
_HEADING = ParagraphStyle("heading", fontName=FONT, fontSize=11, leading=15, spaceBefore=9)
_HEADING.spaceAfter = 3
_TEXT = ParagraphStyle("text", fontName=FONT, fontSize=8.5, leading=12, wordWrap="CJK")
_CELL = ParagraphStyle("cell", fontName=FONT, fontSize=6.6, leading=8.4, wordWrap="CJK")
_FOOT = ParagraphStyle("foot", fontName=FONT, fontSize=7.5, leading=9)
_FOOT_RIGHT = ParagraphStyle("foot_right", parent=_FOOT, alignment=TA_RIGHT)
_GRID = [
    ("GRID", (0, 0), (-1, -1), 0.3, colors.HexColor("#8899AA")),
    ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#DDE7F3")),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def certificate(body: Body, link: str) -> bytes:
    """Return a report as PDF; `link`: the address of the same answer at its position."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=PAGE,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN + 4 * mm,
        title=f"疫苗追溯证明 {body['head']['key']} {body['as_of']}",
        author="Vaxtrail 苗迹",
        initialFontName=LATIN,
        invariant=1,
    )
    width = document.width - 2 * PADDING
    story: list[Flowable] = [*_head(body, link, width)]
    for part in PARTS:
        story += _part(body, part, width)
    story.append(Spacer(1, 6))
    story.append(Paragraph(_latin(_NOTE_ZH), _TEXT))
    story.append(Paragraph(_latin(_NOTE_EN), _TEXT))

    def foot(canvas: Canvas, _document: object) -> None:
        about = f"{body['head']['key']} · 截至 as of {body['as_of']}"
        page = f"第 {canvas.getPageNumber()} 页 page"
        for text, style in ((about, _FOOT), (page, _FOOT_RIGHT)):
            line = Paragraph(_latin(escape(text)), style)
            line.wrapOn(canvas, width, MARGIN)
            line.drawOn(canvas, MARGIN + PADDING, 8 * mm)

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


_NOTE_ZH = (
    "每行末列为所依据事件在账本中的位置及其存储字节的 SHA-256 哈希（前 16 位；完整哈希见 JSON、"
    "Excel 与证据包）。扫描二维码可取得同一位置的同一答复。时间为北京时间。"
)
_NOTE_EN = (
    "The last column names the ledger position of the event behind a row, and the beginning of the "
    "SHA-256 of its stored bytes; the whole hash stands in JSON, Excel and the evidence bundle. "
    "The QR code leads to the same answer at the same position. Times are China Standard Time."
)


def _head(body: Body, link: str, width: float) -> list[Flowable]:
    rows = [[_told(row[0]), _told(row[1])] for row in head_rows(body)]
    about = Table(rows, colWidths=[42 * mm, width - 42 * mm - 36 * mm], style=_GRID[:1] + _GRID[2:])
    picture = io.BytesIO()
    segno.make(link, error="m").save(picture, kind="png", scale=6, border=1)
    picture.seek(0)
    beside = Table(
        [[about, Image(picture, 32 * mm, 32 * mm)]],
        colWidths=[width - 36 * mm, 36 * mm],
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)],
    )
    english = f'<font name="{LATIN}" size=11>Certificate of vaccine traceability</font>'
    title = f"疫苗追溯证明 {english}"
    return [Paragraph(title, _TITLE), Spacer(1, 5), beside]


def _part(body: Body, part: Part, width: float) -> list[Flowable]:
    rows = body["parts"][part.name]
    title = f'{part.zh} <font name="{LATIN}" size=8>{part.en} ({len(rows)})</font>'
    heading = [CondPageBreak(HEADING_WITH), Paragraph(title, _HEADING)]
    if not rows:
        return [*heading, _told("无 none")]
    columns = [next(c for c in part.columns if c.name == name) for name in part.narrow]
    headings = [
        Paragraph(f'{_latin(c.zh)}<br/><font name="{LATIN}" size=5.4>{c.en}</font>', _CELL)
        for c in columns
    ]
    shown = [
        [_told(cell(c.name, row.get(c.name), body, short=True), _CELL) for c in columns]
        for row in islice(rows, ROWS_MAX)
    ]
    weights = [_WIDE.get(name, 1.0) for name in part.narrow]
    widths = [width * weight / sum(weights) for weight in weights]
    found: list[Flowable] = [
        *heading,
        Table([headings, *shown], colWidths=widths, repeatRows=1, style=_GRID),
    ]
    if len(rows) > ROWS_MAX:
        left = len(rows) - ROWS_MAX
        text = f"其余 {left} 行见同一位置的 Excel 或 JSON | {left} more rows: see Excel or JSON"
        found.append(_told(text))
    return found


def _told(value: object, style: ParagraphStyle = _TEXT) -> Paragraph:
    return Paragraph(_latin(escape(str(value))), style)


def _latin(text: str) -> str:
    """Return a text with what is Latin in a font that has it."""
    return _LATIN_1.sub(rf'<font name="{LATIN}">\g<0></font>', text)
