"""What queries are made of: keys in both forms, names, units, schedules, parameters, facets."""

from __future__ import annotations

import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.epcis import named
from domain.epcis.facets import facets_of, setting_of
from domain.epcis.keys import class_of, like_of, plain, to_urn
from domain.epcis.query import Query, moment_of, number_of, parse
from domain.epcis.schedule import ZONE, schedule_of
from domain.epcis.translate import to_links, to_urns
from domain.epcis.units import comparable
from domain.shared.errors import Invalid
from domain.shared.gs1 import gtin_check_digit

COMPANIES = frozenset({"0614141", "4012345", "1234567"})
# The two forms of each GS1 key (EPC Tag Data Standard 2.0, §6.3 and §7).
FORMS = [
    ("urn:epc:id:sgtin:0614141.107346.2017", "01/10614141073464/21/2017"),
    ("urn:epc:id:sgtin:0614141.107346.a%2Fb", "01/10614141073464/21/a%2Fb"),
    ("urn:epc:idpat:sgtin:0614141.107346.*", "01/10614141073464"),
    ("urn:epc:class:lgtin:4012345.012345.998877", "01/04012345123456/10/998877"),
    ("urn:epc:id:upui:1234567.089456.51qIgY", "01/01234567894560/235/51qIgY"),
    ("urn:epc:id:sscc:0614141.1234567890", "00/106141412345678908"),
    ("urn:epc:id:sgln:0614141.07346.1234", "414/0614141073467/254/1234"),
    ("urn:epc:id:sgln:0614141.07346.0", "414/0614141073467"),
    ("urn:epc:id:pgln:4012345.00225", "417/4012345002256"),
    ("urn:epc:id:grai:4012345.11111.123", "8003/04012345111118123"),
    ("urn:epc:id:giai:4012345.111", "8004/4012345111"),
    ("urn:epc:id:ginc:0614141.xyz33", "401/0614141xyz33"),
    ("urn:epc:id:gsrn:0614141.0000010253", "8018/061414100000102534"),
    ("urn:epc:id:gsrnp:0614141.0000010253", "8017/061414100000102534"),
    ("urn:epc:id:gdti:0614141.06012.1234", "253/06141410601221234"),
    ("urn:epc:id:sgcn:4012345.67890.04711", "255/401234567890104711"),
    ("urn:epc:id:gsin:0614141.123456789", "402/06141411234567890"),
]
OF_CLASS = {
    "01/10614141073464/21/2017": "01/10614141073464",
    "8003/04012345111118123": "8003/04012345111118",
    "8010/4012345ABC/8011/1": "8010/4012345ABC",
    "8006/040123451234560102/21/9": "8006/040123451234560102",
    "00/106141412345678908": None,
}


@pytest.mark.parametrize(("urn", "path"), FORMS)
def test_given_a_gs1_key_when_written_in_the_other_form_and_back_then_the_same(
    urn: str, path: str
) -> None:
    link = f"https://id.gs1.org/{path}"
    assert plain(urn) == plain(link) == link
    assert plain(f"https://brand.example/shop/{path}?x=1#y") == link
    assert to_urn(link, COMPANIES) == urn
    assert to_urn(link, ()) == link


@given(st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=20))
def test_given_any_serial_when_written_in_both_forms_then_the_same(serial: str) -> None:
    urn = f"urn:epc:id:sgtin:0614141.107346.{serial}"
    assert to_urn(plain(urn), COMPANIES) == urn


@pytest.mark.parametrize(
    ("urn", "path"),
    [
        ("urn:epc:id:cpi:4012345.ABC.12", "8010/4012345ABC/8011/12"),
        ("urn:epc:idpat:cpi:4012345.ABC.*", "8010/4012345ABC"),
        ("urn:epc:id:itip:4012345.012345.01.02.9", "8006/040123451234560102/21/9"),
        ("urn:epc:idpat:itip:4012345.012345.01.02.*", "8006/040123451234560102"),
    ],
)
def test_given_a_key_that_urns_cut_otherwise_when_written_as_a_link_then_it_stays_one(
    urn: str, path: str
) -> None:
    link = f"https://id.gs1.org/{path}"
    assert plain(urn) == link
    assert to_urn(link, COMPANIES) == link


