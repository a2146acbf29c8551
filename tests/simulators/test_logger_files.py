"""Logger files: every reading of the real files, and clear errors for what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulators import replay
from simulators.logger_files import BadFile, read
from simulators.replay import Place

FRIDGE_TAG_2L = "fridgetag2L_130500109088_202206081014.txt"
FRIDGE_TAG_2 = "fridgetag2_130400191544_202304201514.txt"
DS1923 = "ibutton_ds1923_shipment_2.csv"
FOLDER = "standards/coldchain"


@pytest.mark.parametrize("name", [FRIDGE_TAG_2L, DS1923])
def test_given_a_real_file_when_read_then_counts_and_extremes_are_the_files(
    shared: Path, name: str
) -> None:
    expected = json.loads((shared / FOLDER / "real_files_expected.json").read_text())[name]
    file = read(shared / FOLDER / name)
    measured = [value for value in file.values if value is not None]
    assert len(file.times) == len(file.values) == expected["readings"]
    assert len(file.values) - len(measured) == expected["nulls"]
    assert (min(measured), max(measured)) == (expected["min"], expected["max"])
    assert (str(file.times[0]), str(file.times[-1])) == (expected["first"], expected["last"])


@pytest.mark.parametrize("name", [FRIDGE_TAG_2L, DS1923])
def test_given_a_real_file_when_made_into_messages_then_nothing_is_lost_or_changed(
    shared: Path, name: str
) -> None:
    file = read(shared / FOLDER / name)
    times_ms = replay.utc_ms(file, "Asia/Shanghai")
    place = Place("640202", "who_30_day_logger", file.serial)
    times: list[int] = []
    values: list[float] = []
    seqs: list[int] = []
    for message in replay.messages(file, place, times_ms):
        body = json.loads(message.payload)
        base, n = body["base"], len(body["rows"])
        offsets = body.get("dts") or [i * base["step"] for i in range(n)]
        times += [base["ts"] + offset for offset in offsets]
        values += [row[0] for row in body["rows"]]
        seqs += range(base["seq"], base["seq"] + n)
        assert n <= 500
        assert body["boot"] < 2**22 - 1
    assert times == times_ms
    assert values == list(file.values)
    assert seqs == list(range(len(file.values)))


def test_given_a_file_of_daily_summaries_when_read_then_it_has_no_readings(shared: Path) -> None:
    file = read(shared / FOLDER / FRIDGE_TAG_2)
    assert (file.kind, file.times, file.summary_days) == ("fridge_tag_2", (), 4)


def test_given_shanghai_when_a_local_time_is_taken_then_it_is_eight_hours_ahead(
    shared: Path,
) -> None:
    file = read(shared / FOLDER / DS1923)
    shanghai, chicago = (replay.utc_ms(file, tz)[0] for tz in ("Asia/Shanghai", "America/Chicago"))
    assert chicago - shanghai == 13 * 3_600_000  # daylight saving time in Chicago


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("hello", "unknown file format"),
        ("", "unknown file format"),
        ("1-Wire/iButton Part Number: DS1923\n", "data heading is missing"),
        (
            "1-Wire/iButton Part Number: DS1923\n"
            "1-Wire/iButton Registration Number: 65000000\n"
            "Date/Time,Unit,Value\n3/24/22 2:20:01 PM,F,66\n",
            "not in degrees Celsius",
        ),
        (
            "1-Wire/iButton Part Number: DS1923\n"
            "1-Wire/iButton Registration Number: 65000000\n"
            "Date/Time,Unit,Value\n3/24/22 2:20:01 PM,C,66\n3/24/22 2:20:01 PM,C,66\n",
            "does not come after",
        ),
        (
            "Device: Q-tag Fridge-tag 2 L\n Serial: 1305\nData:\n\tT\n\t2022-05-02 04:44\twarm\n",
            "no readable value",
        ),
    ],
)
def test_given_a_broken_file_when_read_then_the_error_is_told_in_both_languages(
    tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_text(content)
    with pytest.raises(BadFile, match=told) as error:
        read(path)
    assert any("\u4e00" <= character <= "\u9fff" for character in str(error.value))


def test_given_no_file_when_read_then_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"nothing\.txt"):
        read(tmp_path / "nothing.txt")


def test_given_an_unknown_zone_when_times_are_taken_then_refused(shared: Path) -> None:
    with pytest.raises(BadFile, match="unknown time zone"):
        replay.utc_ms(read(shared / FOLDER / DS1923), "Mars/Olympus")
