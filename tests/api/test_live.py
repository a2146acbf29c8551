"""Channels of recipients over HTTP, and alerts as they change."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

import httpx
import orjson
import pytest

from api import live
from api.deps import Deps
from domain.alerting import model
from domain.alerting.events import AlertResolved
from domain.cold_chain.model import device_stream
from domain.shared.ids import stream_id
from domain.shared.roles import Role
from simulators.browser import Browser
from store.envelope import Envelope, Meta
from tests.alerts.conftest import eventually
from tests.alerts.notices_of import FIRED_AT, fired
from tests.cold_chain.given import device
from tests.served import OFFER, Api

RECIPIENTS, STREAM = "/api/v1/recipients", "/api/v1/alert-stream"
META = Meta(occurred_at=FIRED_AT, recorded_at=FIRED_AT)
ROBOT = "693a91f6-7abc-4bc4-97a0-0ec2cafe5aaa"
_numbers = count(1)


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    alert: dict[str, Any]


class Listener:
    """Reads a stream in a thread: its events, and its comments."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.events: list[Event] = []
        self.comments = 0
        self.begun = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        told: dict[str, str] = {}
        try:
            for line in lines:
                name, _, value = line.partition(": ")
                self.comments += name == ""
                self.begun.set()
                told = {**told, name: value} if line else {}
                if name == "data":
                    self.events.append(Event(told["id"], orjson.loads(value)))
        except httpx.HTTPError:
            pass
        self.ended.set()

    @property
    def alerts(self) -> list[str]:
        """Return the ids of the alerts told of, in order."""
        return [event.alert["alert_id"] for event in self.events]


@contextmanager
def listening(client: httpx.Client, last: str = "", **params: str) -> Iterator[Listener]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", STREAM, params=params, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        listener = Listener(answer.iter_lines())
        assert listener.begun.wait(5)
        yield listener
        # A thread waits for more: only this ends the connection under it.
        answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        assert listener.ended.wait(5)


@pytest.fixture
def fire(api: Api) -> Callable[..., str]:
    """Give a function that lets an alert fire and returns its id."""

    def firing(region_code: str = "640202") -> str:
        alert_id = str(stream_id("alerting.episode", "TH-live", "t1", "high", next(_numbers)))
        event = fired(alert_id=alert_id, region_code=region_code)
        api.deps.ledger.append([Envelope(model.episode_stream(alert_id), 1, event, META)])
        return alert_id

    return firing


def test_given_alerts_when_followed_then_each_change_of_the_region_is_told_once(
    api: Api, fire: Callable[..., str]
) -> None:
    with api.client(Role.CDC, "640202") as county, listening(county) as here:
        with (
            api.client(Role.REGULATOR, "640200") as city,
            listening(city, region="640221") as there,
        ):
            mine, other = fire(), fire("640221")
            end = FIRED_AT + timedelta(minutes=9)
            ended = AlertResolved(alert_id=mine, recovered_at=end, resolved_at=end, peak_c=9.9)
            eventually(lambda: here.alerts == [mine])
            api.deps.ledger.append([Envelope(model.episode_stream(mine), 2, ended, META)])
            eventually(lambda: len(here.events) == 2)
            eventually(lambda: there.alerts == [other])
        shown = county.get(f"/api/v1/alerts/{mine}").json()
        assert [event.alert["state"] for event in here.events] == ["firing", "resolved"]
        assert here.events[1].alert == shown
        # Who comes back is told what it missed: each alert once, as it is now.
        missed = fire()
        api.followed(api.deps.ledger.last_position())
        with listening(county, last=here.events[0].id) as again:
            eventually(lambda: len(again.events) == 2)
        assert again.alerts == [mine, missed]
        assert again.events[0] == here.events[1]
    assert len({event.id for event in here.events}) == len(here.events)
    eventually(lambda: not live._open)


