"""API keys: issued once, revoked for ever."""

from __future__ import annotations

from typing import Any

import pytest

from domain.accounts import model
from domain.accounts.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    GatewayAccessGranted,
    GatewayAccessRevoked,
)
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


GRANTED = GatewayAccessGranted(
    gateway_id="g1", region_code="640202", site_id="s1", by="password", topics=("acme/+/up",)
)
GRANT: dict[str, Any] = {
    "gateway_id": "g1",
    "region_code": "640202",
    "site_id": "s1",
    "by": "password",
    "topics": ("acme/+/up",),
}

access = spec(model.evolve_gateway_access, None)


def test_given_access_or_none_when_granted_then_each_time_on_record() -> None:
    access.when(model.grant_gateway_access, **GRANT).then(GRANTED)
    access.given(GRANTED).when(model.grant_gateway_access, **GRANT).then(GRANTED)


def test_given_access_when_revoked_then_once() -> None:
    gone = GatewayAccessRevoked(gateway_id="g1")
    access.given(GRANTED).when(model.revoke_gateway_access, gateway_id="g1").then(gone)
    access.given(GRANTED, gone).when(model.revoke_gateway_access, gateway_id="g1").then()
    assert model.gateway_access_stream("g1") != model.gateway_access_stream("g2")


@pytest.mark.parametrize("field", ["gateway_id", "region_code", "site_id"])
def test_given_a_wrong_name_when_granted_then_refused(field: str) -> None:
    code = "bad_region" if field == "region_code" else "bad_name"
    access.when(model.grant_gateway_access, **GRANT | {field: "a b"}).refused(Invalid, code)
