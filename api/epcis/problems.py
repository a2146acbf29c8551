"""Refusals as EPCIS names them: the kind of exception by our code, else by status."""

from __future__ import annotations

from typing import Any

from api.epcis.headers import ALWAYS

PATH = "/epcis"

_OF_STATUS = {
    400: "ValidationException",
    401: "SecurityException",
    403: "SecurityException",
    404: "NoSuchResourceException",
    405: "ImplementationException",
    406: "NotAcceptableException",
    409: "ResourceAlreadyExistsException",
    413: "CaptureLimitExceededException",
    414: "URITooLongException",
    415: "UnsupportedMediaTypeException",
    500: "ImplementationException",
    503: "ImplementationException",
}
# Refusals of queries; what is not here follows from the status.
_OF_CODE = {
    **dict.fromkeys(
        (
            "unknown_parameter",
            "unknown_query_parameter",
            "repeated_query_parameter",
            "bad_query_value",
            "bad_page_token",
            "query_needs_order",
            "query_limits_exclude",
            "bad_as_of",
            "as_of_ahead",
        ),
        "QueryParameterException",
    ),
    "query_too_large": "QueryTooLargeException",
    "query_too_complex": "QueryTooComplexException",
    "bad_query": "QueryValidationException",
    "bad_query_name": "QueryValidationException",
    "unknown_query": "NoSuchNameException",
    "bad_subscription": "SubscriptionControlsException",
}


def kind_of(code: str, status: int) -> str:
    """Return the type of a problem."""
    return f"epcisException:{_OF_CODE.get(code) or _OF_STATUS.get(status, 'ValidationException')}"


def shape(body: dict[str, Any], headers: dict[str, str]) -> int:
    """Give a problem its EPCIS type and status, and the answer the versions in force."""
    if body["status"] in {412, 422, 428}:
        body["status"] = 400  # the standard knows no other
    body["type"] = kind_of(body["code"], body["status"])
    headers.update(ALWAYS)
    return int(body["status"])