@pytest.mark.parametrize(
    "text",
    [
        "https://trace.example.org/code/84743540181360010008",
        "urn:epcglobal:cbv:bt:0614141073467:1152",
        "urn:epc:id:gid:1.2.3",
        "urn:epc:id:sgtin:0614141.107346",
        "urn:epc:id:sgtin:0614141.1073.1",
        "urn:epc:id:sgtin:06x4141.107346.1",
        "urn:epc:id:sgtin:0614141",
        "urn:epc:id:itip:4012345.0123.01.02.9",
        "urn:epc:id:itip:4012345",
        "urn:epc:id:nothing",
        "urn:epc:",
        "https://id.gs1.org/01/123",
        "geo:38.1,106.4",
        "",
    ],
)
def test_given_no_gs1_key_when_put_into_its_plain_form_then_it_stays(text: str) -> None:
    assert plain(text) == text
    assert to_urn(text, COMPANIES) == text
    assert class_of(text) is None


def test_given_a_link_that_says_more_than_a_urn_when_translated_then_it_stays() -> None:
    lot = "https://id.gs1.org/01/10614141073464/10/L1/21/2017"
    assert plain(lot) == "https://id.gs1.org/01/10614141073464/21/2017"
    wrong = "https://id.gs1.org/01/10614141073465/21/2017"
    assert to_urn(wrong, COMPANIES) == wrong
    short = "https://id.gs1.org/01/614141073467"
    assert plain(short) == "https://id.gs1.org/01/00614141073467"
    for digits, company in (("0690123456789", "6901234"), ("0695123456789", "69512345")):
        gtin = digits + gtin_check_digit(digits)
        assert f"sgtin:{company}." in to_urn(f"https://id.gs1.org/01/{gtin}/21/1", ())
    place = "697123456789" + gtin_check_digit("697123456789")
    assert "sgln:697123456." in to_urn(f"https://id.gs1.org/414/{place}", ())


@pytest.mark.parametrize(("path", "found"), OF_CLASS.items())
def test_given_an_individual_when_asked_then_its_class(path: str, found: str | None) -> None:
    home = "https://id.gs1.org/"
    assert class_of(home + path) == (found and home + found)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("urn:epc:idpat:sgtin:0614141.*.*", "^https://id\\.gs1\\.org/01/.0614141"),
        ("urn:epc:idpat:grai:0614141.*.*", "^https://id\\.gs1\\.org/8003/00614141"),
        ("urn:epc:idpat:giai:0614141.*", "^https://id\\.gs1\\.org/8004/0614141"),
        ("urn:epc:idpat:itip:*.*.*.*.*", "^https://id\\.gs1\\.org/8006/."),
        ("urn:epc:idpat:gid:1.*.*", "^urn:epc:id:gid:1\\..*\\..*"),
        ("urn:epc:idpat:sgtin:0614141.107346.*", None),
        ("urn:epc:id:sgtin:0614141.107346.1", None),
        ("https://example.org/*", None),
    ],
)
def test_given_a_pattern_when_wider_than_a_class_then_an_expression(
    pattern: str, found: str | None
) -> None:
    assert like_of(pattern) == found


def test_given_an_event_when_translated_then_only_the_standards_own_fields() -> None:
    urn, path = FORMS[0]
    link = f"https://id.gs1.org/{path}"
    event = {
        "eventID": urn,
        "epcList": [urn, "urn:x:1"],
        "readPoint": {"id": urn, "ex:same": urn},
        "quantityList": [{"epcClass": urn, "quantity": 5}],
        "ilmd": {"ex:of": urn},
        "ex:own": urn,
    }
    links = to_links(event)
    assert links["epcList"] == [link, "urn:x:1"]
    assert links["readPoint"] == {"id": link, "ex:same": urn}
    assert links["quantityList"] == [{"epcClass": link, "quantity": 5}]
    assert (links["eventID"], links["ilmd"], links["ex:own"]) == (urn, {"ex:of": urn}, urn)
    assert to_urns(links, COMPANIES) == event


