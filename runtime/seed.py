"""What every instance begins with: the shipped storage profiles and their alert rules.

Part of `vaxtrail migrate`; again it changes nothing. The rules hold for all times, so that a
logger's old file is judged as well.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from domain.alerting import model as alerting
from domain.alerting.rules import SHIPPED
from domain.cold_chain import model as cold_chain
from domain.cold_chain.rules import PROFILES
from domain.shared.decide import decide
from store.commands import Command, execute
from store.envelope import Meta
from store.logs import Ledger

# No reading is older: ingest refuses earlier times.
EFFECTIVE_FROM = datetime(2015, 1, 1, tzinfo=UTC)
ACTOR = "shipped"


def seed(dsn: str, now: datetime) -> None:
    """Define the shipped profiles and publish their first rules where there are none yet."""
    meta = Meta(occurred_at=now, recorded_at=now, actor_id=ACTOR, source="migrate")
    with Ledger(dsn) as ledger:
        for profile in PROFILES:
            stream = cold_chain.profile_stream(profile.profile_id)
            if not ledger.stream(stream):
                defining = decide(
                    cold_chain.evolve_profile, None, cold_chain.define_profile, **asdict(profile)
                )
                execute(ledger, Command(stream, defining, meta))
        for profile_id, shipped in SHIPPED.items():
            stream = alerting.rule_set_stream(profile_id)
            if not ledger.stream(stream):
                publishing = decide(
                    alerting.evolve_rule_set,
                    None,
                    alerting.publish_rules,
                    profile_id=profile_id,
                    effective_from=EFFECTIVE_FROM,
                    rules=shipped.rules,
                    now=now,
                )
                execute(ledger, Command(stream, publishing, meta))
