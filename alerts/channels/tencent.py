"""Short messages of the shape of Tencent Cloud's SMS (2021-01-11), signed by TC3-HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from alerts.channels.channel import Later, Permanent, Transient
from alerts.channels.sms import PARTS, Account, Call, Report
from alerts.channels.webhook import refused

URL = "https://sms.tencentcloudapi.com"
REGION = "ap-guangzhou"
_VERSION = "2021-01-11"
_ALGORITHM = "TC3-HMAC-SHA256"
_CONTENT_TYPE = "application/json; charset=utf-8"
# Of this number or this text: no further attempt changes it. All else the operator can mend.
FINAL = frozenset(
    {
        "FailedOperation.ContainSensitiveWord",
        "FailedOperation.PhoneNumberInBlacklist",
        "InvalidParameterValue.ContentLengthLimit",
        "InvalidParameterValue.IncorrectPhoneNumber",
        "InvalidParameterValue.ProhibitedUseUrlInTemplateParameter",
        "InvalidParameterValue.TemplateParameterFormatError",
        "InvalidParameterValue.TemplateParameterLengthLimit",
        "UnsupportedOperation.ContainDomesticAndInternationalPhoneNumber",
    }
)
# Too often, with the seconds to wait.
TOO_OFTEN: Mapping[str, float] = {
    "LimitExceeded.PhoneNumberThirtySecondLimit": 30.0,
    "LimitExceeded.PhoneNumberOneHourLimit": 900.0,
    "LimitExceeded.PhoneNumberDailyLimit": 3600.0,
    "LimitExceeded.PhoneNumberSameContentDailyLimit": 3600.0,
    "LimitExceeded.AppDailyLimit": 3600.0,
    "LimitExceeded.DeliveryFrequencyLimit": 30.0,
    "RequestLimitExceeded": 1.0,
}
# Reports are asked for from so long before the message was sent.
_BEFORE = timedelta(minutes=1)


class Tencent:
    """One account at a provider of this shape."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._host = httpx.URL(account.url).netloc.decode()

    def sending(self, phone: str, parts: Mapping[str, str], key: str, at: datetime) -> Call:
        """Return the request that sends a message."""
        asked = {
            "PhoneNumberSet": [f"+86{phone}"],
            "SmsSdkAppId": self._account.app,
            "SignName": self._account.signature,
            "TemplateId": self._account.template,
            "TemplateParamSet": [parts[name] for name in PARTS],
            "SessionContext": hashlib.sha256(key.encode()).hexdigest()[:32],
        }
        return self._call("SendSms", asked, at)

    def accepted(self, status: int, answer: bytes) -> str:
        """Return the id under which the provider accepted it."""
        sent: dict[str, Any] = (_told(status, answer).get("SendStatusSet") or [{}])[0]
        if sent.get("Code") != "Ok":
            raise _failure(str(sent.get("Code")), str(sent.get("Message", "")))
        return str(sent.get("SerialNo", ""))

    def asking(self, phone: str, accepted_id: str, sent_at: datetime, at: datetime) -> Call:
        """Return the request that asks what became of a message."""
        asked = {
            "BeginTime": int((sent_at - _BEFORE).timestamp()),
            "Offset": 0,
            "Limit": 100,
            "PhoneNumber": f"+86{phone}",
            "SmsSdkAppId": self._account.app,
        }
        return self._call("PullSmsSendStatusByPhoneNumber", asked, at)

    def report(self, status: int, answer: bytes, accepted_id: str) -> Report:
        """Return what the provider knows of a message."""
        for one in _told(status, answer).get("PullSmsSendStatusSet") or ():
            if one["SerialNo"] == accepted_id:
                if one["ReportStatus"] == "SUCCESS":
                    return Report(datetime.fromtimestamp(int(one["UserReceiveTime"]), UTC))
                return Report(failure=str(one.get("Description", "")) or "undelivered")
        return Report()

    def _call(self, action: str, asked: Mapping[str, object], at: datetime) -> Call:
        body = orjson.dumps(asked)
        account, seconds = self._account, int(at.timestamp())
        signed = signature(account.secret, self._host, body, seconds)
        credential = f"{account.key_id}/{_day(seconds)}/sms/tc3_request"
        headers = {
            "Authorization": f"{_ALGORITHM} Credential={credential},"
            f" SignedHeaders=content-type;host, Signature={signed}",
            "Content-Type": _CONTENT_TYPE,
            "X-TC-Action": action,
            "X-TC-Version": _VERSION,
            "X-TC-Timestamp": str(seconds),
            "X-TC-Region": REGION,
        }
        return Call(account.url.rstrip("/") + "/", body, headers)


def signature(secret: str, host: str, body: bytes, seconds: int) -> str:
    """Return the signature of a POST to "/" of a host at a time (Unix seconds), in hex."""
    day = _day(seconds)
    headers = f"content-type:{_CONTENT_TYPE}\nhost:{host}\n"
    request = f"POST\n/\n\n{headers}\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{seconds}\n{day}/sms/tc3_request\n{digest}"
    key = f"TC3{secret}".encode()
    for part in (day, "sms", "tc3_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _told(status: int, answer: bytes) -> dict[str, Any]:
    """Return what was answered to a request that was taken; Undelivered for any other."""
    try:
        told: dict[str, Any] = orjson.loads(answer)["Response"]
        error = told.get("Error")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise (
            Transient("not an answer of this provider") if status < 400 else refused(status)
        ) from None
    if error:
        raise _failure(str(error.get("Code")), str(error.get("Message", "")))
    return told


def _failure(code: str, said: str) -> Permanent | Transient:
    if code in TOO_OFTEN:
        return Later(f"{code} {said}", TOO_OFTEN[code])
    return (Permanent if code in FINAL else Transient)(f"{code} {said}")
