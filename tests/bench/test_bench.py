"""Every measurement runs in a small form, with real parts, and tells what it should."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from bench import backlog as filling
from bench import history, scans, throughput
from bench import kill as killing
from bench import soak as soaking
from bench.alerts import w3
from bench.backlog import backlog
from bench.burst import burst
from bench.capture import capture
from bench.checks import check
from bench.custody import w4
from bench.growth import w6
from bench.ingest import w1, w2
from bench.kill import kill
from bench.load import Load, Plan
from bench.options import Options
from bench.page import PAGE, placed
from bench.processes import cpu_seconds, memory_mb
from bench.rebuild import w5
from bench.report import Report, medians
from bench.rig import Rig, rig
from bench.shape import PEER_TOPIC, PRODUCT_TOPIC, Shape, device_name
from bench.soak import soak
from ingest import wire
from tests.runtime.instance import untraced

SMALL = Options(broker="embedded", sync="interval", messages=1_000, runs=1, tries=3, rounds=1)


@pytest.fixture(scope="module")
def made() -> Iterator[Rig]:
    """One tree for all of them: each has devices of its own, or goes on where another ended.

    What is measured is not looked at for coverage: that costs time, and other tests run it all.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - untraced(os.environ).keys():
            patch.delenv(name)
        with rig(SMALL.broker, SMALL.sync) as running:
            yield running


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep runs short: a turn of a tenth of the devices, and of roll-ups what comes at once.

    A run sends at least one turn; roll-ups come every ten seconds.
    """
    monkeypatch.setattr(throughput, "DEVICES", 100)
    monkeypatch.setattr(throughput, "AFTERWARDS_S", 0.5)


def checkpoints(made: Rig) -> int:
    """Return how many checkpoints were asked for."""
    with psycopg.connect(made.product.superuser_dsn(), autocommit=True) as conn:
        return int(conn.execute("SELECT num_requested FROM pg_stat_checkpointer").fetchall()[0][0])


@pytest.mark.parametrize("batch", [1, 20])
def test_given_a_shape_when_encoded_then_the_product_reads_each_reading(batch: int) -> None:
    now_s = time.time()
    shape = Shape(PRODUCT_TOPIC, now_s - 3600, batch, devices=20)
    lines = shape.encoded(60, first_seq=5, connections=10)

    assert [len(starts) - 1 for _, starts in lines] == [6] * 10
    packets, starts = lines[3]
    packet = bytes(packets[starts[4] : starts[5]])  # third turn of device 3
    topic = shape.topic_of(3).encode()
    body = packet[packet.index(topic) + len(topic) + 2 :]
    message = wire.decode(device_name(3), body, int(now_s * 1000))
    first = 5 + 2 * batch
    assert list(message.seqs) == list(range(first, first + batch))
    assert message.ts_ms[0] == pytest.approx((now_s - 3600 + first) * 1000, abs=1)
    assert all(2.5 <= value <= 7.5 for value in message.columns["t1"] if value is not None)


def test_given_a_peer_topic_when_filled_then_gateway_and_device_stand_in_it() -> None:
    assert Shape(PEER_TOPIC, 0.0).topic_of(12) == "v1/gw002/dev00012/telemetry"


def test_given_runs_when_reported_then_medians_of_every_figure() -> None:
    runs = [{"rate": rate, "who": "x", "cpu": {"a": rate / 2}} for rate in (1.0, 9.0, 4.0)]
    assert medians(runs) == {"rate": 4.0, "cpu": {"a": 2.0}}


def test_given_a_report_when_shown_then_with_machine_and_moment() -> None:
    report = Report(work="W1", product={"lost": 0})
    for told in (report.machine["cpu"], f"cores {os.cpu_count()}", report.machine["measured_at"]):
        assert told in report.text()


def test_given_this_process_when_looked_at_then_it_has_cost_something() -> None:
    assert cpu_seconds(1) >= 0
    assert memory_mb(1) >= 0


def test_given_a_report_when_placed_then_its_table_stands_under_its_mark_alone() -> None:
    written = PAGE.read_text(encoding="utf-8")
    report = Report(work="W2", product={"lost": 0}, setting={"broker": "mosquitto"})
    page = placed(written, report)
    table = page.partition("<!-- w2 mosquitto -->")[2].partition("<!-- end -->")[0]
    assert "| product | 0 |" in table
    assert page.count("<!-- end -->") == written.count("<!-- end -->")


@pytest.mark.journey
@pytest.mark.parametrize(("work", "roll_ups_s"), [(w1, 60.0), (w2, 0.5)])
def test_given_w1_or_w2_when_measured_then_product_peers_and_limits_in_one_report(
    work: Callable[[Options, Rig], Report],
    roll_ups_s: float,
    made: Rig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throughput, "AFTERWARDS_S", roll_ups_s)
    before = checkpoints(made)
    report = work(SMALL, made)
    assert checkpoints(made) - before >= 1 + len(report.peers) + 2  # each of them, and two COPY
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())

    assert {"work", "product", "peers", "limits", "runs", "machine"} <= set(written)
    assert written["product"]["lost"] == 0
    assert written["product"]["messages_s"] > 0
    assert {"ingest", "postgres", "broker"} <= set(written["product"]["cpu_s"])
    assert [peer["lost"] for peer in written["peers"].values()] == [0, 0]
    assert all(value > 0 for value in written["limits"].values())
    assert written["ratio_best_peer"] > 0
    assert written["ratio_limit"] > 0
    assert "product / best peer" in report.text()
    assert "Node-RED: 未测量 · not measured" in report.text()


@pytest.mark.journey
def test_given_a_load_when_started_then_it_has_begun(made: Rig) -> None:
    shape = Shape(PRODUCT_TOPIC.replace("/tele/", "/limit/"), 0.0, devices=10)
    with Load(Plan(url=made.gateway_url, shape=shape, messages=10)) as load:
        load.start()
        assert 0 < load.told.first_s.value <= time.perf_counter()
        load.finish()
        assert load.told.acked.value == 10


@pytest.mark.journey
def test_given_a_burst_when_measured_then_nothing_is_lost(made: Rig) -> None:
    product = burst(SMALL, made).product
    assert (product["messages"], product["lost"]) == (1_000, 0)
    assert 0 < product["written_s"] <= product["durable_s"]


@pytest.mark.journey
def test_given_a_backlog_when_drained_then_live_readings_were_stored_and_no_alert(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "LIVE_FIRST_S", 1.0)
    report = backlog(Options(broker="embedded", messages=240), made)
    product, limits = report.product, list(report.limits.values())
    assert product["readings"] == 240 * 60
    assert 0 < limits[0] <= product["live_p50_ms"] + 1  # a reading's time is cut to ms
    assert (product["lost"], product["live_missed"], product["false_alerts"]) == (0, 0, 0)
    assert product["live_sent"] > 0


@pytest.mark.journey
def test_given_a_soak_when_over_then_delays_and_memory_are_told(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soaking, "LOOK_S", 0.2)  # often, so that a short soak is seen to settle
    product = soak(replace(SMALL, rate=200.0, seconds=3.0), made).product
    assert (product["lost"], product["missed"]) == (0, 0)
    assert 0 < product["p50_ms"] <= product["p99_ms"] <= product["max_ms"]
    assert product["memory_peak_mb"] > 10


@pytest.mark.journey
def test_given_a_kill_when_counted_then_each_acknowledged_message_is_stored_once(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killing, "SETTLE_S", 6.0)  # the broker's ack_wait and a little
    report = kill(SMALL, made)
    product = report.product
    assert (product["rounds"], product["acked"]) == (1, 1_000)
    assert (product["lost"], product["doubled_rows"], product["doubled_in_events"]) == (0, 0, 0)
    assert report.runs[0]["killed"] == "ingest"
    assert (
        "- 1. ingest: 1,000 acknowledged, 0 lost, 0 doubled, first new row after" in report.text()
    )
    # (Nothing may be left to publish when the kill comes late: then nothing comes after it.)
    assert product["ingest_first_row_s"] > 0


@pytest.mark.journey
def test_given_w3_when_measured_then_each_try_is_told_to_the_webhook(made: Rig) -> None:
    report = w3(SMALL, made)
    found = [report.product, *report.peers.values()]
    assert [(figures["tries"], figures["missed"]) for figures in found] == [(3, 0)] * 4
    assert all(0 < figures["p50_ms"] <= figures["p99_ms"] for figures in found)


@pytest.mark.journey
def test_given_w5_when_measured_then_the_read_model_came_back_from_all_events(made: Rig) -> None:
    report = w5(replace(SMALL, messages=280), made)
    assert report.product["events"] == 280
    assert min(report.product["bulk_events_s"], report.product["follower_events_s"]) > 0
    assert report.product["tables_differing"] == 0


@pytest.mark.journey
def test_given_w4_when_measured_then_chains_and_recall_are_told_and_stay_the_same(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "CARTONS_A_LOT", 2)
    report = w4(replace(SMALL, messages=280, stored=420), made)
    product, peer = report.product, *report.peers.values()
    assert 0 < product["code_p50_ms"] <= product["code_p99_ms"]
    assert min(product["lot_q_s"], peer["code_q_s"], peer["lot_bytes"]) > 0
    assert product["recall_bytes"] > 200 * 20
    assert product["grown_code_p50_ms"] > 0
    assert (product["as_of_asked"], product["as_of_differing"]) == (50, 0)


@pytest.mark.journey
def test_given_checks_when_measured_then_each_may_and_is_answered(made: Rig) -> None:
    product = check(replace(SMALL, tries=16), made).product
    for clients in ("", "many_"):
        assert 0 < product[f"{clients}p50_ms"] <= product[f"{clients}p95_ms"]


@pytest.mark.journey
def test_given_capture_when_measured_then_each_event_is_stored_and_followed(made: Rig) -> None:
    product = capture(replace(SMALL, messages=500), made).product
    assert product["lost"] == 0
    assert min(product["events_s"], product["scan_q_s"]) > 0
    for told in ("document", "scan"):
        assert 0 < product[f"{told}_p50_ms"] <= product[f"{told}_p95_ms"]
        assert 0 < product[f"{told}_lag_p50_ms"] <= product[f"{told}_lag_p99_ms"]


@pytest.mark.journey
def test_given_w6_when_measured_then_the_history_is_stored_before(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "EVENT_READINGS", 20)
    monkeypatch.setattr(history, "REST_S", 1.0)
    report = w6(replace(SMALL, stored=20_000), made)
    assert report.product["stored"] == 20_000
    assert report.product["missed"] == 0
    assert report.product["rate_share"] > 0
