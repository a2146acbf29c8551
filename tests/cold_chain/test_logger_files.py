"""Logger files: every reading of the real files, their own counters, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.messages import message
from domain.cold_chain.logger_files import days, read
from domain.shared.errors import Invalid

FRIDGE_TAG_2L = "fridgetag2L_130500109088_202206081014.txt"
FRIDGE_TAG_2 = "fridgetag2_130400191544_202304201514.txt"
DS1923 = "ibutton_ds1923_shipment_2.csv"
FOLDER = "standards/coldchain"
TAG = "Device: Q-tag Fridge-tag 2 L\n Serial: 1305\n"
BUTTON = "1-Wire/iButton Part Number: DS1923\n1-Wire/iButton Registration Number: 65000000\n"
DATA = BUTTON + "Date/Time,Unit,Value\n"
DAY = "   T AL: +2.0\n   T AL: +8.0\n  Date: 2022-05-03\n{}  t Acc: 5\n  t Acc: 6\n"


@pytest.mark.parametrize("name", [FRIDGE_TAG_2L, DS1923])
def test_given_a_real_file_when_read_then_counts_and_extremes_are_the_files(
    shared: Path, name: str
) -> None:
    expected = json.loads((shared / FOLDER / "real_files_expected.json").read_text())[name]
    file = read((shared / FOLDER / name).read_text())
    measured = [value for value in file.values if value is not None]
    assert len(file.times) == len(file.values) == expected["readings"]
    assert len(file.values) - len(measured) == expected["nulls"]
    assert (min(measured), max(measured)) == (expected["min"], expected["max"])
    assert (str(file.times[0]), str(file.times[-1])) == (expected["first"], expected["last"])


def test_given_a_real_file_when_its_days_are_counted_then_as_the_device_counted_them(
    shared: Path,
) -> None:
    file = read((shared / FOLDER / FRIDGE_TAG_2L).read_text())
    assert file.limits_c == (2.0, 8.0)
    counted = days(file.times, file.values, file.limits_c)
    assert [day.day for day in file.own_days] == sorted(counted, reverse=True)
    assert [day for day in file.own_days if not day.agrees(counted[day.day])] == []
    assert sum(day.above_min for day in counted.values()) == 16_155
    assert sum(day.below_min for day in counted.values()) == 13_825


def test_given_a_file_of_daily_summaries_when_read_then_it_has_no_readings(shared: Path) -> None:
    file = read((shared / FOLDER / FRIDGE_TAG_2).read_text())
    assert (file.kind, file.times, len(file.own_days)) == ("fridge_tag_2", (), 4)
    assert file.limits_c == (-0.5, 8.0)
    assert (file.own_days[0].min_c, file.own_days[0].max_c) == (2.0, 8.0)


def test_given_unplugged_minutes_and_days_when_read_then_they_are_left_out() -> None:
    text = TAG + DAY.format("  Min T: --.-\n  Max T: --.-\n") + "Data:\n\tT\n"
    file = read(text + "\t2022-05-02 04:44\t--.-\n\t2022-05-02 04:49\t9.0\n")
    assert (file.values, file.own_days) == ((None, 9.0), ())
    (day,) = days(file.times, file.values, (2.0, 8.0)).values()
    assert (day.min_c, day.above_min) == (9.0, 0.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("hello", "Unknown file format"),
        ("", "Unknown file format"),
        (BUTTON, "heading Date/Time,Unit,Value is missing"),
        (DATA + "3/24/22 2:20:01 PM,F,66\n", "degrees Celsius"),
        (TAG + " Temp unit: F\n", "degrees Celsius"),
        (DATA + "3/24/22 2:20:01 PM,C,66\n" * 2, "does not come after"),
        (DATA + "24.3.22,C,66\n", "no readable time"),
        (TAG + "Data:\n\tT\n\t2022-05-02 04:44\twarm\n", "no readable value"),
        (TAG + " Logging Interval: five\n", "unreadable number"),
        (TAG + " Logging Interval: inf\n", "unreadable number"),
        (TAG + "Data:\n\tT\n\t0001-01-01 00:00\t5.0\n", "no readable time"),
        (TAG + "Data:\n\tT\n\t2022-05-02 04:44\tnan\n", "no readable value"),
        (TAG.replace("1305", "?"), "no usable serial number"),
    ],
)
def test_given_a_broken_file_when_read_then_told_in_both_languages(content: str, told: str) -> None:
    with pytest.raises(Invalid) as error:
        read(content)
    zh, en = message(error.value.code, error.value.facts)
    assert told in en
    assert any("\u4e00" <= character <= "\u9fff" for character in zh)
