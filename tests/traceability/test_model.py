"""Products, lots and scans: what may be registered, and which fact a scan states."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.shared.errors import Conflict, Invalid
from domain.traceability import events as facts
from domain.traceability import model
from domain.traceability.facts import STEP_OF
from domain.traceability.scan import STEPS, fact_from_scan, products_of
from tests.spec import spec

CODE, BOX = "84743540181360010008", "84743548930328208656"
PARTICULARS: dict[str, Any] = {
    "product_id": "8474354",
    "name": "示例灭活疫苗",
    "holder": "示例生物制品有限公司",
    "doses_per_vial": 1,
    "temperature_c_min": 2.0,
    "temperature_c_max": 8.0,
    "freeze_sensitive": True,
}
PRODUCT = facts.ProductRegistered(**PARTICULARS)
LOT = facts.LotReleased(
    lot_id="8474354.A1", product_id="8474354", lot_number="A1", expires_on=date(2028, 2, 28)
)
RELEASE: dict[str, Any] = {
    "product": PRODUCT,
    "product_id": "8474354",
    "lot_number": "A1",
    "expires_on": date(2028, 2, 28),
}
FACT = facts.VialOpened(fact_id="f1", site_id="POV1", codes=(CODE,))
AT = datetime(2026, 3, 11, tzinfo=UTC)
WRONG: dict[str, Any] = {
    "fact_id": "f1",
    "site_id": "POV1",
    "reason": "did_not_occur",
    "declared_at": AT,
}
WITHDRAWN = facts.FactWithdrawn(**WRONG)

product = spec(model.evolve_product, None)
lot = spec(model.evolve_lot, None)
scan = spec(model.evolve_scan, model.Scan())


def test_given_nothing_when_product_registered_then_it_is() -> None:
    product.when(model.register_product, **PARTICULARS).then(PRODUCT)
    gtin = {**PARTICULARS, "product_id": "06901234567892", "opened_limit_min": 30}
    gtin |= {"trade_name": "示例苗", "form": "注射剂", "approval_no": "S1", "programme": False}
    product.when(model.register_product, **gtin).then(facts.ProductRegistered(**gtin))


def test_given_a_product_when_registered_again_then_nothing_or_a_conflict() -> None:
    product.given(PRODUCT).when(model.register_product, **PARTICULARS).then()
    other = {**PARTICULARS, "doses_per_vial": 5}
    product.given(PRODUCT).when(model.register_product, **other).refused(
        Conflict, "already_registered"
    )


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("product_id", "7474354", "bad_product"),
        ("product_id", "847435", "bad_product"),
        ("product_id", "06901234567893", "bad_product"),
        ("product_id", "８474354", "bad_product"),
        ("name", " ", "bad_text"),
        ("holder", "", "bad_text"),
        ("doses_per_vial", 0, "bad_field"),
        ("doses_per_vial", 101, "bad_field"),
        ("middle_pack_size", 0, "bad_field"),
        ("case_size", 0, "bad_field"),
        ("temperature_c_min", -100.0, "bad_field"),
        ("temperature_c_max", 1.0, "bad_field"),
        ("temperature_c_max", float("nan"), "bad_field"),
        ("opened_limit_min", 0, "bad_field"),
    ],
)
def test_given_a_bad_particular_when_product_registered_then_refused(
    field: str, value: object, code: str
) -> None:
    product.when(model.register_product, **{**PARTICULARS, field: value}).refused(Invalid, code)


def test_given_a_product_when_lot_released_then_it_is_once() -> None:
    lot.when(model.release_lot, **RELEASE).then(LOT)
    lot.given(LOT).when(model.release_lot, **RELEASE).then()
    later = {**RELEASE, "expires_on": date(2029, 1, 1)}
    lot.given(LOT).when(model.release_lot, **later).refused(Conflict, "already_registered")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"product": None}, "unknown_product"),
        ({"produced_on": date(2028, 2, 28)}, "bad_lot"),
        ({"quantity": 0}, "bad_field"),
        ({"lot_number": ""}, "bad_text"),
        ({"lot_number": "A" * 21}, "bad_text"),
    ],
)
def test_given_a_bad_particular_when_lot_released_then_refused(
    more: dict[str, Any], code: str
) -> None:
    lot.when(model.release_lot, **{**RELEASE, **more}).refused(Invalid, code)


def test_given_a_fact_when_recorded_again_then_nothing_or_a_conflict() -> None:
    scan.when(model.record, fact=FACT).then(FACT)
    scan.given(FACT).when(model.record, fact=FACT).then()
    other = facts.VialOpened(fact_id="f1", site_id="POV2", codes=(CODE,))
    scan.given(FACT).when(model.record, fact=other).refused(Conflict, "already_registered")


def test_given_a_fact_when_withdrawn_then_once() -> None:
    scan.given(FACT).when(model.withdraw, **WRONG).then(WITHDRAWN)
    scan.when(model.withdraw, **WRONG).then(WITHDRAWN)
    scan.given(FACT, WITHDRAWN).when(model.withdraw, **WRONG).then()
    again = {**WRONG, "reason": "incorrect_data"}
    scan.given(WITHDRAWN, FACT).when(model.withdraw, **again).refused(Conflict, "already_withdrawn")
    scan.when(model.withdraw, **{**WRONG, "reason": ""}).refused(Invalid, "bad_text")


def test_given_streams_when_named_then_each_its_own() -> None:
    streams = {
        model.product_stream("1"),
        model.lot_stream("1"),
        model.scan_stream("1"),
        model.capture_stream("1"),
    }
    assert len(streams) == 4


def stated(step: str, codes: list[str] | None = None, **fields: object) -> Any:
    found = [CODE] if codes is None else codes
    return fact_from_scan(step, fact_id="f1", site_id="POV1", codes=found, fields=fields)


def test_given_a_scan_of_every_step_when_read_then_its_fact() -> None:
    needed: dict[str, dict[str, Any]] = {
        "commissioning": {"lot": "8474354.A1", "expiry": "2028-02-28", "level": 1},
        "packing": {"parent": BOX},
        "unpacking": {"parent": BOX},
        "shipping": {"to": "POV2", "bill": "CK1", "vehicle": "V1", "temp": 4},
        "receiving": {"bill": "CK1", "from": "MCDC", "tmin": 2.5, "tmax": 7.5, "accepted": False},
        "storing": {"unit": "F1"},
        "wasting": {"reason": "破损", "doses": 2, "opened": True},
        "holding": {"reason": "超温", "recall": False},
        "releasing": {"reason": "合格"},
        "destroying": {"executer": "N1", "supervisor": "N2"},
        "dispensing": {"recipient": "R1", "dose": 1, "vaccinator": "N1", "parent": BOX},
        "cycle_counting": {"unit": "F1", "quantities": [{"level": 1, "due": 10, "actual": 9}]},
        "adjusting": {"lot": "8474354.A1", "units": -1, "reason": "盘亏", "bill_type": "214"},
        "losing": {"reason": "盘点未见", "stolen": True},
        "condemning": {"reason": "冻结", "executer": "N1", "supervisor": "N2"},
        "acknowledging": {"recall_id": "r1", "lot": "8474354.A1", "units": 3},
    }
    found = {step: stated(step, **needed.get(step, {})) for step in STEPS}
    assert [STEP_OF[type(fact)].name.lower() for fact in found.values()] == list(STEPS)
    assert found["cycle_counting"].quantities == (facts.Quantity(level=1, due=10, actual=9),)
    assert found["adjusting"].units == -1
    assert found["opening"] == FACT
    assert found["commissioning"].expires_on == date(2028, 2, 28)
    assert found["shipping"].temperature_c == 4.0
    assert found["receiving"].accepted is False
    assert found["dispensing"].parent == BOX
    assert stated("commissioning", lot="A", expiry=date(2028, 1, 1)).expires_on == date(2028, 1, 1)
    assert stated("unpacking", [], parent=BOX).codes == ()
    assert stated("holding", [], reason="召回", lot="8474354.A1", recall=True).recall
    assert stated("opening", [CODE, f" {CODE}"], unit=None) == FACT


def test_given_the_particulars_of_a_bill_when_read_then_kept() -> None:
    bill: dict[str, Any] = {
        "bill": "CK1",
        "bill_type": "107",
        "carrier": "示例冷链物流",
        "handed_by": "N1",
        "quantities": [{"level": 3, "due": 2, "actual": 1, "reason": "破损"}],
        "departed": "2026-03-07T09:00:00+08:00",
        "arrived": 1772848800000,
        "departed_temp": 4,
    }
    found = stated("receiving", **bill)
    assert found.departed_at == datetime(2026, 3, 7, 1, tzinfo=UTC)
    assert found.arrived_at == datetime(2026, 3, 7, 2, tzinfo=UTC)
    same = bill | {"departed": found.departed_at, "arrived": "2026-03-07T02:00:00Z"}
    assert stated("receiving", **same) == found
    assert found.quantities[0].reason == "破损"
    assert stated("wasting", reason="x", cause="broken").cause == "broken"
    assert stated("dispensing", dose_ml=0.5, funding="private", manual=True).dose_ml == 0.5


@pytest.mark.parametrize(
    "step", ["cycle_counting", "holding", "condemning", "releasing", "acknowledging"]
)
def test_given_no_codes_when_something_stands_for_them_then_a_fact(step: str) -> None:
    instead: dict[str, dict[str, Any]] = {
        "cycle_counting": {"complete": True},
        "acknowledging": {"recall_id": "r1", "lot": "8474354.A1"},
    }
    fields = instead.get(step, {"lot": "8474354.A1", "reason": "x"})
    assert stated(step, [], **fields).codes == ()


@pytest.mark.parametrize(
    ("step", "fields", "code"),
    [
        ("flying", {}, "unknown_step"),
        ("receiving", {"bill": "B", "bill_type": "999"}, "bad_field"),
        ("receiving", {"bill": "B", "bill_type": 102}, "bad_field"),
        ("receiving", {"bill": "B", "departed": "2026-03-07T09:00:00"}, "bad_field"),
        ("receiving", {"bill": "B", "departed": "soon"}, "bad_field"),
        ("receiving", {"bill": "B", "departed": True}, "bad_field"),
        ("receiving", {"bill": "B", "departed": 10**30}, "bad_field"),
        ("receiving", {"bill": "B", "handed_by": "张三"}, "not_a_pseudonym"),
        ("receiving", {"bill": "B", "quantities": {}}, "bad_field"),
        ("receiving", {"bill": "B", "quantities": [1]}, "bad_field"),
        ("receiving", {"bill": "B", "quantities": [{"level": 1, "due": 1}]}, "bad_field"),
        ("receiving", {"bill": "B", "quantities": [{"level": 1, "x": 1}]}, "bad_field"),
        ("wasting", {"reason": "x", "cause": "eaten"}, "bad_field"),
        ("wasting", {"reason": "x", "cause": "broken", "opened": True}, "bad_field"),
        ("wasting", {"reason": "x", "cause": "session_end"}, "bad_field"),
        ("dispensing", {"dose_ml": 0}, "bad_field"),
        ("dispensing", {"dose_ml": True}, "bad_field"),
        ("adjusting", {"lot": "8474354.A1", "units": 1.5, "reason": "x"}, "bad_field"),
        ("adjusting", {"lot": "8474354.A1", "units": 2**31, "reason": "x"}, "bad_field"),
        ("holding", {"reason": "x", "recall_class": "4"}, "bad_field"),
        ("cycle_counting", {"product": "84743"}, "bad_field"),
        ("opening", {"bill": "CK1"}, "unknown_field"),
        ("opening", {"colour": "red"}, "unknown_field"),
        ("shipping", {"to": "POV2"}, "missing_field"),
        ("shipping", {"to": "POV 2", "bill": "CK1"}, "bad_name"),
        ("shipping", {"to": "POV2", "bill": "CK1\n"}, "bad_text"),
        ("shipping", {"to": "POV2", "bill": 1}, "bad_field"),
        ("shipping", {"to": 2, "bill": "CK1"}, "bad_field"),
        ("shipping", {"to": "POV2", "bill": "CK1", "temp": "4"}, "bad_field"),
        ("shipping", {"to": "POV2", "bill": "CK1", "temp": True}, "bad_field"),
        ("shipping", {"to": "POV2", "bill": "CK1", "temp": float("nan")}, "bad_field"),
        ("packing", {"parent": CODE}, "parent_in_codes"),
        ("holding", {"lot": "a b", "reason": "x"}, "bad_lot_id"),
        ("dispensing", {"recipient": "张三"}, "not_a_pseudonym"),
        ("destroying", {"supervisor": "13812345678"}, "not_a_pseudonym"),
        ("packing", {"parent": "123"}, "bad_code"),
        ("packing", {"parent": 123}, "bad_field"),
        ("dispensing", {"dose": -1}, "bad_field"),
        ("dispensing", {"dose": True}, "bad_field"),
        ("wasting", {"reason": "x", "opened": 1}, "bad_field"),
        ("commissioning", {"lot": "A", "level": 0}, "bad_field"),
        ("commissioning", {"lot": "A", "level": "1"}, "bad_field"),
        ("commissioning", {"lot": "A", "expiry": "soon"}, "bad_field"),
        ("commissioning", {"lot": "A", "expiry": 2028}, "bad_field"),
    ],
)
def test_given_a_scan_that_is_no_fact_when_read_then_refused(
    step: str, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        stated(step, **fields)
    assert refused.value.code == code


def test_given_no_codes_or_too_many_when_read_then_refused() -> None:
    for step in ("cycle_counting", "holding", "condemning"):
        with pytest.raises(Invalid) as refused:
            stated(step, [], reason="x")
        assert refused.value.facts["field"] == "codes"
    for codes, code in (([], "missing_field"), ([CODE] * 10_001, "too_many_codes")):
        with pytest.raises(Invalid) as refused:
            stated("opening", codes)
        assert refused.value.code == code


def test_given_a_fact_when_its_products_asked_then_each_with_a_code() -> None:
    other = "89077968517636045597"
    fact = stated("packing", [CODE, other], parent=BOX)
    assert products_of(fact) == {"8474354": CODE, "8907796": other}
    assert products_of(FACT) == {"8474354": CODE}
