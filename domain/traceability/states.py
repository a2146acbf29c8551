"""Which step may happen to a code in which state.

Nothing that happened is refused: a step that should not have been possible is recorded, and what is
wrong with it is a flag of that code and fact.
"""

from __future__ import annotations

from enum import StrEnum

from domain.traceability.facts import Step


class Status(StrEnum):
    """Where a code stands in its life."""

    UNKNOWN = "unknown"
    COMMISSIONED = "commissioned"
    IN_TRANSIT = "in_transit"
    IN_STOCK = "in_stock"
    RETURNED = "returned"
    HELD = "held"
    OPENED = "opened"
    MISSING = "missing"
    USED = "used"
    WASTED = "wasted"
    SAMPLED = "sampled"
    DESTROYED = "destroyed"


class Flag(StrEnum):
    """Kinds of exception that the facts of one code show by themselves."""

    UNKNOWN_CODE = "UNKNOWN_CODE"
    PRODUCT_WITHOUT_DATA = "PRODUCT_WITHOUT_DATA"
    DATA_ERROR = "DATA_ERROR"
    ALREADY_USED = "ALREADY_USED"
    DOSES_EXCEED_VIAL = "DOSES_EXCEED_VIAL"
    EXPIRED = "EXPIRED"
    RECALLED = "RECALLED"
    OPEN_VIAL_OVERRUN = "OPEN_VIAL_OVERRUN"
    HIERARCHY_BROKEN = "HIERARCHY_BROKEN"
    ILLEGAL_STATE = "ILLEGAL_STATE"


# Ends of a life: only the withdrawal of the fact that led there opens them again.
ENDED = frozenset({Status.USED, Status.WASTED, Status.SAMPLED, Status.DESTROYED})
# A hold shows in place of these; goods on their way stay on their way, what has ended has ended.
HOLDABLE = frozenset({Status.COMMISSIONED, Status.IN_STOCK, Status.OPENED})
# A code inside a pack has the pack's status, except for what only happens to single codes.
OWN = ENDED | {Status.OPENED}
# What becomes of a pack, an opened vial inside becomes too.
_OVERRIDES = ENDED | {Status.MISSING}
# What is at no place yet, but goes to one.
ON_THE_WAY = frozenset({Status.IN_TRANSIT, Status.RETURNED})


def status_inside(own: Status, outer: Status) -> Status:
    """Return the status of what is in a pack: `own` without the pack, `outer` the pack's."""
    if outer is Status.USED:
        outer = Status.IN_STOCK  # a pack scanned as an injection: nothing inside was given
    kept = own in ENDED or (own in OWN and outer not in _OVERRIDES)
    return own if kept else outer


def shown(status: Status, *, held: bool) -> Status:
    """Return a status as it is shown of what a hold binds or does not bind."""
    return Status.HELD if held and status in HOLDABLE else status


class Mark(StrEnum):
    """What a cell of the table says."""

    FREE = "."
    BILL = "H"  # on a bill of held goods only
    CASE = "!"  # recorded, and a case
    NEVER = "-"  # impossible, recorded as ILLEGAL_STATE


class Column(StrEnum):
    """The states of the table, in the order of its columns; a held code is in two of them."""

    COMMISSIONED = "commissioned"
    IN_TRANSIT = "in_transit"
    IN_STOCK = "in_stock"
    HELD = "held"
    RECALLED = "recalled"
    OPENED = "opened"
    USED = "used"
    DESTROYED = "destroyed"
    MISSING = "missing"


# A letter for each column: commissioned, in transit, in stock, held, recalled, opened, used,
# destroyed, missing. What is not here may always happen.
_ROWS = {
    Step.SHIPPING: ".!.HH---!",
    Step.RECEIVING: "!.!..!!!.",
    Step.PACKING: ".!...---!",
    Step.UNPACKING: ".!...---!",
    Step.HOLDING: "......--.",
    Step.CONDEMNING: "......--.",
    Step.DISPENSING: "!!.!!.!!!",
    Step.WASTING: "--....---",
    Step.RETURNING: "--...----",
    Step.DESTROYING: ".-.....--",
    Step.STORING: ".!....--!",
    Step.CYCLE_COUNTING: ".!....!!.",
    Step.SAMPLING: ".!...---!",
    Step.OPENING: "!!.!!!--!",
    Step.LOSING: "......--.",
    Step.FINDING: ".!....!!.",
}
TABLE: dict[Step, dict[Column, Mark]] = {
    step: dict(zip(Column, map(Mark, row), strict=True)) for step, row in _ROWS.items()
}

_COLUMN_OF = {
    Status.COMMISSIONED: Column.COMMISSIONED,
    Status.IN_TRANSIT: Column.IN_TRANSIT,
    Status.RETURNED: Column.IN_TRANSIT,
    Status.IN_STOCK: Column.IN_STOCK,
    Status.OPENED: Column.OPENED,
    Status.USED: Column.USED,
    Status.WASTED: Column.USED,
    Status.SAMPLED: Column.USED,
    Status.DESTROYED: Column.DESTROYED,
    Status.MISSING: Column.MISSING,
}
# What a case is: goods seen where nobody received them; a record that was wrong; else a state in
# which this cannot have been.
_CASES = {
    Column.COMMISSIONED: Flag.PRODUCT_WITHOUT_DATA,
    Column.IN_TRANSIT: Flag.PRODUCT_WITHOUT_DATA,
    Column.IN_STOCK: Flag.DATA_ERROR,
    Column.RECALLED: Flag.RECALLED,
    Column.MISSING: Flag.DATA_ERROR,
}


def _flag(step: Step, column: Column) -> Flag | None:
    match TABLE[step][column]:
        case Mark.FREE:
            return None
        case Mark.NEVER:
            return Flag.ILLEGAL_STATE
        case _:
            return _CASES.get(column, Flag.ILLEGAL_STATE)


# Doses of what has no dose left are counted: the fold says what they are.
_COUNTED = {(Step.DISPENSING, Status.USED), (Step.DISPENSING, Status.WASTED)}
_BY_STATUS = {
    (step, status): flag
    for step in TABLE
    for status, column in _COLUMN_OF.items()
    if (flag := _flag(step, column)) and (step, status) not in _COUNTED
}
_BY_HOLD = {
    (step, recall): flag
    for step in TABLE
    for recall, column in ((False, Column.HELD), (True, Column.RECALLED))
    if (flag := _flag(step, column))
}


def flag_of_status(step: Step, status: Status) -> Flag | None:
    """Return what is wrong with a step that happens to a code of this status."""
    return _BY_STATUS.get((step, status))


def flag_of_hold(step: Step, *, recall: bool) -> Flag | None:
    """Return what is wrong with a step, on no bill of held goods, while a code is held."""
    return _BY_HOLD.get((step, recall))
