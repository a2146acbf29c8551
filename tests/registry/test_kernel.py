"""What every module uses: folding and deciding, names and regions, errors, TOPICs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.registry import model
from domain.registry.events import OrganisationRegistered, SiteChanged, SiteRegistered
from domain.shared.decide import decide, fold
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event, event_class, topics
from domain.shared.ids import (
    WHOLE_COUNTRY,
    checked_name,
    checked_region,
    covers,
    region_prefix,
    stream_id,
)
from domain.shared.text import checked_text

SITE = SiteRegistered(
    site_id="S1", org_code="X", site_no=1, name="门诊", kind="clinic", region_code="640202"
)
CHANGED = SiteChanged(site_id="S1", name="新门诊", kind="clinic")


def test_given_events_when_folded_then_the_state_after_the_last() -> None:
    state = fold(model.evolve_site, None, [SITE, CHANGED])
    assert state is not None
    assert (state.name, state.site_no) == ("新门诊", 1)
    assert fold(model.evolve_site, None, []) is None


def test_given_an_event_of_another_stream_when_folded_then_a_programming_error() -> None:
    stranger = OrganisationRegistered(org_code="X", name="x", region_code="640202")
    with pytest.raises(AssertionError):
        fold(model.evolve_site, None, [stranger])


def test_given_a_command_when_decided_on_a_stream_then_its_new_events() -> None:
    deciding = decide(model.evolve_site, None, model.change_site, name="新门诊", kind="clinic")
    assert deciding([SITE]) == [CHANGED]
    assert deciding([SITE, CHANGED]) == []
    with pytest.raises(NotFound, match="unknown_site"):
        deciding([])


@pytest.mark.parametrize(
    ("grant", "prefix"),
    [("640000", "64"), ("640200", "6402"), ("640202", "640202"), (WHOLE_COUNTRY, "")],
)
def test_given_a_grant_when_reach_asked_then_by_prefix(grant: str, prefix: str) -> None:
    assert region_prefix(grant) == prefix
    assert covers(grant, "640202")
    assert covers(grant, "532503") == (grant == WHOLE_COUNTRY)


@given(st.text(max_size=70))
def test_given_any_text_when_checked_then_only_what_fits_a_topic_level(text: str) -> None:
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    fits = 1 <= len(text) <= 64 and all(character in allowed for character in text)
    if fits:
        assert checked_name(text, "id") == text
    else:
        with pytest.raises(Invalid):
            checked_name(text, "id")


@given(st.text(max_size=30))
def test_given_any_text_when_checked_then_storable_in_one_line(text: str) -> None:
    with suppress(Invalid):
        accepted = checked_text(text, "name")
        assert accepted.strip()
        assert "\x00" not in accepted
        assert "\n" not in accepted
        assert accepted.encode().decode() == text


@pytest.mark.parametrize(
    "value", ["640202\n", "64020２", "040202", "6402020", "999999", "164000", "000000", "910000"]
)
def test_given_a_wrong_region_when_checked_then_refused(value: str) -> None:
    with pytest.raises(Invalid):
        checked_region(value)


@pytest.mark.parametrize("value", ["110101", "460000", "500103", "659001", "710000", "820000"])
def test_given_a_region_of_a_province_when_checked_then_taken(value: str) -> None:
    assert checked_region(value) == value


def test_given_keys_when_streams_named_then_no_two_meet() -> None:
    assert stream_id("a", "b", "c") != stream_id("a", "bc")
    assert stream_id("a", 1) == stream_id("a", "1")


def test_given_an_error_when_shown_then_code_and_facts() -> None:
    assert str(Conflict("already_placed", channel="t1")) == "already_placed(channel='t1')"


def test_given_a_topic_taken_when_a_class_claims_it_then_refused() -> None:
    assert event_class(SITE.TOPIC) is SiteRegistered
    assert SITE.TOPIC in topics()
    with pytest.raises(TypeError, match="belongs to SiteRegistered"):
        type("Other", (Event,), {"TOPIC": SITE.TOPIC})
    with pytest.raises(TypeError, match="no TOPIC"):
        type("Nameless", (Event,), {})
    with pytest.raises(TypeError, match="no upcaster"):
        SiteRegistered.upcast(7, {})
