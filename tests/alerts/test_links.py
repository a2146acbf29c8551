"""Every kind of message leads to what the API tells of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from alerts import messages
from alerts.notices import (
    AEFI_CLUSTER,
    EXPOSURE_REVISED,
    OBSERVATION_OVERDUE,
    RECALLED,
    STOCK_HERE,
    TRIAL_CALL,
    UNDERSTAFFED,
    Notice,
)
from alerts.outbox import Pool
from alerts.recalls import Recalls
from domain.alerting.model import episode_stream
from store.envelope import Envelope, Meta
from tests.alerts.conftest import PUBLIC_URL, Hook, add_recipient, make_sender
from tests.alerts.notices_of import ALERT, FIRED_AT, fired, tell
from tests.api.world import LOT, build, scan
from tests.served import Api

pytestmark = pytest.mark.database

# What these tell beside what an alert does.
_MORE: dict[str, dict[str, Any]] = {
    AEFI_CLUSTER: {
        "lot_id": LOT,
        "cases": 3,
        "serious": 1,
        "days": 2,
        "window_days": 7,
        "limit": 3,
    },
    OBSERVATION_OVERDUE: {"people": 2},
    STOCK_HERE: {"of_alert": ALERT},
    EXPOSURE_REVISED: {
        "lot_id": LOT,
        "lot_ids": [LOT],
        "units": 2,
        "ended_at": FIRED_AT.isoformat(),
        "passed": ["freezing"],
        "no_longer": [],
    },
    UNDERSTAFFED: {"sites": 1, "named": ["门诊"], "people": 2},
}


def notice(kind: str, number: int) -> Notice:
    """Return a message of a kind, as of one alert of the cold room, or of something of its own."""
    alert_id = str(UUID(int=number + 1)) if kind in _MORE else ALERT
    payload = msgspec.to_builtins(fired()) | _MORE.get(kind, {}) | {"alert_id": alert_id}
    return Notice(f"{number}", alert_id, kind, 0, "critical", "640202", payload, FIRED_AT)


def recall(api: Api, conn: psycopg.Connection[Any]) -> None:
    """Recall a lot of which a place has a pack, and let its holder be told."""
    at = api.clock.advance(minutes=1)
    with api.client() as client:
        build(client)
        made = scan(at, site="dwk-cdc", step="commissioning", lot=LOT, level=1)
        hold = {"site": "szs", "step": "holding", "lot": LOT, "recall": True, "reason": "召回"}
        for body in (made, scan(at, **hold) | {"codes": [], "fact_id": "recall-1"}):
            answer = client.post("/api/v1/scans", json=body)
            assert answer.status_code == 201, answer.text
    assert Recalls().tick(conn, at) == 1


def test_given_a_message_of_any_kind_when_its_link_is_followed_then_the_api_answers(
    api: Api, pool: Pool, hook: Hook
) -> None:
    add_recipient(pool, "system", hook.url, region_code="000000")
    meta = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
    api.followed(api.deps.ledger.append([Envelope(episode_stream(ALERT), 1, fired(), meta)]))
    with pool.connection() as conn:
        recall(api, conn)
    kinds = [kind for kind in messages.WHAT if kind not in {RECALLED, TRIAL_CALL}]
    tell(pool, *(notice(kind, n) for n, kind in enumerate(kinds)))
    sender = make_sender(pool, api.clock, None)
    sender.expand()
    sender.send_due()
    sender.close()
    links = {hit.json["kind"]: hit.json["link"] for hit in hook.hits}
    assert links.keys() == messages.WHAT.keys() - {TRIAL_CALL}  # of persons alone
    with api.client() as client:
        answers = {
            kind: client.get(link.removeprefix(PUBLIC_URL)).status_code
            for kind, link in links.items()
        }
    assert set(answers.values()) == {200}, answers
    assert links[RECALLED] == f"{PUBLIC_URL}/api/v1/lots/{LOT}/recall"
