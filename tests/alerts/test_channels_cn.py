"""Robots, short messages and web push, against providers that check what comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from alerts import receipts
from alerts.channels import push, robots, sms
from alerts.channels.channel import Ask, Channel, Later, Message, Permanent, Transient
from alerts.channels.offered import SHAPES
from alerts.channels.push import Push, Vapid
from alerts.channels.sms import PART_MAX, Account, Provider, Sms, fitted, text, units
from alerts.channels.webhook import Webhook
from alerts.outbox import Pool, Sender
from alerts.receipts import Receipts
from simulators.receivers import Receivers, serving
from tests.alerts.conftest import AT_ONCE, LOOPBACK, PUBLIC_URL
from tests.alerts.notices_of import ALERT, FIRED_AT, fired, noticed, tell
from tests.conftest import ManualClock

ROBOTS = sorted(robots.KINDS)
PHONE = "+8613800000001"
BRIEF = {
    "what": "紧急温度告警",
    "place": "石嘴山市疾控中心1号冷库",
    "state": "9.3℃高于8.0℃",
    "since": "03-02 07:30起",
    "number": "1A2B3C4D",
}


@pytest.fixture
def books(clock: ManualClock) -> Iterator[Receivers]:
    """Serve all providers, at the time of the tests."""
    with serving(Receivers(now=lambda: clock.now().timestamp())) as made:
        yield made


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Give a way to call loopback."""
    with closing(Webhook(LOOPBACK, timeout_s=3)) as made:
        yield made


def message(clock: ManualClock, address: str, secret: str = "", **event: Any) -> Message:
    return Message(
        key="k",
        thread=ALERT,
        address=address,
        secret=secret,
        subject="【紧急】温度告警",
        text="【紧急】温度告警\n站点：石嘴山市疾控中心\n----\n[critical]\n",
        event={"severity": "critical", "kind": "fired", "link": "https://v.example/1", **event},
        at=clock.now(),
        sent_at=clock.now(),
        brief=BRIEF,
    )


def robot(name: str, books: Receivers, webhook: Webhook, clock: ManualClock) -> robots.Robot:
    return robots.KINDS[name](books.url, webhook.ask, lambda: clock.now().timestamp())


def phones(shape: str, books: Receivers, webhook: Webhook) -> Sms:
    own = books.phones
    account = Account(books.url, own.key_id, own.secret, own.signature, own.template, app=own.app)
    provider: Provider = SHAPES[shape](account)
    return Sms(provider, account, webhook.ask)


