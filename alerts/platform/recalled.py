"""A recall that the platform tells, as a fact of traceability."""

from __future__ import annotations

from alerts.platform.port import Recall
from domain.platform.uploads import key_of
from domain.shared.errors import Invalid
from domain.shared.pseudonyms import checked_note
from domain.shared.text import TEXT_LENGTH_MAX
from domain.traceability.events import HoldPlaced
from domain.traceability.particulars import RECALL_CLASSES


def hold_of(platform: str, recall: Recall) -> HoldPlaced:
    """Return the hold of the whole lot; told twice it is the same fact.

    It happens at a place that no region has, so only a grant for the whole country lifts it.
    """
    return HoldPlaced(
        fact_id=f"{platform}.recall.{key_of(recall.recall_no, recall.lot_id)}",
        site_id=f"platform-{platform}",
        lot_id=recall.lot_id,
        recall=True,
        recall_class=recall.recall_class if recall.recall_class in RECALL_CLASSES else "",
        issued_by=_line(recall.issued_by),
        notice_no=_line(recall.recall_no),
        reason=_line(recall.reason),
    )


def _line(text: str) -> str:
    """Return one line that names no person; empty where it would."""
    line = "".join(c if c.isprintable() else " " for c in text)[:TEXT_LENGTH_MAX]
    try:
        return checked_note(line.strip(), "text")
    except Invalid:
        return ""
