"""Every setting, read once: `VAXTRAIL_…` in the environment, then a TOML file, then defaults.

The file is `VAXTRAIL_CONFIG`, else `vaxtrail.toml` in the working directory; its keys are the
names below in lower case. A secret may instead be named by a file: `VAXTRAIL_…_FILE`.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from domain.shared.errors import Invalid
from domain.shared.ids import checked_region
from runtime.refusal import Refusal

PREFIX = "VAXTRAIL_"
# Names with the prefix that are no settings: the file's own name, test data, simulators' wire.
_OTHER = ("CONFIG", "SHARED")
_SIMULATORS = "SIM_"

# What stands for no network at all: an empty value is the same as none given.
_NO_NETWORK = "none"

Port = Annotated[int, Field(ge=1, le=65535)]
# A web address without what may follow its path, or nothing.
WebAddress = Annotated[str, Field(pattern=r"^$|^https?://[^\s/?#@]+(/[^\s?#]*)?$")]


class Settings(BaseModel):
    """One instance's settings. Frozen; `load` is the only place that makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: Path = Field(Path(".vaxtrail/data"), description="数据目录 | data folder")
    database_url: SecretStr | None = Field(
        None,
        description="应用角色的数据库地址；不填则用内置 PostgreSQL"
        " | database of role vaxtrail_app; the embedded PostgreSQL when unset",
    )
    owner_database_url: SecretStr | None = Field(
        None,
        description="属主角色的数据库地址，仅迁移与保留期使用"
        " | role vaxtrail_owner, for migrations and retention only",
    )
    mqtt_url: SecretStr | None = Field(
        None,
        description="MQTT 代理地址；不填则用内置代理 | MQTT broker; the embedded one when unset",
    )
    pg_port: Port | None = Field(
        None, description="内置数据库端口；不填则自选 | port of the embedded database; else free"
    )
    mqtt_host: str = Field(
        "127.0.0.1", description="内置代理监听地址 | address the embedded broker listens on"
    )
    mqtt_port: Port | None = Field(
        None, description="内置代理端口；不填则自选 | port of the embedded broker; else a free one"
    )
    mqtt_sync: Literal["always", "interval"] = Field(
        "always",
        description="代理落盘：每条，或每秒（断电可丢）"
        " | broker to disk: each message, or every second (a power cut may lose some)",
    )
    mqtt_tls: Path | None = Field(
        None,
        description="内置代理的证书目录（vaxtrail tls init 生成）；不填则不加密"
        " | folder of the embedded broker's certificates (`vaxtrail tls init`); else unencrypted",
    )
    mqtt_tls_login: Literal["certificate", "password"] = Field(
        "certificate",
        description="加密时网关凭客户端证书或口令登录"
        " | with TLS, gateways log in by client certificate or by password",
    )
    mqtt_shared_account: bool = Field(
        False,
        description="开放共用账号 gateway，可代任何网关发布（仅供演示与测试）"
        " | open the account `gateway`, which may publish for any gateway: demonstration and tests",
    )
    api_host: str = Field("127.0.0.1", description="API 监听地址 | address the API listens on")
    api_port: Port | None = Field(
        None, description="API 端口；不填则自选 | port of the API; else a free one"
    )
    ingest_metrics: Annotated[str, Field(pattern=r"^$|^[0-9A-Za-z.:_-]+:[0-9]{1,5}$")] = Field(
        "",
        description="接入进程自身指标的监听地址 主机:端口；不填则不给出"
        " | host:port where ingest shows its own metrics (queue, commits); nowhere when empty",
    )
    public_url: str = Field(
        "", description="告警信息中的网址前缀 | address people reach, used in alert messages"
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="发信服务器 | mail server: smtp[s]://[user:password@]host[:port]",
    )
    smtp_from: str = Field("", description="发信人地址 | address mail is sent from")
    sms_provider: Literal["", "aliyun", "tencent"] = Field(
        "",
        description="短信接口形式；不填则不发短信"
        " | shape of the provider of short messages; none are sent when empty",
    )
    sms_url: WebAddress = Field(
        "",
        description="短信接口地址；不填用服务商公网地址"
        " | its address; the provider's own when empty",
    )
    sms_key_id: str = Field("", description="短信接口密钥编号 | id of the key that it gave")
    sms_secret: SecretStr | None = Field(
        None, description="短信接口密钥 | secret that calls to it are signed with"
    )
    sms_signature: Annotated[str, Field(pattern=r"^$|^[^\s【】]{2,12}$")] = Field(
        "", description="短信签名，不带【】 | signature of short messages, without 【】"
    )
    sms_template: str = Field(
        "",
        description="短信模板编号（内容见文档）| id of the template (its text: how-to/channels.md)",
    )
    sms_app: str = Field("", description="腾讯云 SmsSdkAppId | Tencent's SmsSdkAppId")
    wecom_url: WebAddress = Field(
        "",
        description="企业微信接口地址（https://qyapi.weixin.qq.com）；不填则不用"
        " | address of WeCom, whose robots are not told when empty",
    )
    dingtalk_url: WebAddress = Field(
        "",
        description="钉钉接口地址（https://oapi.dingtalk.com）；不填则不用"
        " | address of DingTalk, whose robots are not told when empty",
    )
    feishu_url: WebAddress = Field(
        "",
        description="飞书接口地址（https://open.feishu.cn）；不填则不用"
        " | address of Feishu, whose robots are not told when empty",
    )
    push_key: SecretStr | None = Field(
        None,
        description="网页推送私钥（VAPID，32 字节 base64url）；不填则不推送"
        " | private key of web push (VAPID, 32 bytes in base64url); no push when unset",
    )
    push_contact: Annotated[str, Field(pattern=r"^$|^(mailto:|https://)\S+$")] = Field(
        "",
        description="推送服务联系运维的地址（mailto: 或 https:）"
        " | where push services reach the operator (mailto: or https:)",
    )
    webhook_networks: tuple[str, ...] = Field(
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        description="互联网之外可以回调（webhook、EPCIS 订阅）的网段，逗号分隔；none 为都不可以"
        " | networks beside the internet where webhooks and EPCIS subscribers may be called,"
        " comma separated; none for no such network",
    )
    platform_url: Annotated[str, Field(pattern=r"^$|^https?://[^\s/]+(/\S*)?$")] = Field(
        "",
        description="国家追溯协同平台接口地址；不填则不对接"
        " | address of the national platform's interface; not spoken to when empty",
    )
    platform_app_key: str = Field(
        "", description="平台分配的应用标识 | application key that the platform gave"
    )
    platform_secret: SecretStr | None = Field(
        None, description="平台分配的签名密钥 | secret that calls to the platform are signed with"
    )
    proxy_addresses: str = Field(
        "127.0.0.1",
        description="反向代理的地址（逗号分隔），只采信其 X-Forwarded-For"
        " | addresses of reverse proxies, comma separated: only their X-Forwarded-For is believed",
    )
    immunization_elements: Path | None = Field(
        None,
        description="接种数据元对照表（JSON）；不填则用自带的"
        " | table of immunization data elements (JSON); the one shipped when unset",
    )
    regions: tuple[str, ...] = Field(
        (),
        description="本实例接收的地区（GB/T 2260，逗号分隔）；不填为全部"
        " | regions taken in, comma separated; all when empty",
    )
    ingest_workers: Annotated[int, Field(ge=1, le=32)] = Field(
        1,
        description="接入进程数，按地区分工；多于一个时须列出地区"
        " | ingest processes, which divide the regions; more than one needs regions named",
    )
    clock: Literal["real", "stepped"] = Field(
        "real", description="时钟：真实，或由驱动程序步进（演示） | real, or moved by a driver"
    )
    disk_free_min_pct: Annotated[float, Field(ge=0, lt=100)] = Field(
        5.0, description="磁盘可用低于此比例时停止接收 | % free below which intake stops"
    )
    readings_keep_years: Annotated[int, Field(le=100)] | None = Field(
        None,
        description="读数的逐行明细保留的整年数；不填则全部保留（事件与小时、日汇总始终保留）"
        " | whole years that rows of readings are kept; for ever when unset (events and roll-ups"
        " always are)",
    )
    records_years_after_expiry: Annotated[int, Field(ge=5, le=100)] = Field(
        5,
        description="法定保存期：疫苗有效期满后年数（《疫苗管理法》第三十九条：不少于五年）"
        " | years past a vaccine's expiry that the law asks for (Vaccine Administration Law 2019,"
        " article 39: at least five)",
    )
    longest_shelf_life_years: Annotated[int, Field(ge=1, le=20)] = Field(
        5,
        description="在用疫苗中最长的有效期，向上取整年"
        " | longest shelf life of the vaccines in use, in whole years rounded up",
    )
    log: Literal["auto", "json", "console"] = Field(
        "auto", description="日志格式 | log format; auto = readable on a terminal, else JSON"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="日志级别 | log level"
    )

    @field_validator("data", "mqtt_tls", "immunization_elements")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.absolute() if value else None

    @field_validator("regions", "webhook_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == (_NO_NETWORK,):
            return ()
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text}: 不是网段（如 10.0.0.0/8） / not a network") from error
        return value

    @field_validator("regions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in value:
            try:
                checked_region(code)
            except Invalid as error:
                raise ValueError(f"{code}: 不是六位行政区划代码 / not a GB/T 2260 code") from error
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.owner_database_url and not self.database_url:
            raise ValueError(
                "owner_database_url 须与 database_url 同时给出 / needs database_url beside it"
            )
        if self.platform_url and not (self.platform_app_key and self.platform_secret):
            raise ValueError(
                "platform_url 须与 platform_app_key、platform_secret 同时给出"
                " / needs platform_app_key and platform_secret beside it"
            )
        self._whole_channels()
        if self.ingest_workers > max(1, len(set(self.regions))):
            raise ValueError(
                f"ingest_workers 为 {self.ingest_workers}，regions 须至少列出同样多的地区"
                f" / is {self.ingest_workers}: regions must name at least as many"
            )
        if self.mqtt_shared_account and self.mqtt_tls and self.mqtt_tls_login == "certificate":
            raise ValueError(
                "mqtt_shared_account 没有证书，须用口令登录 / has no certificate:"
                " set mqtt_tls_login to password"
            )
        if self.readings_keep_years is not None and self.readings_keep_years < self.legal_years:
            years = self.legal_years
            raise ValueError(
                f"readings_keep_years 不得少于 {years}（最长有效期加有效期满后的法定年数）"
                f" / at least {years}: the longest shelf life and the years past it"
            )
        return self

    def _whole_channels(self) -> None:
        """Refuse a channel of alerts of which only some is set."""
        sms = ["sms_key_id", "sms_secret", "sms_signature", "sms_template"]
        if self.sms_provider == "tencent":
            sms.append("sms_app")
        for name, others in {"sms_provider": sms, "push_key": ["push_contact"]}.items():
            missing = ", ".join(other for other in others if not getattr(self, other))
            if getattr(self, name) and missing:
                raise ValueError(f"{name} 须与 {missing} 同时给出 / needs {missing} beside it")

    @property
    def legal_years(self) -> int:
        """Years after which the law asks for nothing that a reading speaks of."""
        return self.longest_shelf_life_years + self.records_years_after_expiry


# What pydantic says of a value, in Chinese; {…} are its own facts.
_SENTENCES = {
    "greater_than_equal": "须不小于 {ge}",
    "less_than": "须小于 {lt}",
    "less_than_equal": "须不大于 {le}",
    "int_parsing": "须为整数",
    "bool_parsing": "须为 true 或 false",
    "float_parsing": "须为数字",
    "literal_error": "只能是 {expected}",
    "string_pattern_mismatch": "格式须为 {pattern}",
}


def load(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings. Refusal lists every wrong key in both languages, with where it stands."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = dict(_from_file(environ))
    values.update(_from_environment(environ))
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        zh = "\n".join(_wrong(e, _in_chinese(e)) for e in error.errors())
        en = "\n".join(_wrong(e, e["msg"]) for e in error.errors())
        raise Refusal(f"设置有误：\n{zh}", f"These settings are not acceptable:\n{en}") from error


def _wrong(error: ErrorDetails, sentence: str) -> str:
    name = f"{PREFIX}{str(error['loc'][0]).upper()}: " if error["loc"] else ""
    return f"  {name}{sentence}"


def _in_chinese(error: ErrorDetails) -> str:
    sentence = _SENTENCES.get(error["type"])
    return sentence.format(**error.get("ctx", {})) if sentence else error["msg"]


def secret_names() -> list[str]:
    """Return the settings whose values are secrets."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in sorted(k for k in environ if k.startswith(PREFIX)):
        name = key.removeprefix(PREFIX)
        # `NAME=` with nothing behind it, as compose files leave it, is the same as no NAME.
        if name in _OTHER or name.startswith(_SIMULATORS) or not environ[key]:
            continue
        setting = name.lower()
        if setting in Settings.model_fields:
            yield setting, environ[key]
        elif name.endswith("_FILE") and setting.removesuffix("_file") in secret_names():
            if key.removesuffix("_FILE") in environ:
                raise Refusal(
                    f"{key} 与 {key.removesuffix('_FILE')} 只能给出一个",
                    f"Give either {key} or {key.removesuffix('_FILE')}, not both.",
                )
            yield setting.removesuffix("_file"), _secret_file(key, environ[key])
        else:
            raise _unknown(key, "环境变量", "environment")


def _secret_file(key: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise Refusal(
            f"{key} 指向的文件无法读取：{path}", f"{key}: {path} cannot be read ({error.strerror})."
        ) from error


def _from_file(environ: Mapping[str, str]) -> Mapping[str, Any]:
    named = environ.get(PREFIX + "CONFIG")
    path = Path(named or "vaxtrail.toml")
    if not named and not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"无法读取设置文件 {path}", f"Cannot read {path}.") from error
    except tomllib.TOMLDecodeError as error:
        raise Refusal(f"设置文件 {path} 格式错误：{error}", f"{path} is not TOML.") from error
    for key in values:
        if key not in Settings.model_fields:
            raise _unknown(key, f"文件 {path}", f"file {path}")
    return values


def _unknown(key: str, where_zh: str, where_en: str) -> Refusal:
    return Refusal(
        f"{where_zh}中有未知设置 {key}（运行 vaxtrail config template 可查看全部设置）",
        f"Unknown setting {key} in {where_en}; `vaxtrail config template` lists all.",
    )


def shown(settings: Settings) -> dict[str, str]:
    """Return all values as text, secrets redacted."""
    return {
        name: "********" if isinstance(value, SecretStr) else _toml(value)
        for name, value in settings
    }


def template() -> str:
    """Return a settings file with every setting commented out at its default."""
    lines = ["# Vaxtrail (苗迹) vaxtrail.toml"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else _toml(field.default)
        zh, _, en = str(field.description).partition(" | ")
        lines += ["", f"# {zh}", f"# {en}", f"# {name} = {default}".rstrip()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    match value:
        case tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case None:
            return '""'
        case _:
            return f'"{value}"'


def dsn(value: SecretStr | None) -> str | None:
    """Return the plain text of an optional secret."""
    return value.get_secret_value() if value is not None else None
