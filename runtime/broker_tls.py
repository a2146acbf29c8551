"""A private certificate authority for the broker and its gateways.

The folder holds `ca.crt`, `ca.key`; `broker.crt|key`, which the broker shows; `own.crt|key`, with
which our own processes log in. A gateway's certificate names it as CN and its issue as OU: brokers
grant to the whole subject, so a new certificate puts the one before it out of use without a
revocation list. Keys are P-256, written unencrypted with mode 0600.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from runtime.broker_access import SERVER
from runtime.folder import write_private
from runtime.refusal import Refusal

CA_YEARS, LEAF_YEARS = 20, 5
RENEW_DAYS = 60  # `vaxtrail doctor` asks for new ones this long before
YEAR = timedelta(days=365)
EARLIER = timedelta(days=1)  # clocks of gateways may be behind
BROKER_FILES = ("ca.crt", "broker.crt", "broker.key")


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption at the broker: its folder, and whether clients log in by certificate."""

    folder: Path
    certificates: bool

    def load(self) -> dict[str, str]:
        """Return the broker's files by name. Refusal when one is missing, spoilt or of another."""
        missing = [name for name in BROKER_FILES if not (self.folder / name).is_file()]
        if missing:
            listed = ", ".join(missing)
            raise Refusal(
                f"{self.folder} 中缺少 {listed}；请运行 vaxtrail tls init（VAXTRAIL_MQTT_TLS）",
                f"{self.folder} has no {listed}: run `vaxtrail tls init` (VAXTRAIL_MQTT_TLS).",
            )
        try:
            found = {name: (self.folder / name).read_text() for name in BROKER_FILES}
            _, certificate, key = _parsed(found)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: a locked key
            why = str(error).splitlines()[0]
            raise Refusal(
                f"{self.folder} 中的证书或密钥无法使用（{why}）；请改正，或运行 vaxtrail tls init",
                f"A certificate or key in {self.folder} cannot be used ({why}): mend it, or run "
                "`vaxtrail tls init`.",
            ) from error
        if certificate.public_key() != key.public_key():
            raise Refusal(
                f"{self.folder} 中的 broker.crt 与 broker.key 不是一对；请改正，"
                "或运行 vaxtrail tls init",
                f"broker.crt and broker.key in {self.folder} do not belong together: mend it, or "
                "run `vaxtrail tls init`.",
            )
        return found

    @property
    def query(self) -> str:
        """The part of an mqtts address that tells our own processes which files to use."""
        files = {"ca": "ca.crt"}
        if self.certificates:
            files |= {"cert": "own.crt", "key": "own.key"}
        return urlencode({name: self.folder / file for name, file in files.items()})


@dataclass(frozen=True, slots=True)
class Issued:
    """A client certificate and its key as PEM; its subject as brokers name it; its end."""

    certificate: str
    key: str
    subject: str
    expires: datetime


def init(folder: Path, hosts: list[str], now: datetime) -> None:
    """Make the authority where there is none, and new certificates of the broker and of us.

    `hosts` are names and addresses, besides this machine's loopback, under which clients reach it.
    """
    for place in (folder.parent, folder):  # both, as it lies beside the other secrets
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "ca.key").exists():
        _make_authority(folder, now)
    alternatives = [_alternative(host) for host in ("localhost", "127.0.0.1", *hosts)]
    _write(folder, "broker", _issue(folder, _name("broker"), now, Usage.SERVER_AUTH, alternatives))
    _write(folder, "own", _issue(folder, _name(SERVER), now, Usage.CLIENT_AUTH))


def issue(folder: Path, gateway_id: str, now: datetime) -> Issued:
    """Return a new client certificate of a gateway. Refusal without an authority."""
    if not (folder / "ca.key").exists():
        raise Refusal(
            f"{folder} 中没有证书颁发机构；请先运行 vaxtrail tls init",
            f"There is no certificate authority in {folder}: run `vaxtrail tls init` first.",
        )
    return _issue(folder, _name(gateway_id, secrets.token_hex(4)), now, Usage.CLIENT_AUTH)


def expires(certificate: Path) -> datetime:
    """Return when a certificate ends."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def _parsed(files: dict[str, str]) -> tuple[x509.Certificate, x509.Certificate, Any]:
    """Return authority, certificate and key of the broker. ValueError, TypeError when none."""
    ca, certificate, key = (files[name].encode() for name in BROKER_FILES)
    return (
        x509.load_pem_x509_certificates(ca)[0],
        x509.load_pem_x509_certificates(certificate)[0],
        serialization.load_pem_private_key(key, None),
    )


def _make_authority(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Vaxtrail {secrets.token_hex(4)}")
    made = (
        _certificate(name, name, key.public_key(), now, CA_YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder, "ca", Issued(_pem(made), _key_pem(key), "", made.not_valid_after_utc))


def _issue(
    folder: Path,
    name: x509.Name,
    now: datetime,
    usage: x509.ObjectIdentifier,
    alternatives: list[x509.GeneralName] | None = None,
) -> Issued:
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signing = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(signing, ec.EllipticCurvePrivateKey):
        raise Refusal(f"{folder}/ca.key 不是本程序生成的密钥", f"{folder}/ca.key is not ours.")
    key = ec.generate_private_key(ec.SECP256R1())
    making = (
        _certificate(name, authority.subject, key.public_key(), now, LEAF_YEARS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if alternatives:
        making = making.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = making.sign(signing, hashes.SHA256())
    subject = made.subject.rfc4514_string()
    return Issued(_pem(made), _key_pem(key), subject, made.not_valid_after_utc)


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    years: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + years * YEAR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, issue_id: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if issue_id:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, issue_id))
    return x509.Name(parts)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _write(folder: Path, name: str, issued: Issued) -> None:
    write_private(folder / f"{name}.key", issued.key)
    write_private(folder / f"{name}.crt", issued.certificate)
