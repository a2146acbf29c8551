"""Facts as uploads, where an upload stands, how calls are signed: pure."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.platform import model
from domain.platform.events import UploadSubmitted
from domain.platform.policy import uploads_of
from domain.platform.signing import signature
from domain.platform.uploads import Hour, Kind, local, storage
from domain.shared.decide import fold
from domain.shared.errors import Conflict, Invalid, NotFound
from domain.shared.events import Event
from domain.traceability.events import (
    DoseAdministered,
    GoodsDestroyed,
    GoodsDispatched,
    GoodsReceived,
    GoodsReturned,
    GoodsSampled,
    PutAway,
    Quantity,
)

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)  # the next local day
CODE = "84743540181360010008"
SUBMITTED = UploadSubmitted(upload_id="u", platform="national", kind="bill")


def test_given_a_receipt_when_told_then_a_bill_and_the_transport_temperatures() -> None:
    event = GoodsReceived(
        fact_id="f1",
        site_id="dwk",
        from_site_id="szs",
        bill_no="B1",
        device_id="log-1",
        temperature_c=5.5,
        transport_c_min=3.0,
        departed_at=AT,
        departed_c=4.0,
        accepted=False,
        reason="破损",
        quantities=(Quantity(level=1, due=12, actual=10),),
        codes=(CODE,),
    )
    bill, transport = uploads_of(event, AT)
    assert (bill.kind, bill.bill_type, bill.day) == (Kind.BILL, "107", date(2026, 3, 3))
    assert bill.parties == {"owner": "dwk", "from": "szs", "to": "dwk"}
    fields = bill.fields
    assert fields["trace_codes"] == [CODE]
    assert (fields["qu_receivable"], fields["xt_is_check"], fields["xt_check_code"]) == (
        "12",
        "1",
        "2",
    )
    assert fields["bill_time"] == "2026-03-03 01:00:00"
    assert [c["what"] for c in transport.fields["content"]] == ["departure", "minimum", "arrival"]
    assert uploads_of(event, AT)[0].upload_id == bill.upload_id


@pytest.mark.parametrize(
    ("event", "bill_type", "shown"),
    [
        (GoodsDispatched(fact_id="f", site_id="a", to_site_id="b", bill_no="B", codes=(CODE,)),
         "209", {"from_bill_code": "B", "qu_receivable": "1"}),
        (GoodsReturned(fact_id="f", site_id="a", bill_type="237", reason="退货", codes=(CODE,)),
         "237", {"return_reason": "退货"}),
        (GoodsDestroyed(fact_id="f", site_id="a", executed_by="P-1", supervised_by="P-2",
                        codes=(CODE,)),
         "205", {"executer_id": "P-1", "superviser_id": "P-2"}),
        (GoodsSampled(fact_id="f", site_id="a", to_site_id="lab", codes=(CODE,)), "206", {}),
    ],
)  # fmt: skip
def test_given_a_fact_when_told_then_a_bill_of_its_type(
    event: Event, bill_type: str, shown: dict[str, Any]
) -> None:
    (upload,) = uploads_of(event, AT)
    assert upload.bill_type == bill_type
    assert shown.items() <= dict(upload.fields).items()


def test_given_many_codes_when_told_then_parts_that_fit_into_a_call() -> None:
    codes = tuple(f"8474354{n:013}" for n in range(7_001))
    event = GoodsDispatched(fact_id="f", site_id="a", to_site_id="b", bill_no="B", codes=codes)
    parts = uploads_of(event, AT)
    assert [len(part.codes) for part in parts] == [3_500, 3_500, 1]
    assert len({part.upload_id for part in parts}) == len({p.bill_code for p in parts}) == 3


def test_given_a_dose_when_told_then_bill_322_with_a_pseudonym() -> None:
    dose = DoseAdministered(fact_id="f", site_id="a", codes=(CODE,), recipient="R-1", series_dose=2)
    (upload,) = uploads_of(dose, AT)
    fields = upload.fields
    assert (upload.bill_type, fields["person_id_type"], fields["person_id"]) == ("322", "9", "R-1")
    assert fields["dose_no"] == "2"
    assert (
        uploads_of(DoseAdministered(fact_id="f", site_id="a", codes=(CODE,)), AT)[0].fields[
            "dose_no"
        ]
        == ""
    )


def test_given_facts_nobody_asks_for_when_told_then_nothing() -> None:
    assert uploads_of(PutAway(fact_id="f", site_id="a", unit_id="u", codes=(CODE,)), AT) == []
    bare = GoodsReceived(fact_id="f", site_id="a", bill_no="", codes=(CODE,))
    assert [upload.kind for upload in uploads_of(bare, AT)] == [Kind.BILL]


def test_given_a_day_in_a_store_when_told_then_its_hours() -> None:
    hour = Hour(AT, 3.0, 5.0, 4.123)
    upload = storage(
        device_id="log-1", name="冰箱", site_id="a", day=date(2026, 3, 3), hours=[hour]
    )
    assert upload.bill_code == "log-1-20260303"
    assert upload.day == date(2026, 3, 3)
    assert upload.codes == ()
    assert upload.fields["content"] == [
        {"time": "2026-03-03 01:00:00", "min": 3.0, "max": 5.0, "avg": 4.12}
    ]
    assert local(None) == ""


def test_given_an_upload_when_answered_then_each_thing_happens_once() -> None:
    events: list[Any] = list(model.submit(None, SUBMITTED))
    state = fold(model.evolve, None, events)
    assert state is not None
    assert model.submit(state, SUBMITTED) == []
    with pytest.raises(Conflict, match="upload_under_way"):
        model.resubmit(state, "again")
    with pytest.raises(Conflict, match="upload_not_rejected"):
        model.settle(state, "done")
    events += model.reject(state, "partner_missing", "往来单位不存在")
    rejected = fold(model.evolve, None, events)
    assert model.accept(rejected, "ok") == model.reject(rejected, "failed", "") == []
    events += model.resubmit(rejected, "已登记往来单位")
    again = fold(model.evolve, None, events)
    assert again is not None
    assert (again.stage, again.round) == (model.Stage.SUBMITTED, 1)
    events += model.accept(again, "duplicate_bill")
    accepted = fold(model.evolve, None, events)
    assert accepted is not None
    assert accepted.stage is model.Stage.ACCEPTED
    assert len(model.resubmit(accepted, "missing_at_platform")) == 1
    assert model.request_id("u", 1) == "u.1"


def test_given_a_rejected_upload_when_settled_then_it_stays_so() -> None:
    rejected = fold(model.evolve, None, [SUBMITTED, *model.reject(_state(), "failed", "x")])
    settled = fold(
        model.evolve, None, [SUBMITTED, *model.reject(_state(), "failed", "x"),
                             *model.settle(rejected, "已在平台更正")]
    )  # fmt: skip
    assert model.settle(settled, "again") == model.reject(settled, "failed", "") == []
    with pytest.raises(Invalid, match="bad_text"):
        model.settle(rejected, "")
    for command in (model.accept, model.resubmit, model.settle):
        with pytest.raises(NotFound, match="unknown_upload"):
            command(None, "x")


def _state() -> model.State | None:
    return fold(model.evolve, None, [SUBMITTED])


def test_given_a_call_when_signed_then_every_part_counts() -> None:
    parts: dict[str, Any] = {
        "method": "m", "app_key": "k", "timestamp": 1, "request_id": "r", "body": b"{}"
    }  # fmt: skip
    signed = signature("secret", **parts)
    assert len(signed) == 64
    others = [parts | {name: (2 if name == "timestamp" else b"x" if name == "body" else "x")}
              for name in parts]  # fmt: skip
    assert signed not in {signature("secret", **other) for other in others}
    assert signed != signature("other", **parts)
