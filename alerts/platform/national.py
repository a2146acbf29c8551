"""The national platform over HTTP: signed JSON calls, one method of its interface each.

POST <base>/<method>, with X-App-Key, X-Timestamp, X-Request-Id and X-Signature (see
domain/platform/signing.py). Answers are JSON: {"code": …, "message": …} and what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import uuid4

import httpx
import orjson
import structlog

from alerts.platform.port import Answer, Recall, Unanswered
from domain.platform.model import DUPLICATE, OK, REFUSALS
from domain.platform.signing import signature
from domain.platform.uploads import ZONE, Kind, local
from domain.shared.errors import Invalid
from domain.traceability.lots import completed, lot_id_of

log = structlog.get_logger(__name__)

NAME = "national"
# Seconds for one call; beyond it there is no answer.
TIMEOUT_S = 15.0
METHODS = {
    Kind.BILL: "drug.kyt.dr.uploadinoutbill",
    Kind.INJECTION: "drug.kyt.druploadretail",
    Kind.TRANSPORT: "drug.kyt.dr.transportupload",
    Kind.STORAGE: "drug.kyt.dr.storageupload",
}
RECALLS, HELD = "drug.kyt.dr.drugrecal", "drug.kyt.dr.searchbill"
# Pages of a list of bills; more is an answer that cannot be right.
PAGES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """Where the platform is, and as whom we speak to it."""

    url: str
    app_key: str
    secret: str = field(repr=False)


class National:
    """The connector's side of the interface. One thread uses it."""

    name = NAME

    def __init__(self, access: Access, now: Callable[[], datetime]) -> None:
        self._access = access
        self._now = now
        self._client = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """Close kept connections."""
        self._client.close()

    def upload(self, kind: Kind, request_id: str, fields: Mapping[str, Any]) -> Answer:
        """Send one upload."""
        said = self._call(METHODS[kind], request_id, fields)
        code = str(said.get("code", ""))
        if code not in {OK, DUPLICATE, *REFUSALS}:
            raise Unanswered(f"unknown answer {code[:64]!r}")
        return Answer(code, str(said.get("message", "")))

    def recalls(self, since: datetime, until: datetime) -> tuple[Sequence[Recall], int]:
        """Return the recalls of a window."""
        asked = {"begin_time": local(since), "end_time": local(until)}
        rows = self._asked(RECALLS, asked).get("recalls")
        if not isinstance(rows, list):
            raise Unanswered("no list of recalls")
        found, unread = [], 0
        for row in rows:
            try:
                found.append(_recall(row))
            except (Invalid, KeyError, TypeError, ValueError) as error:
                log.warning("recall_unreadable", error=repr(error))
                unread += 1
        return found, unread

    def held(self, kind: Kind, day: date) -> frozenset[str]:
        """Return the bills of a day, over all pages."""
        found: set[str] = set()
        for page in range(1, PAGES_MAX):
            asked = {"method": METHODS[kind], "day": day.isoformat(), "page": page}
            said = self._asked(HELD, asked)
            codes = said.get("bill_codes")
            if not isinstance(codes, list):
                raise Unanswered("no list of bills")
            found.update(map(str, codes))
            if not said.get("more"):
                return frozenset(found)
        raise Unanswered("pages without end")

    def _asked(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        said = self._call(method, uuid4().hex, fields)
        if said.get("code") != OK:
            raise Unanswered(f"{said.get('code')}: {said.get('message', '')}")
        return said

    def _call(self, method: str, request_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        timestamp = int(self._now().timestamp())
        access = self._access
        headers = {
            "Content-Type": "application/json",
            "X-App-Key": access.app_key,
            "X-Timestamp": str(timestamp),
            "X-Request-Id": request_id,
            "X-Signature": signature(
                access.secret,
                method=method,
                app_key=access.app_key,
                timestamp=timestamp,
                request_id=request_id,
                body=body,
            ),
        }
        try:
            answer = self._client.post(f"{access.url}/{method}", content=body, headers=headers)
            said = orjson.loads(answer.content) if answer.is_success else None
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        if not isinstance(said, dict):
            raise Unanswered(f"HTTP {answer.status_code}")
        return said


def _recall(row: Any) -> Recall:
    at = datetime.strptime(row["recall_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZONE)
    return Recall(
        recall_no=str(row["recall_no"]),
        lot_id=completed(lot_id_of(row["product_id"], row["batch_no"]), ()),
        recalled_at=at,
        recall_class=str(row.get("recall_class", "")),
        issued_by=str(row.get("issued_by", "")),
        reason=str(row.get("reason", "")),
    )
