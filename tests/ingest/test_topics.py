"""Topics: taken apart, answered, subscribed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.shared.errors import Invalid
from ingest.topics import Topic, filters, parse


def test_given_a_device_topic_when_parsed_then_its_parts_and_answers() -> None:
    topic = parse("cc/v1/640202/dwk/gw-1/tele/TH-7")
    assert topic == Topic("640202", "dwk", "gw-1", "tele", "TH-7")
    assert topic.answer("ack") == "cc/v1/640202/dwk/gw-1/ack/TH-7"


def test_given_a_sparkplug_topic_when_parsed_then_answers_go_where_all_do() -> None:
    topic = parse("spBv1.0/640202/DDATA/gw-1/TH-7")
    assert topic == Topic("640202", "", "gw-1", "DDATA", "TH-7")
    assert topic.answer("reject") == "cc/v1/640202/_/gw-1/reject/TH-7"
    known = replace(topic, site_id="dwk")
    assert known.answer("ack") == "cc/v1/640202/dwk/gw-1/ack/TH-7"
    assert parse("spBv1.0/640202/NBIRTH/gw-1") == Topic("640202", "", "gw-1", "NBIRTH")


def test_given_a_scan_topic_when_answered_then_under_the_scanner() -> None:
    assert parse("cc/v1/640202/dwk/sc-1/scan").answer("reject") == (
        "cc/v1/640202/dwk/sc-1/reject/scan"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cc/v1/640202/dwk/gw/tele",
        "cc/v1/640202/dwk/gw/scan/x",
        "cc/v1/640202/dwk/gw/ack/x",
        "cc/v2/640202/dwk/gw/tele/x",
        "cc/v1/64020/dwk/gw/tele/x",
        "cc/v1/640202/d wk/gw/tele/x",
        "cc/v1/640202/dwk/gw/tele/x/y",
        "cc/v1/640202/dwk/gw/tele/x\n",
        "spBv1.0/640202/NDATA",
        "spBv1.0/640202/NDATA/gw/x",
        "spBv1.0/640202/DDATA/gw",
        "spBv1.0/640202/DDATA/gw/x/y",
        "spBv1.0/64020/NDATA/gw",
        "spBv1.0/640202/NDATA/g w",
        "spBv1.0/STATE/vaxtrail",
    ],
)
def test_given_a_foreign_topic_when_parsed_then_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def test_given_regions_when_subscribing_then_seven_filters_each_and_never_all() -> None:
    asked = filters(["640202", "640205"])
    assert len(asked) == 14
    assert asked[0] == "cc/v1/640202/+/+/tele/+"
    assert asked[-2:] == ["spBv1.0/640205/+/+", "spBv1.0/640205/+/+/+"]
    assert filters([])[4:] == ["cc/v1/+/+/+/scan", "spBv1.0/+/+/+", "spBv1.0/+/+/+/+"]
    assert not any("#" in text for text in asked)
