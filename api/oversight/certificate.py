"""A report on paper: A4, headings in both languages, a QR code that leads to the same answer.

Made with the Chinese font that every PDF reader has (STSong-Light), and without a clock: the same
answer gives the same bytes.
"""

from __future__ import annotations

import io
import re
from html import escape
from itertools import islice

import segno
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table

from api.oversight.parts import PARTS, Body, Part, cell
from api.oversight.tables import head_rows

FONT, LATIN = "STSong-Light", "Helvetica"
_ASCII = re.compile("[ -~°]+")
PAGE = landscape(A4)
MARGIN = 14 * mm
# Rows of a part on paper; what is beyond stands in the other formats.
ROWS_MAX = 500
# Columns that hold long texts take more of the width.
_WIDE = {"from_site_id": 2, "to_site_id": 2, "site_id": 2, "events": 2.6, "code": 2.2}
_WIDE |= {
    "kind": 2.2,
    "recipient": 1.6,
    "flags": 1.8,
    "owner": 1.8,
    "reason": 2,
    "unit_id": 1.6,
    "lot_id": 1.8,
}

pdfmetrics.registerFont(UnicodeCIDFont(FONT))
_TITLE = ParagraphStyle("title", fontName=FONT, fontSize=17, leading=22)
_HEADING = ParagraphStyle("heading", fontName=FONT, fontSize=11, leading=15, spaceBefore=9)
_HEADING.spaceAfter, _HEADING.keepWithNext = 3, 1
_TEXT = ParagraphStyle("text", fontName=FONT, fontSize=8.5, leading=12, wordWrap="CJK")
_CELL = ParagraphStyle("cell", fontName=FONT, fontSize=6.6, leading=8.4, wordWrap="CJK")
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
        invariant=1,
    )
    story: list[Flowable] = [*_head(body, link, document.width)]
    for part in PARTS:
        story += _part(body, part, document.width)
    story.append(Spacer(1, 6))
    story.append(Paragraph(_NOTE, _TEXT))

    def foot(canvas: Canvas, _document: object) -> None:
        canvas.setFont(FONT, 7.5)
        canvas.drawString(MARGIN, 9 * mm, f"截至 as of {body['as_of']}")
        canvas.drawRightString(PAGE[0] - MARGIN, 9 * mm, f"第 {canvas.getPageNumber()} 页")

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


_NOTE = (
    "每行末列为所依据事件在账本中的位置及其存储字节的 SHA-256 哈希（前 16 位；完整哈希见 JSON、"
    "Excel 与证据包）。扫描二维码可取得同一位置的同一答复。时间为北京时间。<br/>"
    f'<font name="{LATIN}">The last column '
    "names the ledger position of the event behind a row, and the beginning of the SHA-256 of its "
    "stored bytes; the whole hash stands in JSON, Excel and the evidence bundle. The QR code leads "
    "to the same answer at the same position. Times are China Standard Time.</font>"
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
    heading = Paragraph(title, _HEADING)
    if not rows:
        return [heading, Paragraph("无 none", _TEXT)]
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
        heading,
        Table([headings, *shown], colWidths=widths, repeatRows=1, style=_GRID),
    ]
    if len(rows) > ROWS_MAX:
        left = len(rows) - ROWS_MAX
        text = f"其余 {left} 行见同一位置的 Excel 或 JSON | {left} more rows: see Excel or JSON"
        found.append(Paragraph(text, _TEXT))
    return found


def _told(value: object, style: ParagraphStyle = _TEXT) -> Paragraph:
    return Paragraph(_latin(escape(str(value))), style)


def _latin(text: str) -> str:
    """Return a text with what is ASCII in a Latin font: figures stand apart in every reader."""
    return _ASCII.sub(rf'<font name="{LATIN}">\g<0></font>', text)