@pytest.mark.parametrize("name", ROBOTS)
def test_given_a_robot_when_told_then_it_finds_the_signature_right(
    name: str, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    told = message(clock, "robot-of-this-group", books.robot_secret)
    evidence = robot(name, books, webhook, clock).send(told)
    assert books.texts(name) == [told.text]
    assert evidence == {"status": "200", "accepted_by": "127.0.0.1"}


@pytest.mark.parametrize("name", ["dingtalk", "feishu"])
def test_given_a_wrong_secret_or_clock_when_told_then_refused_for_good(
    name: str, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    channel = robot(name, books, webhook, clock)
    wrong = message(clock, "robot-of-this-group", "another")
    with pytest.raises(Permanent, match=r"310000 sign|19021 sign"):
        channel.send(wrong)
    early = message(clock, "robot-of-this-group", books.robot_secret)
    clock.advance(hours=2)
    with pytest.raises(Permanent, match=r"310000 sign|19021 sign"):
        channel.send(early)
    assert books.told == []


@pytest.mark.parametrize("name", ROBOTS)
def test_given_a_provider_that_says_no_when_told_then_its_code_decides(
    name: str, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    channel = robot(name, books, webhook, clock)
    told = message(clock, "robot-of-this-group", books.robot_secret)
    books.faults[name].extend(["fail", "refuse", "busy"])
    with pytest.raises(Transient, match="HTTP 50"):
        channel.send(told)
    with pytest.raises(Permanent, match=r"93000|300005|19001"):
        channel.send(told)
    with pytest.raises(Later, match=r"45009|130101|11232") as busy:
        channel.send(told)
    with pytest.raises(Later, match="as often") as waits:  # and is left alone
        channel.send(told)
    assert waits.value.seconds == busy.value.seconds == (600 if name == "dingtalk" else 60)
    clock.advance(seconds=busy.value.seconds)
    channel.send(told)
    assert len(books.told) == 1


def test_given_a_provider_that_answers_late_or_nonsense_when_told_then_tried_again_later(
    books: Receivers, clock: ManualClock
) -> None:
    with closing(Webhook(LOOPBACK, timeout_s=0.3)) as webhook:
        books.delay_s = 0.6
        with pytest.raises(Transient, match="no answer within"):
            robot("wecom", books, webhook, clock).send(message(clock, "robot-of-this-group"))
    nonsense = robots.WeCom("http://h", lambda *_: (200, b"<html>"))
    with pytest.raises(Transient, match="not an answer"):
        nonsense.send(message(clock, "robot-of-this-group"))


def test_given_a_text_beyond_what_wecom_takes_when_told_then_its_beginning_is(
    books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    long = replace(message(clock, "robot-of-this-group"), text="温度告警" * 400)
    robot("wecom", books, webhook, clock).send(long)
    (taken,) = books.texts("wecom")
    assert long.text.startswith(taken)
    assert 2_040 < len(taken.encode()) <= 2_048


def test_given_a_storm_for_one_robot_when_sent_then_critical_first_and_nothing_lost_or_refused(
    pool: Pool, places: None, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    with pool.connection() as conn:
        conn.execute(
            "INSERT INTO recipient (recipient_id, name, channel, address, region_code)"
            " VALUES ('group', '群', 'wecom', 'robot-of-this-group', '640200')"
        )
    channels: dict[str, Channel] = {"wecom": robot("wecom", books, webhook, clock)}
    sender = Sender(pool, channels, now=clock.now, public_url=PUBLIC_URL, grouping=AT_ONCE)
    alerts = [str(UUID(int=number)) for number in range(50)]
    for n, alert_id in enumerate(alerts):
        severity = "critical" if n >= 40 else "major"
        event = replace(fired(alert_id=alert_id, severity=severity), site_id=f"s{n}")
        tell(pool, noticed(event, 1, severity=severity))
    for _ in range(300):
        sender.expand()
        sender.send_due()
        clock.advance(seconds=1)
    texts = books.texts("wecom")
    urgent = [n for n, one in enumerate(texts) if one.startswith("【紧急】")]
    assert len(texts) == 50
    assert books.refusals == []
    assert urgent == list(range(15, 25))  # before all that had to wait
    with pool.connection() as conn:
        rows = conn.execute("SELECT state, attempts FROM delivery").fetchall()
    assert set(rows) == {("sent", 1)}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_given_a_provider_of_short_messages_when_sent_then_signed_and_within_one_part(
    shape: str, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    channel = phones(shape, books, webhook)
    evidence = channel.send(message(clock, PHONE))
    (taken,) = books.texts("sms")
    assert taken == (
        "【石嘴山疾控】紧急温度告警：石嘴山市疾控中心1号冷库，9.3℃高于8.0℃，03-02 07:30起，"
        "编号1A2B3C4D，请查看"
    )
    assert evidence["accepted_id"] in books.phones.sent
    sent_at = clock.now()
    assert channel.report(PHONE, "unknown", sent_at, sent_at) == sms.Report()
    clock.advance(seconds=2)
    report = channel.report(PHONE, evidence["accepted_id"], sent_at, clock.now())
    assert report.delivered_at == sent_at + timedelta(seconds=2)
    books.phones.off.add(PHONE.removeprefix("+86"))
    assert channel.report(PHONE, evidence["accepted_id"], sent_at, clock.now()).failure


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_given_a_provider_of_short_messages_that_says_no_when_sent_then_without_the_number(
    shape: str, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    channel = phones(shape, books, webhook)
    books.faults["sms"].extend(["fail", "refuse", "busy"])
    with pytest.raises(Transient, match="HTTP 500"):
        channel.send(message(clock, PHONE))
    with pytest.raises(Permanent) as refused:
        channel.send(message(clock, PHONE))
    assert "138****0001" in str(refused.value)
    assert "13800000001" not in str(refused.value)
    with pytest.raises(Later) as busy:
        channel.send(message(clock, PHONE))
    assert busy.value.seconds in {30, 60}
    books.phones.secret = "another"
    with pytest.raises(Transient, match="Signature") as unsigned:  # the operator can mend it
        channel.send(message(clock, PHONE))
    assert not isinstance(unsigned.value, Later)


def test_given_the_page_on_channels_when_read_then_its_template_is_the_one_that_is_filled() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "channels.md").read_text("utf-8")
    assert f"\n{sms.TEMPLATE.replace('{', '${')}\n" in page


@pytest.mark.parametrize("signature", ["疾控", "某某市疾病预防控制中心一"])
def test_given_any_names_when_fitted_then_one_part_with_what_matters_most(signature: str) -> None:
    for place in ("一站", "某某自治区某某市某某区第一人民医院预防接种门诊2号冰箱" * 2, "🏥" * 60):
        for state in ("9.3℃高于8.0℃", "-120.1℃低于-100.0℃", "12台记录仪中12台无数据，全部断电", ""):
            told = fitted(
                {**BRIEF, "what": "重要告警升级2级", "place": place, "state": state}, signature
            )
            whole = text(told, signature)
            assert units(whole) <= PART_MAX
            assert all(told.values())
            assert "重要告警升级2级" in whole
            assert "1A2B3C4D" in whole
            assert told["place"][0] == place[0]
    brief = {
        **BRIEF,
        "place": "惠农区红果子镇卫生院预防接种门诊三号疫苗冰箱",
        "what": "【紧急】\n告警",
    }
    assert fitted(brief, signature)["what"] == "紧急 告警"
    assert fitted(brief, signature)["since"] in {"03-02 07:30起", "07:30起"}


def test_given_an_accepted_short_message_when_a_phone_has_it_then_the_evidence_says_so(
    pool: Pool, places: None, books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    channel = phones("aliyun", books, webhook)
    with pool.connection() as conn:
        for name, number in (("keeper", "13800000001"), ("head", "13800000002")):
            conn.execute(
                "INSERT INTO recipient (recipient_id, name, channel, address, region_code)"
                " VALUES (%s, %s, 'sms', %s, '640200')",
                (name, name, number),
            )
    sender = Sender(pool, {"sms": channel}, now=clock.now, public_url=PUBLIC_URL, grouping=AT_ONCE)
    tell(pool, noticed(fired(), 1))
    sender.expand()
    sender.send_due()
    books.phones.off.add("13800000002")
    asking = Receipts(channel, clock.now)
    told = []
    with pool.connection() as conn:
        for _ in range(20):
            told.append(asking.round(conn))
            clock.advance(seconds=1)
        rows = conn.execute(
            "SELECT recipient_id, state, evidence FROM delivery ORDER BY 1"
        ).fetchall()
    assert sum(told) == 2
    assert told.index(2) == receipts.FIRST_S
    (_, _, head), (_, _, keeper) = rows
    assert head["undelivered"] == "MOBILE_NOT_ON_SERVICE"
    had = datetime.fromisoformat(keeper["delivered_at"])
    assert had == FIRED_AT + timedelta(seconds=2)
    assert keeper["accepted_id"]


ODD: dict[str, list[dict[str, Any]]] = {
    "aliyun": [
        {"SmsSendDetailDTOs": {"SmsSendDetailDTO": [{"SendStatus": 3, "ReceiveDate": ""}]}},
        {"SmsSendDetailDTOs": {"SmsSendDetailDTO": [{}]}},
        {"SmsSendDetailDTOs": [1]},
    ],
    "tencent": [
        {
            "PullSmsSendStatusSet": [
                {"SerialNo": "1", "ReportStatus": "SUCCESS", "UserReceiveTime": at}
            ]
        }
        for at in (None, "soon", 10**18)
    ],
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_given_a_report_that_nobody_can_read_when_asked_then_not_told_and_no_number_in_it(
    shape: str, clock: ManualClock
) -> None:
    for odd in ODD[shape]:
        said = {"Code": "OK", "Response": odd, **odd}
        channel = sms_of(shape, lambda *_, said=said: (200, orjson.dumps(said)))
        with pytest.raises(Transient, match="not a report"):
            channel.report(PHONE, "1", clock.now(), clock.now())
    error = {"Code": "isv.X", "Message": "13800000001 is wrong"}
    said = {**error, "Response": {"Error": error}}
    with pytest.raises(Transient, match=r"138\*\*\*\*0001 is wrong"):
        sms_of(shape, lambda *_: (200, orjson.dumps(said))).report(
            PHONE, "1", clock.now(), clock.now()
        )


def sms_of(shape: str, ask: Ask) -> Sms:
    account = Account("http://127.0.0.1:9", "key", "secret", "疾控", "SMS_1", app="1")
    return Sms(SHAPES[shape](account), account, ask)


def test_given_a_provider_that_does_not_answer_when_asked_then_the_newest_are_asked_first(
    pool: Pool, clock: ManualClock
) -> None:
    asked: list[str] = []

    def ask(_address: str, body: bytes, _headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(orjson.loads(body)["PhoneNumber"])
        if len(asked) == 2:
            raise Transient("no answer within 15 s")
        return 200, orjson.dumps({"Response": {}})

    with pool.connection() as conn:
        for n in range(4):
            conn.execute(
                "INSERT INTO recipient (recipient_id, name, channel, address, region_code)"
                " VALUES (%s, '', 'sms', %s, '640200')",
                (f"p{n}", f"1380000000{n}"),
            )
            conn.execute(
                "WITH o AS (INSERT INTO outbox (key, alert_id, kind, severity, region_code,"
                " payload, created_at, expanded) VALUES (%(n)s, %(alert)s, 'fired', 'major',"
                " '640202', '{}', %(at)s, true) RETURNING id)"
                " INSERT INTO delivery (outbox_id, alert_id, recipient_id, channel, level, key,"
                " state, next_at, created_at, sent_at, evidence) SELECT id, %(alert)s, %(who)s,"
                " 'sms', 0, %(n)s, 'sent', %(at)s, %(at)s, %(at)s, '{\"accepted_id\": \"1\"}'"
                " FROM o",
                {"n": str(n), "alert": ALERT, "who": f"p{n}", "at": clock.advance(seconds=1)},
            )
        asking = Receipts(sms_of("tencent", ask), clock.now)
        clock.advance(minutes=1)
        for _ in range(2):
            asking.round(conn)
    assert [number[-1] for number in asked] == ["3", "2", "3", "2", "1", "0"]


def test_given_the_published_example_of_push_when_sealed_then_the_same_bytes() -> None:
    # RFC 8291, appendix A.
    private = int.from_bytes(push.decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    sealed = push.sealed(
        b"When I grow up, I want to be a watermelon",
        push.decoded(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        push.decoded("BTBZMqHH6r4Tts7J_aSIgg"),
        key=ec.derive_private_key(private, ec.SECP256R1()),
        salt=push.decoded("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert push.encoded(sealed) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6"
        "TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulc"
        "y4a-fN"
    )


def test_given_a_browser_when_pushed_to_then_it_knows_the_sender_and_reads_the_message(
    books: Receivers, webhook: Webhook, clock: ManualClock
) -> None:
    vapid = Vapid.of(push.encoded(bytes(range(1, 33))), "mailto:ops@cdc.example")
    books.browser.server_key = vapid.public
    keys = books.browser.keys
    told = message(clock, f"{books.url}/push/abc", f"{keys['p256dh']}.{keys['auth']}")
    channel = Push(vapid, webhook.ask)
    evidence = channel.send(told)
    shown = orjson.loads(books.texts("push")[0])
    assert (shown["title"], shown["tag"], shown["url"]) == (
        told.subject,
        ALERT,
        "https://v.example/1",
    )
    assert shown["body"] == "【紧急】温度告警\n站点：石嘴山市疾控中心"
    assert evidence == {"status": "201", "accepted_by": "127.0.0.1"}
    long = replace(told, text="温" * 5_000)
    channel.send(long)
    assert orjson.loads(books.texts("push")[1])["body"] == ""
    books.faults["push"].extend(["refuse", "busy", "fail"])
    with pytest.raises(Permanent, match="410"):
        channel.send(told)
    for _ in range(2):
        with pytest.raises(Transient, match=r"429|500"):
            channel.send(told)
    with pytest.raises(Permanent, match="keys"):
        channel.send(replace(told, secret="AAAA.AAAA"))
    stranger = Push(Vapid.of(push.encoded(bytes(range(2, 34))), "mailto:x@y.example"), webhook.ask)
    with pytest.raises(Permanent, match="403"):
        stranger.send(told)
