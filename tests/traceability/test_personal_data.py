"""Numbers of people are refused however they are written; ordinary codes of any kind pass."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.shared.errors import Invalid
from domain.shared.gs1 import gtin_check_digit
from domain.shared.pseudonyms import checked_id, checked_note, checked_pseudonym, names_person
from domain.traceability import epcis, model
from domain.traceability.scan import fact_from_scan

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CODE = "84743540181360010008"
SCRIPTS = ("", "０", "٠")  # of ASCII, full width, Arabic-Indic: their zeros
AROUND = ("", "电话", "见 ", "R-", "tel:", "SFZ", "（")
AFTER = ("", "。", " 王", ")", "号")
SEPARATORS = ("", " ", "-", ".", "  ", "_", "/", "·", "－")


def in_digits_of(zero: str, text: str) -> str:
    """Write ASCII digits in another script."""
    if not zero:
        return text
    return "".join(chr(ord(zero) + int(c)) if c.isascii() and c.isdigit() else c for c in text)


@st.composite
def mobiles(draw: st.DrawFn) -> str:
    """Make a mobile number as people write it."""
    digits = (
        "1" + draw(st.sampled_from("3456789")) + draw(st.from_regex(r"[0-9]{9}", fullmatch=True))
    )
    cuts = draw(st.sampled_from([(3, 7), (4, 8), (3, 6), range(1, 11)]))
    parts, last = [], 0
    for cut in (*cuts, 11):
        parts.append(digits[last:cut])
        last = cut
    written = draw(st.sampled_from(SEPARATORS)).join(parts)
    country = draw(st.sampled_from(["", "+86", "86", "0086 ", "+86-"]))
    return in_digits_of(draw(st.sampled_from(SCRIPTS)), country + written)


@st.composite
def identities(draw: st.DrawFn) -> str:
    """Make an identity number with its check character."""
    region = draw(st.sampled_from(["110101", "640202", "440305", "810000"]))
    born = draw(st.dates(date(1900, 1, 1), date(2099, 12, 31))).strftime("%Y%m%d")
    first = region + born + draw(st.from_regex(r"[0-9]{3}", fullmatch=True))
    check = "10X98765432"[sum(int(d) * w for d, w in zip(first, WEIGHTS, strict=True)) % 11]
    check = check.lower() if draw(st.booleans()) else check
    separator = draw(st.sampled_from(SEPARATORS))
    written = separator.join((region, born, first[14:] + check))
    return in_digits_of(draw(st.sampled_from(SCRIPTS)), written)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(AROUND), st.one_of(mobiles(), identities()), st.sampled_from(AFTER))
def test_given_a_number_of_a_person_in_any_writing_then_it_is_seen(
    before: str, number: str, after: str
) -> None:
    assert names_person(before + number + after)
    with pytest.raises(Invalid, match="names_a_person"):
        checked_note(before + number + after, "note")


def checked(digits: str) -> str:
    return digits + gtin_check_digit(digits)


digits = st.integers(0, 10**17 - 1).map("{:017}".format)
SUPERVISION = digits.map(lambda d: f"8474354{d[:13]}")
SSCC = digits.map(lambda d: checked(f"{d[0]}69{d[1:15]}"))
GTIN = digits.map(lambda d: checked(f"{d[0]}69{d[1:11]}"))
EAN = digits.map(lambda d: checked(f"69{d[1:11]}"))
LOTS = st.from_regex(
    r"[A-Z]{0,2}20[12][0-9](0[1-9]|1[0-2])[0-9]{2,5}(-[0-9]{1,2})?", fullmatch=True
)
BILLS = st.from_regex(r"(PS|CK|RK)202[0-9](0[1-9]|1[0-2])[0-3][0-9]-?[0-9]{3,6}", fullmatch=True)
IDS = st.uuids().map(str)
HEX = st.binary(min_size=16, max_size=32).map(bytes.hex)
TIMES = st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1)).map(  # noqa: DTZ001 -- the offset is added
    lambda at: at.replace(tzinfo=UTC).isoformat()
)
STAMPS = st.integers(1_400_000_000_000, 2_000_000_000_000).map(str)
MEASURES = st.floats(-200, 200).map(lambda value: f"{value:.8f}")
FACTS = st.tuples(st.integers(0, 99), st.integers(0, 10**7)).map(lambda n: f"scan-1.{n[0]}.{n[1]}")
LINKS = st.tuples(GTIN, digits).map(lambda n: f"https://id.gs1.org/01/{n[0]}/21/{n[1][:8]}")
ORDINARY = (
    SUPERVISION,
    SSCC,
    GTIN,
    EAN,
    LOTS,
    BILLS,
    IDS,
    HEX,
    TIMES,
    STAMPS,
    MEASURES,
    FACTS,
    LINKS,
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.one_of(*ORDINARY), st.sampled_from(["", "码 ", "见", "(01)", "lot:"]))
def test_given_an_ordinary_code_in_any_place_then_it_passes(code: str, before: str) -> None:
    assert not names_person(before + code)
    assert checked_note(before + code + "，破损", "note")


@pytest.mark.parametrize(
    "text",
    [
        "8474 3540 1813 6001 0008",
        "数量 150 20261122 到",
        "2026-11-22 16:25:13 至 2026-11-22",
        "温度15.5 2026-11-22",
        "geo:45.1,133.12345678",
        "1381234567",
        "640202199013011231",
        "640202199001011230",
        "(00)369012345678901234",
        "",
    ],
)
def test_given_what_only_resembles_a_number_of_a_person_then_it_passes(text: str) -> None:
    assert not names_person(text)


@pytest.mark.parametrize(
    "text",
    [
        "13812345678",
        "+86 138 1234 5678",
        "R13812345678",
        "１３８－１２３４－５６７８",
        "1 3 8 1 2 3 4 5 6 7 8",
        "138\u200b12345678",
        "身份证 64020219900101123X",
        "ID640202 1990-01-01 123x",
        "6402021990０101123Ｘ",
    ],
)
def test_given_examples_of_numbers_when_looked_for_then_found(text: str) -> None:
    assert names_person(text)
    assert unicodedata.is_normalized("NFKC", text) or not text.isascii()


def test_given_a_long_text_when_looked_through_then_in_no_time() -> None:
    for text in ("1" * 500_000, "1-" * 250_000, "a1" * 250_000, "1 2 " * 125_000):
        assert not names_person(text + "x")


def test_given_an_id_when_it_is_a_number_of_a_person_then_refused() -> None:
    assert checked_id("V-20261122", "visit_id") == "V-20261122"
    with pytest.raises(Invalid, match="names_a_person"):
        checked_id("V-13812345678", "visit_id")
    with pytest.raises(Invalid, match="names_a_person"):
        model.checked_fact_id("dose/138-1234-5678")
    with pytest.raises(Invalid, match="not_a_pseudonym"):
        checked_pseudonym("R-138-1234-5678", "recipient")
    hashed = UUID(int=0x13812345678A13812345678B12345678).hex
    assert checked_pseudonym(hashed, "recipient") == hashed


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        ("wasting", {"reason": "破损，电话 138 1234 5678"}),
        ("shipping", {"to": "p", "bill": "B", "carrier": "顺丰 13812345678"}),
        ("storing", {"unit": "u", "shelf": "138-1234-5678"}),
        (
            "receiving",
            {
                "bill": "B",
                "quantities": [{"level": 1, "due": 1, "actual": 0, "reason": "问 13812345678"}],
            },
        ),
    ],
)
def test_given_a_scan_when_a_text_names_a_person_then_refused(
    step: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(Invalid, match="names_a_person"):
        fact_from_scan(step, fact_id="f", site_id="s", codes=[CODE], fields=fields)


def test_given_a_scan_when_numbers_of_papers_are_as_long_then_taken() -> None:
    fields = {"bill": "13812345678"}
    fact = fact_from_scan("receiving", fact_id="f", site_id="s", codes=[CODE], fields=fields)
    assert getattr(fact, "bill_no", "") == "13812345678"


@pytest.mark.parametrize(
    "more",
    [
        {"x:note": "家长 138-1234-5678"},
        {"x:phone": 13812345678},
        {"x:phone": 13812345678.0},
        {"x:phones": [None, "13812345678"]},
        {"x:inner": [{"x:deep": {"@value": "１３８１２３４５６７８"}}]},
        {"ilmd": {"x:owner": {"y:id": "64020219900101123X"}}},
        {"readPoint": {"id": "urn:x:p", "x:contact": "+86 13812345678"}},
        {"sensorElementList": [{"x:by": "13812345678", "sensorReport": []}]},
        {"eventID": "urn:person:13812345678"},
    ],
)
def test_given_an_event_of_others_when_any_extension_names_a_person_then_refused(
    more: dict[str, Any],
) -> None:
    at = {"eventTime": (datetime(2026, 3, 2, tzinfo=UTC) - timedelta()).isoformat()}
    with pytest.raises(Invalid, match="names_a_person"):
        epcis.check_people({"type": "ObjectEvent", **at, **more})


def test_given_an_event_of_others_when_it_holds_codes_and_measures_then_taken() -> None:
    epcis.check_people(
        {
            "@context": {"x": "https://x.example/13812345678/"},
            "eventID": "urn:uuid:8f3e1381-2345-4678-8138-123456789012",
            "bizTransactionList": [{"bizTransaction": "urn:x:13812345678"}],
            "ilmd": {"cbvmda:lotNumber": "13812345678", "x:expiry": "2028-02-28"},
            "x:bill": "13812345678",
            "x:sscc": "369012345678901234",
            "x:temperature": 138.1234567,
            "x:ok": True,
            "x:none": None,
            "x:code": CODE,
        }
    )
