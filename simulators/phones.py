"""Providers of short messages, of the shapes of Aliyun and Tencent: signatures, templates, reports.

A text goes out as the provider's template says, with the signature before it, and is one message of
70 characters or none at all. A phone has it two seconds later, unless it is off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, quote

Json = dict[str, Any]
Sent = tuple[str, str]  # phone, text
Answer = tuple[int, Json, Sent | None]

BEIJING = timezone(timedelta(hours=8))
DELAY_S = 2
PART_MAX = 70
VARIABLE_MAX = 35
NAMES = ("what", "place", "state", "since", "number")
TEMPLATE = "{what}：{place}，{state}，{since}，编号{number}，请查看"
_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_ALGORITHM = "TC3-HMAC-SHA256"


@dataclass
class Phones:
    """What one provider knows: its customer, and what it sent when (Unix seconds)."""

    key_id: str = "key-of-this-machine"
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    signature: str = "石嘴山疾控"
    template: str = "SMS_100000001"
    app: str = "1400000001"
    off: set[str] = field(default_factory=set)  # phones that get nothing
    sent: dict[str, tuple[str, str, float]] = field(default_factory=dict)  # by id: phone, text, at
    nonces: set[str] = field(default_factory=set)

    def answer(self, headers: dict[str, str], body: bytes, now: float, fault: str | None) -> Answer:
        """Answer a call of either shape; `fault`: refuse, busy or None."""
        if "x-tc-action" in headers:
            return self._tencent(headers, body, now, fault)
        return self._aliyun(dict(parse_qsl(body.decode())), now, fault)

    def _aliyun(self, asked: dict[str, str], now: float, fault: str | None) -> Answer:
        wrong = self._aliyun_refused(asked, now)
        if wrong:
            return 400, {"Code": wrong, "Message": wrong, "RequestId": "R"}, None
        if asked["Action"] == "QuerySendDetails":
            return 200, self._aliyun_details(asked, now), None
        phone = asked["PhoneNumbers"]
        if fault == "busy":
            said = {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发分钟级流控Permits:1"}
            return 200, {**said, "RequestId": "R", "code": 1}, None
        if fault == "refuse" or not _MOBILE.fullmatch(phone):
            said = {
                "Code": "isv.MOBILE_NUMBER_ILLEGAL",
                "Message": f"{phone} invalid mobile number",
            }
            return 200, {**said, "RequestId": "R", "code": 1}, None
        parts = json.loads(asked["TemplateParam"])
        wrong, text = self._composed([str(parts.get(name, "")) for name in NAMES])
        if wrong or asked["SignName"] != self.signature or asked["TemplateCode"] != self.template:
            code = wrong or "isv.SMS_TEMPLATE_ILLEGAL"
            return 200, {"Code": code, "Message": code, "RequestId": "R", "code": 1}, None
        accepted_id = self._keep(phone, text, now)
        return 200, {"Code": "OK", "Message": "OK", "BizId": accepted_id}, (phone, text)

    def _aliyun_refused(self, asked: dict[str, str], now: float) -> str:
        given = asked.pop("Signature", "")
        query = "&".join(f"{_quoted(name)}={_quoted(asked[name])}" for name in sorted(asked))
        signed = f"POST&{_quoted('/')}&{_quoted(query)}"
        mac = hmac.digest(f"{self.secret}&".encode(), signed.encode(), hashlib.sha1)
        at = datetime.fromisoformat(asked.get("Timestamp", "1970-01-01T00:00:00Z"))
        if asked.get("AccessKeyId") != self.key_id:
            return "InvalidAccessKeyId.NotFound"
        if not hmac.compare_digest(base64.b64encode(mac).decode(), given):
            return "SignatureDoesNotMatch"
        if abs(now - at.timestamp()) > 900:
            return "InvalidTimeStamp.Expired"
        if asked.get("SignatureNonce", "") in self.nonces | {""}:
            return "SignatureNonceUsed"
        self.nonces.add(asked["SignatureNonce"])
        return ""

    def _aliyun_details(self, asked: dict[str, str], now: float) -> Json:
        known = self.sent.get(asked["BizId"])
        details: list[Json] = []
        if known and asked["SendDate"] == f"{datetime.fromtimestamp(known[2], BEIJING):%Y%m%d}":
            phone, text, at = known
            had = datetime.fromtimestamp(at + DELAY_S, BEIJING)
            status = 2 if phone in self.off else 3 if now >= at + DELAY_S else 1
            details.append(
                {
                    "PhoneNum": phone,
                    "Content": text,
                    "SendStatus": status,
                    "ErrCode": {1: "", 2: "MOBILE_NOT_ON_SERVICE", 3: "DELIVERED"}[status],
                    "ReceiveDate": f"{had:%Y-%m-%d %H:%M:%S}" if status == 3 else "",
                }
            )
        found = {"SmsSendDetailDTO": details}
        return {"Code": "OK", "Message": "OK", "SmsSendDetailDTOs": found}

    def _tencent(
        self, headers: dict[str, str], body: bytes, now: float, fault: str | None
    ) -> Answer:
        wrong = self._tencent_refused(headers, body, now)
        if wrong:
            error = {"Code": wrong, "Message": wrong}
            return 200, {"Response": {"Error": error, "RequestId": "R"}, "code": 1}, None
        asked = json.loads(body)
        if headers["x-tc-action"] == "PullSmsSendStatusByPhoneNumber":
            found = self._tencent_details(asked, now)
            return 200, {"Response": {"PullSmsSendStatusSet": found, "RequestId": "R"}}, None
        (number,) = asked["PhoneNumberSet"]
        phone = number.removeprefix("+86")
        wrong, text = self._composed(asked["TemplateParamSet"])
        if fault == "busy":
            wrong = "LimitExceeded.PhoneNumberThirtySecondLimit"
        elif fault == "refuse" or not _MOBILE.fullmatch(phone):
            wrong = "InvalidParameterValue.IncorrectPhoneNumber"
        elif asked["SmsSdkAppId"] != self.app or asked["TemplateId"] != self.template:
            wrong = "FailedOperation.TemplateIncorrectOrUnapproved"
        if wrong:
            status = {"Code": wrong, "Message": f"{number}: {wrong}", "SerialNo": ""}
            return 200, {"Response": {"SendStatusSet": [status], "RequestId": "R"}, "code": 1}, None
        serial = self._keep(phone, text, now)
        status = {
            "Code": "Ok",
            "Message": "send success",
            "SerialNo": serial,
            "PhoneNumber": number,
        }
        return 200, {"Response": {"SendStatusSet": [status], "RequestId": "R"}}, (phone, text)

    def _tencent_refused(self, headers: dict[str, str], body: bytes, now: float) -> str:
        stamp = headers.get("x-tc-timestamp", "0")
        day = f"{datetime.fromtimestamp(int(stamp), UTC):%Y-%m-%d}"
        scope = f"{day}/sms/tc3_request"
        canonical = "\n".join(
            (
                "POST",
                "/",
                "",
                f"content-type:{headers['content-type']}",
                f"host:{headers['host']}",
                "",
                "content-type;host",
                hashlib.sha256(body).hexdigest(),
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = b"TC3" + self.secret.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), hashlib.sha256)
        text = "\n".join((_ALGORITHM, stamp, scope, digest))
        signed = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        wanted = (
            f"{_ALGORITHM} Credential={self.key_id}/{scope}, "
            f"SignedHeaders=content-type;host, Signature={signed}"
        )
        if abs(now - int(stamp)) > 300:
            return "AuthFailure.SignatureExpire"
        if not hmac.compare_digest(wanted, headers.get("authorization", "")):
            return "AuthFailure.SignatureFailure"
        right = headers.get("x-tc-version") == "2021-01-11" and "x-tc-region" in headers
        return "" if right else "MissingParameter"

    def _tencent_details(self, asked: Json, now: float) -> list[Json]:
        return [
            {
                "SerialNo": serial,
                "PhoneNumber": f"+86{phone}",
                "ReportStatus": "FAIL" if phone in self.off else "SUCCESS",
                "Description": "UNDELIV" if phone in self.off else "DELIVRD",
                "UserReceiveTime": int(at + DELAY_S),
            }
            for serial, (phone, _, at) in self.sent.items()
            if f"+86{phone}" == asked["PhoneNumber"]
            and now >= at + DELAY_S
            and at >= asked["BeginTime"]
        ]

    def _composed(self, parts: list[str]) -> tuple[str, str]:
        """Return what is wrong with the parts of a message, or nothing and its text."""
        if len(parts) != len(NAMES) or not all(parts):
            return "isv.TEMPLATE_MISSING_PARAMETERS", ""
        if max(map(len, parts)) > VARIABLE_MAX or any(mark in "".join(parts) for mark in "【】"):
            return "isv.PARAM_LENGTH_LIMIT", ""
        text = f"【{self.signature}】" + TEMPLATE.format(**dict(zip(NAMES, parts, strict=True)))
        too_long = len(text.encode("utf-16-le")) // 2 > PART_MAX
        return ("isv.PARAM_LENGTH_LIMIT" if too_long else ""), text

    def _keep(self, phone: str, text: str, now: float) -> str:
        accepted_id = f"{len(self.sent) + 1:012d}^0"
        self.sent[accepted_id] = (phone, text, now)
        return accepted_id


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