def test_given_an_alert_that_comes_while_it_is_looked_when_asked_again_then_not_told_twice(
    api: Api, fire: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = api.deps.ledger.last_position()
    fire()
    api.followed(api.deps.ledger.last_position())
    monkeypatch.setattr(live, "followed", lambda *_: before + 1)
    fire()
    api.followed(api.deps.ledger.last_position())
    until, found = live.changes(api.deps, before)
    assert len(found) == 2
    assert until == found[-1].position


def test_given_a_quiet_stream_when_followed_then_it_says_that_it_lives(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(live, "POLL_S", 0.05)
    with api.client(Role.CDC, "640205") as county, listening(county) as quiet:
        eventually(lambda: quiet.comments >= 2)
    assert quiet.events == []


def test_given_streams_when_refused_then_why(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with api.client(Role.CDC, "640202") as county:
        outside = county.get(STREAM, params={"region": "640221"})
        assert (outside.status_code, outside.json()["code"]) == (403, "out_of_scope")
        assert county.get(STREAM, headers={"Last-Event-ID": "x"}).status_code == 422
        monkeypatch.setattr(live, "STREAMS_MAX", 0)
        full = county.get(STREAM)
        assert (full.status_code, full.json()["code"]) == (503, "busy")


def recipient(channel: str, address: str, **more: Any) -> dict[str, Any]:
    told = {"recipient_id": f"r-{next(_numbers)}", "name": "值班", "region_code": "640202"}
    return {**told, "channel": channel, "address": address, **more}


@pytest.mark.parametrize(
    ("channel", "address", "more", "shown"),
    [
        ("sms", "+8613800000001", {}, "138****0001"),
        ("wecom", ROBOT, {}, "693a***"),
        ("dingtalk", "a" * 64, {"secret": "SEC" + "a" * 64}, "aaaa***"),
        ("feishu", ROBOT, {"secret": "a" * 22}, "693a***"),
        ("push", "http://127.0.0.1/push/1", {"keys": Browser().keys}, "http://127.0.0.1/***"),
        ("siren", "SIREN-1", {}, "SIREN-1"),
    ],
)
def test_given_a_channel_when_somebody_is_put_down_then_the_address_is_masked_in_all_answers(
    api: Api, channel: str, address: str, more: dict[str, Any], shown: str
) -> None:
    siren = device_stream("SIREN-1")
    if not api.deps.ledger.stream(siren):
        api.deps.ledger.append([Envelope(siren, 1, device("SIREN-1"), META)])
    with api.client(Role.CDC, "640202") as county:
        made = county.post(RECIPIENTS, json=recipient(channel, address, **more))
        assert made.status_code == 201, made.text
        assert (made.json()["address"], made.json()["secret"]) == (shown, None)
        listed = county.get(RECIPIENTS).json()["items"]
        assert county.get(made.headers["location"]).json()["address"] == shown
        assert shown in [item["address"] for item in listed]
        assert county.delete(made.headers["location"]).status_code == 204


@pytest.mark.parametrize(
    ("channel", "address", "more", "zh", "en"),
    [
        ("sms", "12345678901", {}, "手机号", "mobile number"),
        ("sms", "+85212345678", {}, "手机号", "mobile number"),
        ("wecom", f"https://qyapi.weixin.qq.com/?key={ROBOT}", {}, "密钥", "not the whole address"),
        ("dingtalk", ROBOT, {}, "必须给出", "must be given"),
        (
            "push",
            "http://127.0.0.1/1",
            {"keys": {"p256dh": "AAAA", "auth": "AAAA"}},
            "订阅",
            "keys",
        ),
        ("push", "http://169.254.169.254/1", {"keys": Browser().keys}, "网段", "network"),
        ("siren", "SIREN-9", {}, "没有这个记录仪", "no such device"),
        ("email", "nobody", {}, "邮箱", "e-mail"),
    ],
)
def test_given_an_address_that_cannot_be_when_put_down_then_said_in_both_languages(
    api: Api, channel: str, address: str, more: dict[str, Any], zh: str, en: str
) -> None:
    with api.client(Role.CDC, "640202") as county:
        refused = county.post(RECIPIENTS, json=recipient(channel, address, **more))
    assert refused.status_code == 422, refused.text
    problem = refused.json()
    assert zh in problem["title_zh"]
    assert en in problem["title_en"]


def test_given_a_channel_that_is_not_set_up_when_asked_for_then_said_what_it_needs(
    api: Api,
) -> None:
    deps: Deps = api.deps
    with api.client(Role.CDC, "640202") as county:
        told = county.get("/api/v1/alert-channels").json()
        assert all(item["offered"] for item in told["channels"])
        assert told["push_key"] == OFFER.vapid.public if OFFER.vapid else False
        app: Any = api.app
        app.state.deps = replace(deps, offer=replace(OFFER, account=None, robots={}))
        try:
            left = county.get("/api/v1/alert-channels").json()["channels"]
            refused = county.post(RECIPIENTS, json=recipient("sms", "13800000001")).json()
        finally:
            app.state.deps = deps
    offered = {item["channel"] for item in left if item["offered"]}
    assert offered == {"email", "push", "webhook", "siren"}
    assert (refused["code"], refused["field"]) == ("channel_not_offered", "channel")
    assert "VAXTRAIL_SMS_PROVIDER" in refused["title_zh"]
