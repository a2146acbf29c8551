"""How much of a chain of custody a caller is shown.

- Oversight (CDC, regulator, auditor, steward, platform, administrator) sees the whole chain of a
  code or lot that was ever in its region: a chain with holes proves nothing, and a county's CDC
  must see the way upstream.
- Those who handle goods (clinics, stores, suppliers …) see the chain of a code only when it was
  handed to their region: sent there from a registered site elsewhere, or commissioned, received or
  dispensed there before anybody elsewhere had it. A scan that merely claims a code opens nothing.
  Of a lot they see the hops that begin or end in their region.
- Stock is that of the caller's region, also in a lot's answer.
- People's pseudonyms stand only in entries of sites in the caller's region, and only for CDC and
  clinical roles.

Anything else is 404, as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.auth import OVERSIGHT, Principal
from domain.shared.roles import Role
from projections.shared.org_tree import Name

# Who may see the pseudonyms of the people in a chain.
CLINICAL = frozenset({Role.CDC, Role.CLINIC, Role.DOCTOR, Role.NURSE, Role.VACCINATOR})
PERSONAL = frozenset(
    {"recipient", "vaccinator", "executed_by", "supervised_by", "handed_over_by", "taken_over_by"}
)
# Steps by which goods are with somebody in earnest.
_HAD = frozenset({"commissioning", "receiving", "dispensing"})

Facts = Iterable[Mapping[str, Any]]
Sites = Mapping[str, Name]


def oversees(who: Principal) -> bool:
    """Tell whether the caller sees whole chains."""
    return not who.region_prefix or who.role in OVERSIGHT


def in_region(who: Principal, sites: Sites, site_id: object) -> bool:
    """Tell whether a site is in the caller's region; an unregistered one is in none."""
    if not who.region_prefix:
        return True
    return isinstance(site_id, str) and site_id in sites and who.covers(sites[site_id].region)


def touches(who: Principal, sites: Sites, fact: Mapping[str, Any]) -> bool:
    """Tell whether a fact or hop begins or ends in the caller's region."""
    ends = (fact.get(name) for name in ("site_id", "to_site_id", "from_site_id"))
    return any(in_region(who, sites, site_id) for site_id in ends)


def sees_code(who: Principal, sites: Sites, chain: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the caller may see the chain of a code that was in its region."""
    if oversees(who):
        return True
    inside = [fact for fact in chain if in_region(who, sites, fact["site_id"])]
    outside = [fact for fact in chain if not in_region(who, sites, fact["site_id"])]
    sent = any(
        f["site_id"] in sites and in_region(who, sites, f.get("to_site_id")) for f in outside
    )
    return sent or any(fact["step"] in _HAD and _first(fact, outside) for fact in inside)


def _first(fact: Mapping[str, Any], others: Facts) -> bool:
    """Tell whether nobody else had it before, by the clock and by the record, or made it."""
    return not any(
        other["step"] == "commissioning"
        or other["position"] < fact["position"]
        or other["occurred_at"] < fact["occurred_at"]
        for other in others
    )


def shown_to(who: Principal, sites: Sites, fact: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a fact as the caller may see it: without people where they are not its business."""
    if who.role in CLINICAL and in_region(who, sites, fact["site_id"]):
        return fact
    if PERSONAL.isdisjoint(fact):
        return fact
    return {name: value for name, value in fact.items() if name not in PERSONAL}