@given(st.floats(-200, 2000, allow_nan=False), st.sampled_from(["CEL", "KEL", "FAH"]))
def test_given_a_temperature_when_compared_then_in_degrees_celsius(value: float, uom: str) -> None:
    celsius = {"CEL": value, "KEL": value - 273.15, "FAH": (value - 32) / 1.8}[uom]
    found, base = comparable(value, uom)
    assert found == pytest.approx(celsius, abs=1e-5)
    assert base == "CEL"
    assert comparable(1, "KGM") == (1, "KGM")
    assert comparable(9, "FAH", of_difference=True) == (5, "CEL")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"hour": "1", "minute": "5"}, "2026-03-03T01:05:00"),
        ({"second": "0/30"}, "2026-03-02T08:00:30"),
        ({"minute": "[10-12],50"}, "2026-03-02T08:10:00"),
        ({"dayOfWeek": "7"}, "2026-03-08T00:00:00"),
        ({"month": "5"}, "2026-05-01T00:00:00"),
        ({"dayOfMonth": "31"}, "2026-03-31T00:00:00"),
        ({"dayOfMonth": "29", "month": "2", "dayOfWeek": "7"}, "2032-02-29T00:00:00"),
    ],
)
def test_given_a_schedule_when_asked_then_its_next_moment(
    told: dict[str, str], expected: str
) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    found = schedule_of(told).next_after(now)
    assert found.astimezone(ZONE).isoformat() == f"{expected}+08:00"
    assert schedule_of(told).next_after(found) > found
    assert schedule_of(told).next_after(found - timedelta(seconds=1)) == found


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"second": "60"},
        {"hour": "-1"},
        {"minute": "[9-3]"},
        {"minute": ""},
        {"week": "1"},
        {"dayOfMonth": "31", "month": "2"},
    ],
)
def test_given_a_schedule_that_never_comes_when_read_then_refused(told: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="bad_subscription"):
        schedule_of(told)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"EQ_bizStep": []}, "bad_query_value"),
        ({"EQ_bizStep": ["x"] * 1001}, "bad_query_value"),
        ({"EQ_bizStep": ["x" * 3000]}, "bad_query_value"),
        ({"EQ_bizStep": [{"a": 1}]}, "bad_query_value"),
        ({"EQ_bizStep": [True]}, "bad_query_value"),
        ({"EQ_bizStep": "\ud800"}, "bad_query_value"),
        ({"GE_quantity": True}, "bad_query_value"),
        ({"GE_quantity": "inf"}, "bad_query_value"),
        ({"GE_quantity": 10**400}, "bad_query_value"),
        ({"GE_eventTime": "2026-13-01T00:00:00Z"}, "bad_query_value"),
        ({"GE_eventTime": 5}, "bad_query_value"),
        ({"orderBy": 5}, "bad_query_value"),
        ({"orderBy": "eventTime", "eventCountLimit": 1.5}, "bad_query_value"),
        ({"EQ_value_toolong": 1}, "unknown_query_parameter"),
        ({"ne_x:y": 1}, "unknown_query_parameter"),
        ({"eventCountLimit": 1}, "query_needs_order"),
    ],
)
def test_given_a_bad_parameter_when_parsed_then_refused(
    parameters: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse(parameters, {})
    assert refused.value.code == code
    assert refused.value.facts["field"] in {*parameters, "eventCountLimit"}


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_given_any_parameters_when_parsed_then_a_query_or_a_refusal(told: dict[str, str]) -> None:
    with suppress(Invalid):
        assert isinstance(parse(told, {}), Query)


@pytest.mark.parametrize("text", ["[]", "{", "5"])
def test_given_no_object_when_read_as_a_query_then_refused(text: str) -> None:
    with pytest.raises(Invalid, match="bad_query"):
        named.query_of(text, "")


def test_given_a_query_with_a_context_when_read_then_its_prefixes_stand_for_namespaces() -> None:
    told = '{"@context": {"ex": "https://ns/"}, "EXISTS_ex:a": null, "EXISTS_other:b": null}'
    found = named.query_of(told, "other=https://more/, nonsense")
    assert [condition[0].operand for condition in found.conditions] == [
        " https://ns/a",
        " https://more/b",
    ]


# Whatever stands where the standard has something else says nothing, and harms nothing.
ODD = {
    "epcList": "urn:x:1",
    "parentID": 5,
    "quantityList": [5, {"epcClass": 5, "quantity": "much"}],
    "readPoint": "nowhere",
    "errorDeclaration": "none",
    "sensorElementList": [{"sensorReport": [{"value": True, "booleanValue": "x"}], "id": 5}],
    "ex:deep": [[[[[[[[[[[[[[[[[[{"ex:never": 1}]]]]]]]]]]]]]]]]]],
    "ex:nul": "a\0b",
    "ex:values": [True, None, 5, {"@value": "x", "@type": "t"}],
}


def test_given_an_odd_event_when_taken_apart_then_what_can_be_asked() -> None:
    document = {
        "epcisHeader": {
            "epcisMasterData": {
                "vocabularyList": [
                    {
                        "vocabularyElementList": [
                            {"id": "a", "children": ["b"]},
                            {"id": "b", "children": ["a", "urn:x:place"]},
                            {"id": "urn:x:kind", "attributes": [{"id": "n", "attribute": "v"}]},
                        ]
                    }
                ]
            }
        }
    }
    setting = setting_of(document, {})
    found = facets_of({**ODD, "ex:kind": "urn:x:kind"}, [], setting)
    assert found["epc"] == ["urn:x:1"]
    assert found[" ex:values"] == ["true", "5", "x"]
    assert found[" ex:values #"] == [5.0]
    assert found["ATTR ex:kind n"] == ["v"]
    assert " ex:nul" not in found
    assert "INNER_ ex:never" not in found
    assert not {"parentID", "quantity", "readPoint", "value", "booleanValue"} & found.keys()
    place = facets_of({"readPoint": {"id": "urn:x:place"}}, [], setting)
    assert place["WD_readPoint"] == ["urn:x:place", "b", "a"]


def test_given_a_nul_in_a_name_when_looked_at_then_no_facet_of_that_name() -> None:
    event = {"type": "ObjectEvent", "x:a": {"x:b\0": 5, "x:c": 6}, "bizTransactionList": []}
    found = facets_of(event, [], setting_of({}, {"x": "urn:x:"}))
    assert found["INNER_ urn:x:c #"] == [6.0]
    assert not any("\0" in name for name in found)


STAR = "urn:epc:idpat:foo:*.{}"


@pytest.mark.parametrize(
    "asked",
    [
        {"EQ_ex:\0": "1"},
        {"EQ_bizTransaction_\0": "x"},
        {"HASATTR_\0": "1"},
        {"EQATTR_a_\0": "1"},
        {"orderBy": "ex:\0n"},
        {"orderBy": "bad:n"},
        {"EXISTS_bad:n": None},
        {"EQ_bizStep": "bad:n"},
        {"MATCH_epc": "urn:epc:idpat:foo:" + "*." * 600 + "*"},
        {"MATCH_anyEPC": [STAR.format(n) for n in range(6)]},
        {"EQ_value": []},
        {"EQ_value_CEL": ["1"] * 1001},
        {f"EQ_ex:{n}": "1" for n in range(101)},
    ],
)
def test_given_what_no_database_takes_or_answers_soon_when_parsed_then_refused(
    asked: dict[str, Any],
) -> None:
    with pytest.raises(Invalid) as refused:
        parse(asked, {"bad": "urn:\0"})
    assert refused.value.code == "bad_query_value"


@pytest.mark.parametrize("text", ["1_5", "\u0661", "\u0662\u0660\u0662\u0666-03-01"])
def test_given_digits_that_only_a_programme_reads_when_compared_then_neither_number_nor_moment(
    text: str,
) -> None:
    assert (number_of(text), moment_of(text)) == (None, None)


@pytest.mark.parametrize("minute", ["0/0", "\u0661", "5/0"])
def test_given_a_step_of_nothing_or_other_digits_when_scheduled_then_refused(minute: str) -> None:
    with pytest.raises(Invalid):
        schedule_of({"minute": minute})
