"""What all papers have in common: their fonts and styles, how texts are set, the foot of a page.

Fonts are in a paper, as far as their characters are used: it looks the same in every reader. Made
without a clock, the same content gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate

# Droid Sans Fallback draws the characters of GB 18030's first plane; Vera comes with the library.
FONT, LATIN = "DroidSansFallback", "Vera"
FONT_FILE = Path(__file__).parent / "oversight" / "DroidSansFallbackFull.ttf"
_LATIN_1 = re.compile("[ -~\u00a0-\u00ff]+")
PAGE = landscape(A4)
MARGIN = 14 * mm
# The library's frames keep so much free inside their edges, points.
PADDING = 6
WIDTH: float = PAGE[0] - 2 * MARGIN - 2 * PADDING

pdfmetrics.registerFont(TTFont(FONT, FONT_FILE))
pdfmetrics.registerFont(TTFont(LATIN, "Vera.ttf"))
TITLE = ParagraphStyle("title", fontName=FONT, fontSize=17, leading=22)
HEADING = ParagraphStyle(
    "heading", fontName=FONT, fontSize=11, leading=15, spaceBefore=9, spaceAfter=3
)
TEXT = ParagraphStyle("text", fontName=FONT, fontSize=8.5, leading=12, wordWrap="CJK")
CELL = ParagraphStyle("cell", fontName=FONT, fontSize=6.6, leading=8.4, wordWrap="CJK")
_FOOT = ParagraphStyle("foot", fontName=FONT, fontSize=7.5, leading=9)
_FOOT_RIGHT = ParagraphStyle("foot_right", parent=_FOOT, alignment=TA_RIGHT)
GRID = [
    ("GRID", (0, 0), (-1, -1), 0.3, colors.HexColor("#8899AA")),
    ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#DDE7F3")),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def printed(story: Sequence[Flowable], *, title: str, about: str) -> bytes:
    """Return a paper as PDF; `about` stands at the foot of each page, beside its number."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=PAGE,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN + 4 * mm,
        title=title,
        author="Vaxtrail 苗迹",
        initialFontName=LATIN,
        invariant=1,
    )

    def foot(canvas: Canvas, _document: object) -> None:
        page = f"第 {canvas.getPageNumber()} 页 page"
        for text, style in ((about, _FOOT), (page, _FOOT_RIGHT)):
            line = Paragraph(latin(escape(text)), style)
            line.wrapOn(canvas, WIDTH, MARGIN)
            line.drawOn(canvas, MARGIN + PADDING, 8 * mm)

    document.build(list(story), onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


def told(value: object, style: ParagraphStyle = TEXT) -> Paragraph:
    """Return a value as a paragraph."""
    return Paragraph(latin(escape(str(value))), style)


def latin(text: str) -> str:
    """Return a text with what is Latin in a font that has it; the other font has no ℃."""
    return _LATIN_1.sub(rf'<font name="{LATIN}">\g<0></font>', text.replace("℃", "°C"))
