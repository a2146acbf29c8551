"""What silences may be: a place, an end, a reason, and none in place of what the law wants told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.alerting import silences
from domain.alerting.silence_events import SilenceCreated, SilenceEnded
from domain.alerting.silences import Silence
from domain.shared.errors import DomainError
from tests.conftest import START

BASE = SilenceCreated(
    silence_id="q1",
    region_code="640202",
    site_id="s1",
    unit_id="",
    kinds=("stuck", "door_open", "stuck"),
    begins_at=START - timedelta(hours=1),
    ends_at=START + timedelta(hours=8),
    daily=(),
    stock_moved=False,
    reason=" 换压缩机 ",
    actor_id="k1",
)


def hours(number: float) -> Any:
    return START + timedelta(hours=number)


def test_given_a_silence_when_put_down_and_ended_then_from_now_to_its_end() -> None:
    (made,) = silences.create(None, wanted=BASE, now=START)
    assert isinstance(made, SilenceCreated)
    assert (made.begins_at, made.reason, made.kinds) == (START, "换压缩机", ("door_open", "stuck"))
    silences.check_row(made, [])
    state = silences.evolve(None, made)
    (ended,) = silences.end(state, silence_id="q1", actor_id="k2", now=hours(2))
    assert isinstance(ended, SilenceEnded)
    state = silences.evolve(state, ended)
    assert state == Silence(made, hours(2))
    assert silences.end(state, silence_id="q1", actor_id="k2", now=hours(3)) == []
    assert silences.evolve(None, ended) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ends_at": START}, "bad_period"),
        ({"begins_at": hours(9)}, "bad_period"),
        ({"begins_at": hours(24 * 32), "ends_at": hours(24 * 32 + 1)}, "bad_period"),
        ({"reason": "  "}, "reason_required"),
        ({"site_id": "", "kinds": ()}, "silence_of_region"),
        ({"site_id": "", "kinds": ("temperature",)}, "silence_of_region"),
        ({"site_id": "", "kinds": ("power_lost", "stuck")}, "silence_of_region"),
        ({"daily": (600, 600)}, "bad_quiet_hours"),
        ({"daily": (600, 1500)}, "bad_quiet_hours"),
        ({"daily": (600, 480)}, "quiet_too_long"),
        ({"daily": (1320, 420), "ends_at": hours(24 * 400)}, "quiet_too_long"),
    ],
)
def test_given_what_no_silence_may_be_when_put_down_then_refused(
    fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(DomainError) as refused:
        silences.create(None, wanted=replace(BASE, **fields), now=START)
    assert refused.value.code == code


def test_given_one_there_or_none_when_put_down_or_ended_then_refused() -> None:
    with pytest.raises(DomainError, match="silence_exists"):
        silences.create(Silence(BASE, BASE.ends_at), wanted=BASE, now=START)
    with pytest.raises(DomainError, match="unknown_silence"):
        silences.end(None, silence_id="q1", actor_id="k1", now=START)


@pytest.mark.parametrize(
    ("beside", "too_long"),
    [
        ([], False),
        ([(hours(-3), hours(-0.2))], False),
        ([(hours(-3), hours(-0.1))], True),
        ([(hours(8.1), hours(9))], True),
        ([(hours(8.2), hours(9))], False),
        ([(hours(9), hours(10)), (hours(8.1), hours(9))], True),
    ],
)
def test_given_others_in_a_row_when_put_down_then_eight_hours_at_most_without_a_pause(
    beside: list[silences.Span], too_long: bool
) -> None:
    made = replace(BASE, begins_at=START)
    silences.check_row(replace(made, daily=(1320, 420)), beside)
    if too_long:
        with pytest.raises(DomainError, match="silence_too_long"):
            silences.check_row(made, beside)
    else:
        silences.check_row(made, beside)
