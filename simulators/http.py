"""A small client of the HTTP API: bearer key, idempotent commands, problems as exceptions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

TIMEOUT_S = 30.0
PAGE = 200
FOLLOW_STEP_S = 0.05
# Namespace of the idempotency keys made from a command's own content.
COMMANDS = uuid.UUID("0b8f8f1e-3f57-5a57-9c2e-6b6f0a4a7d11")
Json = dict[str, Any]


class Problem(RuntimeError):
    """The API refused a request: RFC 9457, with its text in both languages."""

    def __init__(self, request: str, status: int, body: Json) -> None:
        super().__init__(f"{request}: {status} {told(body)}")
        self.status = status
        self.code = str(body.get("code", ""))
        self.body = body


def told(body: Json) -> str:
    """Return what a problem says, Chinese first, with its detail where it has one."""
    titles = [str(body[name]) for name in ("title_zh", "title_en") if body.get(name)]
    detail = body.get("detail") or (not titles and body.get("code"))
    return " / ".join(titles) + (f" ({detail})" if detail else "")


class Api:
    """One base address and one key; several threads may use it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **params: object) -> Json:
        """Return the JSON answer of a read; Problem when refused. None parameters are left out."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        answer = self._client.get(path, params=given)
        return _body(answer, f"GET {path}")

    def pages(self, path: str, **params: object) -> Iterator[Json]:
        """Yield every item of a list, following its cursor."""
        cursor: str | None = None
        while True:
            page = self.get(path, limit=PAGE, cursor=cursor, **params)
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return

    def post(
        self,
        path: str,
        body: Json,
        *,
        wait_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Send a command and return its answer; Problem when refused."""
        return _body(self._posted(path, body, wait_s, headers), f"POST {path}")

    def create(self, path: str, body: Json) -> bool:
        """Send a command; tell whether it made something that was not there before."""
        answer = self._posted(path, body, None, None)
        _body(answer, f"POST {path}")
        return answer.status_code == httpx.codes.CREATED

    def _posted(
        self, path: str, body: Json, wait_s: float | None, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        """Post JSON; the idempotency key comes from the content, so a repeat is harmless."""
        content = json.dumps(body, ensure_ascii=False, sort_keys=True)
        sent = {
            "Content-Type": "application/json",
            "Idempotency-Key": str(uuid.uuid5(COMMANDS, f"{path}\n{content}")),
            **(headers or {}),
        }
        if wait_s is not None:
            sent["Prefer"] = f"wait={wait_s:g}"
        return self._client.post(path, content=content.encode(), headers=sent)

    def remove(self, path: str) -> None:
        """Remove a thing if it is there."""
        answer = self._client.delete(path)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _body(answer, f"DELETE {path}")

    def follow(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the read models show all that the logs held at the time of this call."""
        wanted = _ledger(self.get("/position")["position"])
        until = time.monotonic() + timeout_s
        while _ledger(self.get("/position")["followed"]) < wanted:
            if time.monotonic() > until:
                raise Problem("GET /position", 503, {"code": "not_followed"})
            time.sleep(FOLLOW_STEP_S)

    def etag(self, path: str) -> str:
        """Return the ETag of a thing, to be sent back as If-Match."""
        answer = self._client.get(path)
        _body(answer, f"GET {path}")
        return str(answer.headers.get("ETag", ""))


def _ledger(position: str) -> int:
    """Return the ledger's part of `L<ledger>.T<telemetry>`."""
    return int(position[1:].split(".", maxsplit=1)[0])


def _body(answer: httpx.Response, request: str) -> Json:
    if answer.is_success:
        found = answer.json() if answer.content else {}
        return found if isinstance(found, dict) else {"items": found}
    try:
        body = answer.json()
    except ValueError:
        body = {"detail": answer.text[:500]}
    raise Problem(request, answer.status_code, body if isinstance(body, dict) else {})
