"""Short messages of the shape of Aliyun's Dysmsapi (2017-05-25): RPC style, signed by HMAC-SHA1."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import orjson

from alerts.channels.channel import Later, Permanent, Transient
from alerts.channels.sms import Account, Call, Report
from alerts.channels.webhook import refused
from alerts.messages import SHANGHAI

URL = "https://dysmsapi.aliyuncs.com"
_VERSION = "2017-05-25"
# Of this number or this text: no further attempt changes it. All else the operator can mend.
FINAL = frozenset(
    {
        "isv.MOBILE_NUMBER_ILLEGAL",
        "isv.MOBILE_COUNT_OVER_LIMIT",
        "isv.INVALID_PARAMETERS",
        "isv.INVALID_JSON_PARAM",
        "isv.TEMPLATE_MISSING_PARAMETERS",
        "isv.TEMPLATE_PARAMS_ILLEGAL",
        "isv.PARAM_LENGTH_LIMIT",
        "isv.PARAM_NOT_SUPPORT_URL",
        "isv.BLACK_KEY_CONTROL_LIMIT",
    }
)
# Too often to this number, by the stretch that the message names (minute, hour, day), in seconds.
LIMITED = "isv.BUSINESS_LIMIT_CONTROL"
_WAITS = {"天": 3600.0, "小时": 900.0}
_MINUTE_S = 60.0
_WAITING, _FAILED, _DELIVERED = 1, 2, 3


class Aliyun:
    """One account at a provider of this shape."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def sending(self, phone: str, parts: Mapping[str, str], key: str, at: datetime) -> Call:
        """Return the request that sends a message."""
        asked = {
            "PhoneNumbers": phone,
            "SignName": self._account.signature,
            "TemplateCode": self._account.template,
            "TemplateParam": orjson.dumps(parts).decode(),
            "OutId": hashlib.sha256(key.encode()).hexdigest()[:32],
        }
        return self._call("SendSms", asked, at)

    def accepted(self, status: int, answer: bytes) -> str:
        """Return the id under which the provider accepted it."""
        return str(_told(status, answer).get("BizId", ""))

    def asking(self, phone: str, accepted_id: str, sent_at: datetime, at: datetime) -> Call:
        """Return the request that asks what became of a message."""
        asked = {
            "PhoneNumber": phone,
            "BizId": accepted_id,
            "SendDate": sent_at.astimezone(SHANGHAI).strftime("%Y%m%d"),
            "PageSize": "10",
            "CurrentPage": "1",
        }
        return self._call("QuerySendDetails", asked, at)

    def report(self, status: int, answer: bytes, accepted_id: str) -> Report:
        """Return what the provider knows of a message."""
        told = _told(status, answer)
        for one in (told.get("SmsSendDetailDTOs") or {}).get("SmsSendDetailDTO") or ():
            if one["SendStatus"] == _DELIVERED:
                read = datetime.strptime(one["ReceiveDate"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 -- Beijing time, as added here
                return Report(read.replace(tzinfo=SHANGHAI).astimezone(UTC))
            if one["SendStatus"] == _FAILED:
                return Report(failure=str(one.get("ErrCode", "")) or "undelivered")
        return Report()

    def _call(self, action: str, asked: Mapping[str, str], at: datetime) -> Call:
        parameters = {
            **asked,
            "AccessKeyId": self._account.key_id,
            "Action": action,
            "Format": "JSON",
            "RegionId": "cn-hangzhou",
            "SignatureMethod": "HMAC-SHA1",
            "SignatureNonce": uuid4().hex,
            "SignatureVersion": "1.0",
            "Timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Version": _VERSION,
        }
        parameters["Signature"] = signature(self._account.secret, parameters)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Call(self._account.url.rstrip("/") + "/", urlencode(parameters).encode(), headers)


def signature(secret: str, parameters: Mapping[str, str]) -> str:
    """Return the signature of a POST: over its parameters by name, percent-encoded (RFC 3986)."""
    query = "&".join(
        f"{quote(name, safe='~')}={quote(parameters[name], safe='~')}"
        for name in sorted(parameters)
    )
    signed = f"POST&%2F&{quote(query, safe='~')}"
    mac = hmac.digest(f"{secret}&".encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(mac).decode()


def _told(status: int, answer: bytes) -> dict[str, Any]:
    """Return what was answered to a request that was taken; Undelivered for any other."""
    try:
        told: dict[str, Any] = orjson.loads(answer)
        code, said = str(told["Code"]), str(told.get("Message", ""))
    except (ValueError, TypeError, KeyError):
        raise (
            Transient("not an answer of this provider") if status < 400 else refused(status)
        ) from None
    if code == "OK":
        return told
    if code == LIMITED:
        wait = next((seconds for name, seconds in _WAITS.items() if name in said), _MINUTE_S)
        raise Later(f"{code} {said}", wait)
    raise (Permanent if code in FINAL else Transient)(f"{code} {said}")
