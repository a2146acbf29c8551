"""API keys: issued once, revoked for ever."""

from __future__ import annotations

from typing import Any

import pytest

from domain.accounts import model
from domain.accounts.events import ApiKeyIssued, ApiKeyRevoked
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.spec import spec

DIGEST = "0123456789abcdef" * 4
ISSUED = ApiKeyIssued(key_id="k1", digest=DIGEST, role="cdc", region_code="640200", label="值班台")
REVOKED = ApiKeyRevoked(key_id="k1", reason="lost")
REQUEST: dict[str, Any] = {
    "key_id": "k1",
    "digest": DIGEST,
    "role": "cdc",
    "region_code": "640200",
    "label": "值班台",
}

key = spec(model.evolve, None)


def test_given_nothing_when_issued_then_it_is() -> None:
    key.when(model.issue_key, **REQUEST).then(ISSUED)


def test_given_nothing_when_issued_for_the_country_then_it_is() -> None:
    outcome = key.when(model.issue_key, **REQUEST | {"region_code": "000000"})
    assert len(outcome.events) == 1


def test_given_key_when_issued_alike_then_nothing_happens() -> None:
    key.given(ISSUED).when(model.issue_key, **REQUEST).then()


def test_given_key_when_issued_with_another_digest_then_conflict() -> None:
    other = REQUEST | {"digest": "f" * 64}
    key.given(ISSUED).when(model.issue_key, **other).refused(Conflict, "already_registered")


def test_given_revoked_key_when_issued_then_conflict() -> None:
    key.given(ISSUED, REVOKED).when(model.issue_key, **REQUEST).refused(Conflict, "key_revoked")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("key_id", "", "bad_name"),
        ("digest", "0" * 63, "bad_digest"),
        ("digest", "A" * 64, "bad_digest"),
        ("role", "root", "unknown_role"),
        ("region_code", "0", "bad_region"),
        ("region_code", "999999", "bad_region"),
        ("label", "a\tb", "bad_text"),
    ],
)
def test_given_nothing_when_key_is_wrong_then_refused(field: str, value: str, code: str) -> None:
    key.when(model.issue_key, **REQUEST | {field: value}).refused(Invalid, code)


def test_given_key_when_revoked_then_it_is() -> None:
    key.given(ISSUED).when(model.revoke_key, reason="lost").then(REVOKED)


def test_given_revoked_key_when_revoked_then_nothing_happens() -> None:
    key.given(ISSUED, REVOKED).when(model.revoke_key).then()


def test_given_no_key_when_revoked_then_not_found() -> None:
    key.when(model.revoke_key).refused(NotFound, "unknown_key")


def test_given_keys_when_streams_asked_then_one_each() -> None:
    assert model.api_key_stream("k1") == model.api_key_stream("k1") != model.api_key_stream("k2")
