"""Settings: environment before file before default; wrong ones refused in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime import services
from runtime.refusal import Refusal
from runtime.settings import Settings, dsn, load, shown, template


def test_given_nothing_when_loaded_then_loopback_real_clock_and_embedded_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load({})
    assert settings.api_host == settings.mqtt_host == "127.0.0.1"
    assert settings.clock == "real"
    assert settings.database_url is None
    assert settings.data == tmp_path / ".vaxtrail" / "data"


def test_given_environment_and_file_when_loaded_then_environment_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('api_port = 8001\nregions = ["640202"]\n')
    settings = load({"VAXTRAIL_CONFIG": str(file), "VAXTRAIL_API_PORT": "8002"})
    assert settings.api_port == 8002
    assert settings.regions == ("640202",)


def test_given_list_in_environment_when_loaded_then_split_at_commas() -> None:
    assert load({"VAXTRAIL_REGIONS": "640202, 640205"}).regions == ("640202", "640205")


def test_given_networks_when_loaded_then_these_and_none_of_them_by_that_word() -> None:
    assert "10.0.0.0/8" in load({}).webhook_networks
    told = {"VAXTRAIL_WEBHOOK_NETWORKS": "127.0.0.0/8, ::1/128"}
    assert load(told).webhook_networks == ("127.0.0.0/8", "::1/128")
    assert load({"VAXTRAIL_WEBHOOK_NETWORKS": "none"}).webhook_networks == ()


def test_given_empty_variable_when_loaded_then_as_if_unset() -> None:
    assert load({"VAXTRAIL_SMTP_URL": ""}).smtp_url is None


def test_given_names_of_tests_and_simulators_when_loaded_then_left_alone() -> None:
    load({"VAXTRAIL_SHARED": "/x", "VAXTRAIL_SIM_API_KEY": "k"})


def test_given_secret_in_file_when_loaded_then_read_and_trimmed(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("mqtt://a:b@c:1\n")
    settings = load({"VAXTRAIL_MQTT_URL_FILE": str(tmp_path / "url")})
    assert dsn(settings.mqtt_url) == "mqtt://a:b@c:1"
    assert "b@c" not in str(shown(settings))


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"VAXTRAIL_API_PROT": "1"}, "VAXTRAIL_API_PROT"),
        ({"VAXTRAIL_API_PORT": "99999"}, "VAXTRAIL_API_PORT"),
        ({"VAXTRAIL_CLOCK": "fast"}, "VAXTRAIL_CLOCK"),
        ({"VAXTRAIL_REGIONS": "64"}, "GB/T 2260"),
        ({"VAXTRAIL_WEBHOOK_NETWORKS": "10.0.0.1/8"}, "not a network"),
        ({"VAXTRAIL_OWNER_DATABASE_URL": "postgresql://x"}, "database_url"),
        ({"VAXTRAIL_MQTT_URL_FILE": "/nowhere"}, "/nowhere"),
        ({"VAXTRAIL_API_PORT_FILE": "/nowhere"}, "VAXTRAIL_API_PORT_FILE"),
        ({"VAXTRAIL_MQTT_URL_FILE": "/x", "VAXTRAIL_MQTT_URL": "y"}, "VAXTRAIL_MQTT_URL"),
        ({"VAXTRAIL_CONFIG": "/nowhere.toml"}, "/nowhere.toml"),
    ],
)
def test_given_wrong_setting_when_loaded_then_refused_by_name(
    environ: dict[str, str], told: str
) -> None:
    with pytest.raises(Refusal) as refused:
        load(environ)
    assert told in str(refused.value)
    assert any("\u4e00" <= c <= "\u9fff" for c in refused.value.zh)
    assert refused.value.en.isascii() or told in refused.value.en


@pytest.mark.parametrize("text", ["no_such = 1", "api_port = = 1"])
def test_given_bad_file_when_loaded_then_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(Refusal, match=r"my\.toml"):
        load({"VAXTRAIL_CONFIG": str(file)})


def test_given_settings_when_changed_then_frozen() -> None:
    with pytest.raises(ValidationError):
        load({}).api_port = 1


def test_given_template_when_uncommented_then_it_loads_to_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text("\n".join(re.findall(r"^# ([a-z_]+ = .+)$", template(), re.MULTILINE)))
    assert load({"VAXTRAIL_CONFIG": str(file)}) == load({})
    assert all(name in template() for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("shelf_life", "after_expiry", "kept", "accepted"),
    [(5, 5, 10, True), (5, 5, 9, False), (2, 5, 7, True), (2, 6, 7, False), (2, 4, 100, False)],
)
def test_given_years_to_keep_readings_when_below_the_legal_time_then_refused(
    shelf_life: int, after_expiry: int, kept: int, accepted: bool
) -> None:
    years = {
        "VAXTRAIL_LONGEST_SHELF_LIFE_YEARS": str(shelf_life),
        "VAXTRAIL_RECORDS_YEARS_AFTER_EXPIRY": str(after_expiry),
        "VAXTRAIL_READINGS_KEEP_YEARS": str(kept),
    }
    if accepted:
        assert load(years).readings_keep_years == kept
    else:
        with pytest.raises(Refusal, match=r"不得少于|须不小于"):
            load(years)


SMS = {
    "VAXTRAIL_SMS_PROVIDER": "aliyun",
    "VAXTRAIL_SMS_KEY_ID": "id",
    "VAXTRAIL_SMS_SECRET": "kept",
    "VAXTRAIL_SMS_SIGNATURE": "石嘴山疾控",
    "VAXTRAIL_SMS_TEMPLATE": "SMS_1",
}


def test_given_channels_of_alerts_when_set_up_then_these_are_offered_and_no_others() -> None:
    assert services.offer(load({})).channels == {"webhook", "siren"}
    told = {
        **SMS,
        "VAXTRAIL_DINGTALK_URL": "https://oapi.dingtalk.com",
        "VAXTRAIL_PUSH_KEY": "A" * 42 + "E",
        "VAXTRAIL_PUSH_CONTACT": "mailto:ops@cdc.example",
    }
    offer = services.offer(load(told))
    assert offer.channels == {"webhook", "siren", "sms", "dingtalk", "push"}
    assert offer.account is not None
    assert offer.account.url == "https://dysmsapi.aliyuncs.com"
    assert "kept" not in repr(offer)
    with pytest.raises(Refusal, match="PUSH_KEY"):
        services.offer(load({**told, "VAXTRAIL_PUSH_KEY": "short"}))


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"VAXTRAIL_SMS_SECRET": ""}, "sms_secret"),
        ({"VAXTRAIL_SMS_PROVIDER": "tencent"}, "sms_app"),
        ({"VAXTRAIL_PUSH_KEY": "A" * 43}, "push_contact"),
    ],
)
def test_given_a_channel_of_which_some_is_set_when_loaded_then_refused_by_what_is_missing(
    changed: dict[str, str], missing: str
) -> None:
    with pytest.raises(Refusal, match=f"{missing} 同时给出"):
        load({**SMS, **changed})
