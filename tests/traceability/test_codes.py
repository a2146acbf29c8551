"""Codes as scanners, keyboards and documents deliver them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shared.errors import Invalid
from domain.shared.gs1 import gtin_check_digit
from domain.traceability.codes import (
    canonical,
    code_key,
    key_code,
    parse,
    product_of,
    valid_gtin,
)

CODE = "84743540181360010008"
OTHER = "84743542292456873436"
GTIN = "06901234567892"
GS1 = f"(01){GTIN}(21)ABC123"
SUPERVISION = st.from_regex(r"8[0-9]{19}", fullmatch=True)


@pytest.mark.parametrize(
    "scanned",
    [
        CODE,
        f"  {CODE}\r\n",
        "８４７４３５４０１８１３６００１０００８",
        "8474 3540 1813 6001 0008",
        f"\ufeff{CODE}\u200b",
        f"]C1{CODE}",
        f"\x1d{CODE}\x1d",
        f"https://trace.example.org/code/{CODE}",
        f"https://trace.example.org/q?c={CODE}&from=app",
        f"https://trace.example.org/q?c={CODE}&again={CODE}",
    ],
)
def test_given_a_supervision_code_in_any_dress_when_read_then_its_20_digits(scanned: str) -> None:
    code = parse(scanned)
    assert (code.text, code.product_id, code.serial) == (CODE, "8474354", "018136001")


@pytest.mark.parametrize(
    "scanned",
    [
        f"01{GTIN}21ABC123",
        f"]d201{GTIN}1729022810LOT7\x1d21ABC123",
        f"01{GTIN}21ABC123\x1d17290228",
        f"01{GTIN}\x1d1729022821ABC123\x1d10LOT7",
        f"01{GTIN}21ABC123\u241d10LOT7",
        f"({'01'}){GTIN}(17)290200(10)LOT7(21)ABC123",
        f"（01）{GTIN}（21）ABC123",
        f"https://id.gs1.org/01/{GTIN}/21/ABC123",
        "https://shop.example/x/01/6901234567892/10/LOT7/21/ABC123?17=290228&linkType=all",
    ],
)
def test_given_a_gs1_code_in_any_form_when_read_then_gtin_and_serial(scanned: str) -> None:
    code = parse(scanned)
    assert (code.text, code.product_id, code.serial) == (GS1, GTIN, "ABC123")
    assert code.lot_number in {"", "LOT7"}
    assert code.expires_on in {None, date(2029, 2, 28)}


@pytest.mark.parametrize(
    ("scanned", "reason"),
    [
        ("", "empty"),
        (" \t\u200b", "empty"),
        ("8" * 600, "too_long"),
        ("6901234567892", "retail_ean"),
        ("06901234567892", "retail_ean"),
        (CODE + OTHER, "several_codes"),
        (f"{CODE},{OTHER}", "several_codes"),
        (f"{CODE}\n{OTHER}", "several_codes"),
        (f"https://trace.example.org/code/{CODE}/{OTHER}", "several_codes"),
        (CODE[:-1], "length"),
        (CODE + "0", "length"),
        ("6901234567890", "length"),
        ("7" + CODE[1:], "first_digit"),
        ("8474354O181360010008", "characters"),
        ("https://trace.example.org/about", "url"),
        ("010690123456789321ABC1", "gs1_check_digit"),
        ("https://id.gs1.org/01/6901234567893/21/A", "gs1_check_digit"),
        (f"01{GTIN}10LOT7", "gs1_no_serial"),
        (f"01{GTIN}99XYZ", "gs1_identifier"),
        (f"(01){GTIN}(240)X(21)A", "gs1_identifier"),
        (f"(01){GTIN}(21)", "gs1_identifier"),
        (f"01{GTIN}21A\x1d01{GTIN}21B", "several_codes"),
        (f"01{GTIN}21{'A' * 21}", "gs1_value"),
        (f"01{GTIN}21A\x1d10批号", "gs1_value"),
        (f"01{GTIN}17291301\x1d21A", "gs1_value"),
        (f"01{GTIN}17290230\x1d21A", "gs1_value"),
        (f"01{GTIN}172902AA\x1d21A", "gs1_value"),
    ],
)
def test_given_what_is_no_code_when_read_then_refused_with_the_reason(
    scanned: str, reason: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse(scanned)
    assert refused.value.code == "bad_code"
    assert refused.value.facts["reason"] == reason


@given(st.text(max_size=80))
def test_given_any_text_when_read_then_a_canonical_code_or_a_refusal(scanned: str) -> None:
    try:
        code = canonical(scanned)
    except Invalid as refused:
        code = refused.code
    assert code == "bad_code" or canonical(code) == code


@given(SUPERVISION)
def test_given_any_20_digit_code_when_keyed_then_the_key_gives_it_back(code: str) -> None:
    key = code_key(code)
    assert -(2**63) <= key < 2**63
    assert key_code(key) == code
    assert product_of(code) == code[:7]


@given(st.text(alphabet="ABCDEF0123456789-./", min_size=1, max_size=20))
def test_given_a_gs1_code_when_keyed_then_apart_from_all_20_digit_codes(serial: str) -> None:
    code = canonical(f"(01){GTIN}(21){serial}")
    key = code_key(code)
    assert code_key("8" + "9" * 19) < key < 2**63
    assert key_code(key) is None
    assert product_of(code) == GTIN


def test_given_gtins_when_checked_then_only_the_right_digit_passes() -> None:
    assert gtin_check_digit("629104150021") == "3"  # GS1's own example
    assert valid_gtin(GTIN)
    assert not valid_gtin("06901234567893")
    assert not valid_gtin("6901234567892")
