"""Words of fixed sets in facts (kinds of bill, causes of waste …), and who must sign twice."""

from __future__ import annotations

# Kinds of bills in and out, as the national platform numbers them. In: purchase, return, allotment,
# transfer, supply, recall, gift, surplus, scrap, other.
BILLS_IN = frozenset({"102", "103", "104", "107", "108", "110", "111", "112", "113"})
# Out: sale, return, transfer, rework, destruction, sampling, direct, supply, recall, gift, loss,
# damage, scrap, other, direct return.
BILLS_OUT = frozenset(
    {"201", "202", "203", "204", "205", "206", "207", "209"}
    | {"211", "212", "214", "215", "216", "217", "237"}
)
BILL_TYPES = BILLS_IN | BILLS_OUT
# On these, goods move that are held or recalled: return, destruction, sampling, recall, scrap.
BILLS_OF_HELD = frozenset({"202", "205", "206", "211", "216", "237"})

# Why doses are lost (WHO, monitoring vaccine wastage at country level, 2005): out of a closed vial,
# and out of an opened one.
CLOSED_CAUSES = frozenset({"expired", "vvm", "heat", "freeze", "broken", "missing", "recalled"})
OPENED_CAUSES = frozenset(
    {"session_end", "time_limit", "doses_not_drawn", "reconstitution", "contaminated", "reaction"}
)
CAUSES = CLOSED_CAUSES | OPENED_CAUSES | {"other"}

FUNDINGS = frozenset({"programme", "private"})  # 免疫规划, 非免疫规划 (自费)
RECALL_CLASSES = frozenset({"1", "2", "3"})


def fits_vial(cause: str, *, opened: bool) -> bool:
    """Tell whether doses can be lost for this cause out of an opened, or a closed, vial."""
    return cause not in (CLOSED_CAUSES if opened else OPENED_CAUSES)


def two_persons(executed_by: str, supervised_by: str) -> bool:
    """Tell whether two different persons are named."""
    return bool(executed_by and supervised_by) and executed_by != supervised_by
