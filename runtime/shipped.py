"""What every instance begins with: the storage profiles and the alert rules that are shipped.

Published as events like anybody's, once; what people have changed since is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from domain.alerting import model as alerting
from domain.alerting.rules import SHIPPED
from domain.cold_chain import model as cold_chain
from domain.cold_chain.rules import PROFILES
from domain.shared.events import Event
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger

# The oldest time a reading may have: whatever is filled in later is judged as well.
IN_FORCE_FROM = datetime(2015, 1, 1, tzinfo=UTC)


def publish(dsn: str, now: datetime) -> int:
    """Publish what is missing and return how many events that took."""
    meta = Meta(occurred_at=now, recorded_at=now, actor_id="vaxtrail", source="shipped")
    wanted: list[tuple[UUID, Sequence[Event]]] = [
        (cold_chain.profile_stream(profile.profile_id), [profile]) for profile in PROFILES
    ]
    for shipped in SHIPPED.values():
        rules = alerting.publish_rules(
            None,
            profile_id=shipped.profile_id,
            effective_from=IN_FORCE_FROM,
            rules=shipped.rules,
        )
        wanted.append((alerting.rule_set_stream(shipped.profile_id), rules))
    with Ledger(dsn) as ledger:
        outcomes = [
            execute(ledger, Command(stream, _unless_begun(events), meta))
            for stream, events in wanted
        ]
    return sum(len(outcome.events) for outcome in outcomes)


def _unless_begun(events: Sequence[Event]) -> Callable[[list[Event]], Sequence[Event]]:
    return lambda history: [] if history else events
