"""Which alerts hold which goods, and the facts of custody that follow.

The one place where the effect of an alert on a product is asked; what a product bears stands in its
registration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domain.alerting.events import AffectedStockFound, AlertFired, StockAssessed
from domain.traceability.events import HoldCondemned, HoldPlaced, HoldReleased, ProductRegistered

# Who places the holds of alerts, and where they come from as their envelopes say (nobody else can).
SYSTEM, SOURCE = "system", "alerts"
# Why goods are held: they may have frozen; they were too warm, and no budget tells for how long
# they may be. The words stand in api/texts/alerting.py under "held_" + the reason.
FREEZE, HEAT = "freeze", "heat"

# °C. Adsorbed vaccine freezes from about -0.5; a rule that watches for it has its limit here or
# below (WHO PQS E006: -0.5; where such vaccine is inside: 0.0). Shorter than any rule's dwell, a
# value at or below the second is for a person to judge (cold-chain rules of the field).
FREEZE_RULE_C_MAX, FREEZE_C = 0.0, -0.5
# An alert of less is a caution before an injection: no hold, and no excursion of custody.
GRAVE = frozenset({"major", "critical"})


def holds(alert: AlertFired, peak_c: float, product: ProductRegistered | None) -> str | None:
    """Return why an alert, with its peak by now, holds goods of a product; None: it does not.

    Cold holds what may freeze, and what nobody knows. Heat holds at once where the alert is grave:
    without a budget of its maker a product bears none, and a person has to assess.
    """
    if alert.side == "low":
        frozen = alert.limit_c <= FREEZE_RULE_C_MAX or peak_c <= FREEZE_C
        return FREEZE if frozen and _may_freeze(product) else None
    return HEAT if alert.severity in GRAVE else None


def _may_freeze(product: ProductRegistered | None) -> bool:
    """Tell whether frost spoils a product; one that is kept frozen bears it."""
    if product is None:
        return True
    return product.freeze_sensitive and product.temperature_c_min > FREEZE_C


def hold_of(found: AffectedStockFound) -> HoldPlaced | None:
    """Return the hold of goods that were found, None where they need none."""
    if not found.hold_id:
        return None
    return HoldPlaced(
        fact_id=found.hold_id,
        site_id=found.site_id,
        codes=found.held,
        issued_by=SYSTEM,
        reason=f"{found.reason} {found.alert_id}",
    )


def decisions_of(
    assessed: StockAssessed, named: Mapping[str, Sequence[str]]
) -> list[HoldReleased | HoldCondemned]:
    """Return the quality decisions of an assessment: one for each site that has such goods.

    `named`: the codes by which they are held there, by site, in the order of the fact ids (of which
    there are none where goods are kept held).
    """
    if not assessed.fact_ids:
        return []
    made: type[HoldReleased] | type[HoldCondemned]
    made = HoldReleased if assessed.decision == "release" else HoldCondemned
    return [
        made(
            fact_id=fact_id,
            site_id=site_id,
            codes=tuple(codes),
            executed_by=assessed.executed_by,
            supervised_by=assessed.supervised_by,
            decision_no=assessed.decision_no,
            reason=assessed.grounds,
        )
        for fact_id, (site_id, codes) in zip(assessed.fact_ids, named.items(), strict=True)
    ]
