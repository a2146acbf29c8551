"""Mass balance of a lot by place: what came in, what went out, what is there, and the rest.

Counted in smallest packs. At every place: commissioned + received = dispatched + stock + used +
wasted + sampled + destroyed + missing + difference. Goods on their way stand at the place they go
to and belong to no sum there, also when they are lost; over the lot they are part of it. Found
after such a loss, they came in. A difference is a unit that was seen where nothing on record took
it: each such unit is an exception.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from domain.traceability.custody import Book
from domain.traceability.flows import flows_of
from domain.traceability.states import Status

# Which column a unit in a status is counted in; the rest is stock.
_COLUMNS = {
    Status.IN_TRANSIT: "in_transit",
    Status.RETURNED: "in_transit",
    Status.USED: "used",
    Status.WASTED: "wasted",
    Status.SAMPLED: "sampled",
    Status.DESTROYED: "destroyed",
    Status.MISSING: "missing",
}


@dataclass(slots=True)
class Line:
    """One place of a lot (or the sum of all); `unexplained`: codes that make the difference."""

    site_id: str
    commissioned: int = 0
    received: int = 0
    dispatched: int = 0
    stock: int = 0
    held: int = 0  # of the stock
    in_transit: int = 0
    used: int = 0
    wasted: int = 0
    sampled: int = 0
    destroyed: int = 0
    missing: int = 0
    lost: int = 0  # of the missing: on their way, so of no sum here
    difference: int = 0
    doses_given: int = 0
    doses_wasted: int = 0
    unexplained: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Balance:
    """The lines of a lot by place, and their sum, to which goods on their way belong too."""

    lines: list[Line]
    total: Line


def balance_of(book: Book, codes: Iterable[int], lost: Container[int] = ()) -> Balance:
    """Return the balance of these codes; packs of others are left out.

    `lost`: codes on their way that did not arrive with the rest; they count as missing.
    """
    lines: dict[str, Line] = {}
    for code in codes:
        if book.levels[code] == 1:
            _count(book, code, lines, lost)
    found = [lines[site_id] for site_id in sorted(lines)]
    for line in found:
        line.difference = line.commissioned + line.received - line.dispatched - _there(line)
    return Balance(found, _total(found))


def _there(line: Line) -> int:
    ended = line.used + line.wasted + line.sampled + line.destroyed + line.missing - line.lost
    return line.stock + ended


def _count(book: Book, code: int, lines: dict[str, Line], lost: Container[int]) -> None:
    flows = flows_of(book, code)
    rest = flows.rest
    for (site_id, moved), count in flows.moves.items():
        line = _line(lines, site_id)
        setattr(line, moved, getattr(line, moved) + count)
    state, own = book.standing(code), book.progress(code)
    column = _COLUMNS.get(state.status, "stock")
    line = _line(lines, state.site_id)
    if column == "in_transit" and code in lost:
        column = "missing"
    if column == "missing" and not flows.at:
        line.lost += 1
    elif column != "in_transit":
        rest[state.site_id] -= 1
    setattr(line, column, getattr(line, column) + 1)
    line.held += state.held and column == "stock"
    line.doses_given += own.doses_given
    line.doses_wasted += own.doses_wasted
    for site_id, count in rest.items():
        if count:
            _line(lines, site_id).unexplained.append(code)


def _line(lines: dict[str, Line], site_id: str) -> Line:
    return lines.setdefault(site_id, Line(site_id))


def _total(lines: Iterable[Line]) -> Line:
    total = Line("")
    for line in lines:
        for name in Line.__slots__:
            if name not in {"site_id", "unexplained", "difference"}:
                setattr(total, name, getattr(total, name) + getattr(line, name))
        total.unexplained = sorted({*total.unexplained, *line.unexplained})
    total.difference = total.commissioned - _there(total) - total.in_transit - total.lost
    return total
