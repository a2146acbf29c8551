"""Rows of immunizations as FHIR resources, in the shape of R5 and of R4B. Plain dicts.

No personal data: a person is the identifier of a pseudonym, masked for those who may not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

R5, R4B = "R5", "R4B"
VERSIONS = {R5: "5.0.0", R4B: "4.3.0"}
PRODUCT, CODE, LOT, PERSON, SITE, FACT, NOT_GIVEN = (
    f"urn:vaxtrail:{name}"
    for name in ("product", "code", "lot", "pseudonym", "site", "fact", "not-given")
)
_FUNDING = "http://terminology.hl7.org/CodeSystem/immunization-funding-source"
_SUBPOTENT = "http://terminology.hl7.org/CodeSystem/immunization-subpotent-reason"
_FUNCTION = "http://terminology.hl7.org/CodeSystem/v2-0443"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_UCUM = "http://unitsofmeasure.org"
_FUNDED = {"programme": ("public", "免疫规划"), "private": ("private", "非免疫规划（自费）")}
# Causes of a dose not given, in FHIR's words where it has one.
_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_NOT_DONE = {
    "refused": ("PATOBJ", "受种者或监护人拒绝"),
    "contraindicated": ("MEDPREC", "接种禁忌"),
    "ill": ("MEDPREC", "患病暂缓"),
    "immune": ("IMMUNE", "已有免疫"),
    "absent": ("", "未到场"),
    "no_stock": ("OSTOCK", "无疫苗"),
    "vial_unfit": ("", "疫苗不可用"),
    "other": ("", "其他"),
}
# Kinds of finding that make a dose doubtful, in FHIR's words.
_WHY = {
    "USE_AFTER_EXCURSION": ("coldchainbreak", "超温后使用"),
    "OPEN_VIAL_OVERRUN": ("adversestorage", "开瓶超时"),
    "EXPIRED_USE": ("expired", "过期使用"),
}

Json = dict[str, Any]


def immunization(row: Mapping[str, Any], release: str, *, people: bool) -> Json:
    """Return a dose as an Immunization; `people`: pseudonyms may be shown."""
    said = row["said"]
    found: Json = {
        "resourceType": "Immunization",
        "id": str(row["id"]),
        "meta": {"versionId": _version(row), "lastUpdated": instant(row["changed_at"])},
        "extension": [{"url": CODE, "valueString": row["code"]}] if row["code"] else [],
        "identifier": [{"system": FACT if row["done"] else NOT_GIVEN, "value": row["fact_id"]}],
        **_status(row),
        "vaccineCode": _vaccine(row),
        "patient": _person(row["recipient"], people=people),
        "occurrenceDateTime": instant(row["given_at"]),
        "primarySource": True,
        "note": [{"text": said.get("note")}] if said.get("note") else [],
        "lotNumber": row["lot_number"],
        "expirationDate": None if row["expires_on"] is None else row["expires_on"].isoformat(),
        "location": {
            "identifier": {"system": SITE, "value": row["site_id"]},
            "display": row["site"],
        },
        "site": _text(said.get("body_site")),
        "route": _text(said.get("route")),
        "doseQuantity": _millilitres(said.get("dose_ml")),
        "performer": _performers(said, people=people),
        "fundingSource": _funding(said, row),
        **_doubts(row),
    }
    found |= _of_r5(row) if release == R5 else _of_r4b(row)
    return dict(cleaned(found))


def _version(row: Mapping[str, Any]) -> str:
    return "2" if row["withdrawn"] else "1"


def _status(row: Mapping[str, Any]) -> Json:
    """Return the status; whoever was to be vaccinated and was not, with the reason why."""
    state = "entered-in-error" if row["withdrawn"] else "completed" if row["done"] else "not-done"
    if row["done"]:
        return {"status": state}
    code, text = _NOT_DONE[row["said"]["cause"]]
    coding = [{"system": _REASON, "code": code}] if code else []
    return {"status": state, "statusReason": {"coding": coding, "text": text}}


def _vaccine(row: Mapping[str, Any]) -> Json:
    product_id = row["product_id"]
    coding = [{"system": PRODUCT, "code": product_id, "display": row["product"]}]
    text = row["product"] or "未登记的疫苗 / vaccine not registered"
    return {"coding": coding if product_id else None, "text": text}


def _person(recipient: str, *, people: bool) -> Json:
    if recipient and people:
        return {"identifier": {"system": PERSON, "value": recipient}}
    why = "masked" if recipient else "unknown"
    return {"extension": [{"url": _ABSENT, "valueCode": why}]}


def _performers(said: Mapping[str, Any], *, people: bool) -> list[Json]:
    if not said.get("vaccinator") or not people:
        return []
    actor = {"identifier": {"system": PERSON, "value": said["vaccinator"]}}
    return [{"function": {"coding": [{"system": _FUNCTION, "code": "AP"}]}, "actor": actor}]


def _funding(said: Mapping[str, Any], row: Mapping[str, Any]) -> Json | None:
    programme = {True: "programme", False: "private", None: ""}[row["programme"]]
    known = _FUNDED.get(said.get("funding") or programme)
    if known is None:
        return None
    return {"coding": [{"system": _FUNDING, "code": known[0]}], "text": known[1]}


def _doubts(row: Mapping[str, Any]) -> Json:
    why = [_WHY[kind] for kind in row["spoilt"] if kind in _WHY]
    if not why:
        return {}
    reasons = [{"coding": [{"system": _SUBPOTENT, "code": c}], "text": text} for c, text in why]
    return {"isSubpotent": True, "subpotentReason": reasons}


def _of_r5(row: Mapping[str, Any]) -> Json:
    said = row["said"]
    maker = row["holder"]
    return {
        "administeredProduct": {
            "reference": {
                "type": "Medication",
                "identifier": {"system": CODE, "value": row["code"]},
                "display": row["product"],
            }
        }
        if row["code"]
        else None,
        "manufacturer": {"reference": {"display": maker}} if maker else None,
        "reaction": [
            {
                "date": reaction.get("onset_at"),
                "manifestation": {"concept": {"text": _signs(reaction)}},
            }
            for reaction in row["reactions"]
        ],
        "protocolApplied": [
            {
                "doseNumber": str(said["series_dose"]),
                "seriesDoses": str(said["series_doses"]) if said.get("series_doses") else None,
            }
        ]
        if said.get("series_dose")
        else [],
    }


def _of_r4b(row: Mapping[str, Any]) -> Json:
    said = row["said"]
    maker = row["holder"]
    return {
        "recorded": instant(row["recorded_at"]),
        "manufacturer": {"display": maker} if maker else None,
        "reaction": [
            {"date": reaction.get("onset_at"), "detail": {"display": _signs(reaction)}}
            for reaction in row["reactions"]
        ],
        "protocolApplied": [
            {
                "doseNumberPositiveInt": said["series_dose"],
                "seriesDosesPositiveInt": said.get("series_doses"),
            }
        ]
        if said.get("series_dose")
        else [],
    }


def _signs(reaction: Mapping[str, Any]) -> str:
    return "、".join(reaction.get("signs") or ()) or "AEFI"


def _text(value: str | None) -> Json | None:
    return {"text": value} if value else None


def _millilitres(value: float | None) -> Json | None:
    if value is None:
        return None
    return {"value": value, "unit": "mL", "system": _UCUM, "code": "mL"}


def bundle(resources: Sequence[Json], *, base: str, own: str, following: str | None) -> Json:
    """Return a page of a search; `base`: address of the release, `own`, `following`: of pages."""
    links = [{"relation": "self", "url": own}]
    if following is not None:
        links.append({"relation": "next", "url": following})
    entries = [
        {
            "fullUrl": f"{base}/Immunization/{resource['id']}",
            "resource": resource,
            "search": {"mode": "match"},
        }
        for resource in resources
    ]
    found = {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}
    return dict(cleaned(found))


SEARCH = {
    "_id": "token",
    "_lastUpdated": "date",
    "date": "date",
    "lot-number": "string",
    "patient": "reference",
    "status": "token",
}


def capabilities(release: str, *, base: str, at: datetime) -> Json:
    """Return what this server can do in a release."""
    parameters = [{"name": name, "type": kind} for name, kind in SEARCH.items()]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(at),
        "kind": "instance",
        "fhirVersion": VERSIONS[release],
        "format": ["application/fhir+json"],
        "software": {"name": "Vaxtrail"},
        "implementation": {"description": "Vaxtrail 苗迹", "url": base},
        "rest": [
            {
                "mode": "server",
                "security": {"description": "Authorization: Bearer <API key>"},
                "resource": [
                    {
                        "type": "Immunization",
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "versioning": "no-version",
                        "searchParam": parameters,
                    }
                ],
            }
        ],
    }


_ISSUES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    500: "exception",
    503: "transient",
}


def outcome(status: int, *, code: str, detail: str) -> Json:
    """Return a refusal."""
    severity = "fatal" if status >= 500 else "error"
    issue = {
        "severity": severity,
        "code": _ISSUES.get(status, "invalid"),
        "details": {"coding": [{"system": "urn:vaxtrail:problem", "code": code}], "text": detail},
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def instant(moment: datetime) -> str:
    """Return a time as FHIR writes an instant."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cleaned(value: Any) -> Any:
    """Return JSON without what is empty: FHIR knows neither null nor empty lists nor texts."""
    if isinstance(value, dict):
        inner = {name: cleaned(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if one not in (None, "", [], {})}
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    return value
