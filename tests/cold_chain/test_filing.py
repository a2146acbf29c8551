"""Loggers' files as evidence: what is put on record of them, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domain.cold_chain import filing
from domain.cold_chain.logger_files import LoggerFile, Whole, read
from domain.cold_chain.record_events import LoggerFileRead
from domain.shared.errors import Conflict, Invalid
from tests.spec import Outcome, spec

Q_TAG = (
    "Device: Q-tag CLm doc LR\nConf:\n Serial: RC10\n Logging Interval: 10\n Alarm:\n  1:\n"
    "   Type: 2, T AL: 8.0, t AL: 30\nRes:\n Min T: 3.0, TS Min T: 2026-03-02 08:10\n"
    " Max T: 5.1, TS Max T: 2026-03-02 08:00\n MKT: 4.1\n Avrg T: 4.0\n"
    "Marker:\n\tNumber\tT\n"
    "Data:\n\tyyyy-MM-dd hh:mm\tT\tOut of limits\n"
    "\t2026-03-02 08:00\t5.0\n\t2026-03-02 08:10\t3.0\nCert:\n Lot: 1\n"
)


def test_given_a_q_tag_when_read_then_its_readings_and_what_it_says_of_its_run() -> None:
    file = read(Q_TAG)
    assert (file.kind, file.name_en, file.interval_s) == ("q_tag", "Q-tag CLm doc LR logger", 600)
    assert (file.values, file.own) == ((5.0, 3.0), Whole(3.0, 5.1, 4.0, 4.1))
    assert file.limits_c is None
    assert Whole(3.0, 5.0, 4.0, 4.2).agrees(Whole(3.0, 5.1, 4.0, 4.1))
    assert not Whole(3.0, 5.0, 4.0, 4.3).agrees(Whole(3.0, 5.1, 4.0, 4.1))
    assert not Whole(2.4, 5.0, 4.0, 4.1).agrees(Whole(3.0, 5.1, 4.0, 4.1))


def test_given_several_broken_lines_when_read_then_each_is_told_and_the_rest_is_there() -> None:
    faults: list[Invalid] = []
    broken = "\t2026-03-02 08:20\twarm\n\t02.03.26\t5.0\n\t2026-03-02 08:10\t5.0\n"
    file = read(Q_TAG.replace("Cert:", broken + "\t2026-03-02 08:50\t4.0\nCert:"), faults.append)
    assert [fault.facts["row"] for fault in faults] == [3, 4, 5]
    assert file.values == (5.0, 3.0, 4.0)


def filed(known: LoggerFileRead | None = None, **changed: Any) -> Outcome:
    given: dict[str, Any] = {"sha256": "ab", "file": read(Q_TAG), "zone": "Asia/Shanghai"}
    at = spec(filing.evolve_file, None)
    at = at.given(known) if known else at
    return at.when(filing.file_logger, **given | {"bill_no": "B1"} | changed)


def test_given_a_file_when_filed_then_its_times_are_those_of_its_zone() -> None:
    (found,) = filed().events
    assert isinstance(found, LoggerFileRead)
    assert found.since == datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
    assert (found.readings, found.days, found.bill_no, found.serial) == (2, 0, "B1", "RC10")
    assert filed(found).events == []
    assert filing.file_stream("ab") != filing.file_stream("cd")
    filed(found, bill_no="").refused(Conflict, "already_registered")
    filed(zone="Mars/Base").refused(Invalid, "unknown_zone")
    filed(unit_id="U").refused(Invalid, "unknown_unit")


def test_given_summaries_alone_when_filed_then_without_times() -> None:
    file = LoggerFile(kind="fridge_tag_2", name_zh="", name_en="", serial="1", times=(), values=())
    outcome = spec(filing.evolve_file, None).when(
        filing.file_logger, sha256="cd", file=file, zone="UTC"
    )
    (found,) = outcome.events
    assert isinstance(found, LoggerFileRead)
    assert (found.since, found.until, found.readings) == (None, None, 0)
