"""Which channels an instance offers: those that its operator has set up.

Webhooks and sirens need nothing beside what every instance has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alerts.channels import aliyun, tencent
from alerts.channels.aliyun import Aliyun
from alerts.channels.channel import Ask, Channel
from alerts.channels.email import Email, Smtp
from alerts.channels.push import Push, Vapid
from alerts.channels.robots import KINDS
from alerts.channels.sms import Account, Provider, Sms
from alerts.channels.tencent import Tencent

# What each channel needs to be set, by name; none: it is always there.
NEEDS: Mapping[str, str] = {
    "email": "VAXTRAIL_SMTP_URL",
    "sms": "VAXTRAIL_SMS_PROVIDER",
    "wecom": "VAXTRAIL_WECOM_URL",
    "dingtalk": "VAXTRAIL_DINGTALK_URL",
    "feishu": "VAXTRAIL_FEISHU_URL",
    "push": "VAXTRAIL_PUSH_KEY",
    "webhook": "",
    "siren": "",
}
# Providers of short messages, by the shape of their interface, and where they are.
SHAPES: Mapping[str, type[Aliyun] | type[Tencent]] = {"aliyun": Aliyun, "tencent": Tencent}
URLS = {"aliyun": aliyun.URL, "tencent": tencent.URL}


@dataclass(frozen=True, slots=True)
class Offer:
    """What was set up. `shape`: of the provider of short messages; `robots`: base addresses."""

    smtp: Smtp | None = None
    shape: str = ""
    account: Account | None = None
    robots: Mapping[str, str] = field(default_factory=dict)
    vapid: Vapid | None = None

    @property
    def channels(self) -> frozenset[str]:
        """Return the names of the channels there are."""
        given = {"email": self.smtp, "sms": self.account, "push": self.vapid, **self.robots}
        return frozenset(name for name, need in NEEDS.items() if not need or given.get(name))

    def opened(self, ask: Ask) -> dict[str, Channel]:
        """Return the channels that need settings, ready to send by a way to call web addresses."""
        channels: dict[str, Channel] = {
            name: KINDS[name](url, ask) for name, url in self.robots.items() if url
        }
        if self.smtp is not None:
            channels["email"] = Email(self.smtp)
        if self.account is not None:
            provider: Provider = SHAPES[self.shape](self.account)
            channels["sms"] = Sms(provider, self.account, ask)
        if self.vapid is not None:
            channels["push"] = Push(self.vapid, ask)
        return channels
