"""Who the sandbox is: its account, keys and the signing key of its event webhook."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from messaging.sandbox.settings import SandboxConfig

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Credentials that callers must show, and the keys that sign what the sandbox posts."""

    account_sid: str
    auth_token: str
    sendgrid_key: str
    signing_key: ec.EllipticCurvePrivateKey
    # The second providers
    second_account_sid: str
    second_auth_token: str
    smtp_user: str
    smtp_password: str
    notify_key: str
    notify_sms_template: str
    notify_email_template: str

    @property
    def public_key(self) -> str:
        """The event webhook's key as SendGrid shows it: base64 of DER SubjectPublicKeyInfo."""
        der = self.signing_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()


_SECOND: dict[str, Callable[[], str]] = {
    "second_account_sid": lambda: "AC" + secrets.token_hex(16),
    "second_auth_token": lambda: secrets.token_hex(16),
    "smtp_user": lambda: "relay",
    "smtp_password": lambda: secrets.token_hex(16),
    "notify_key": lambda: f"sandbox-{uuid4()}-{uuid4()}",
    "notify_sms_template": lambda: str(uuid4()),
    "notify_email_template": lambda: str(uuid4()),
}


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step; nobody but the owner may read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    draft.replace(path)


def load(config: SandboxConfig) -> Identity:
    """Credentials from the configuration, else those kept in the state folder, else new ones.

    ValueError names a credential that cannot be used.
    """
    config.state.mkdir(parents=True, exist_ok=True)
    file = config.state / "identity.json"
    kept: dict[str, str] = json.loads(file.read_bytes()) if file.exists() else {}
    chosen = {
        "account_sid": config.account_sid or kept.get("account_sid") or "AC" + secrets.token_hex(16),
        "auth_token": config.auth_token or kept.get("auth_token") or secrets.token_hex(16),
        "sendgrid_key": config.sendgrid_key
        or kept.get("sendgrid_key")
        or f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}",
    } | {name: kept.get(name) or made() for name, made in _SECOND.items()}
    if not _ACCOUNT.fullmatch(chosen["account_sid"]):
        raise ValueError("the account sid must be AC and 32 hexadecimal digits")
    if chosen != kept:
        write_private(file, json.dumps(chosen).encode())
    return Identity(**chosen, signing_key=_signing_key(config.state / "event-webhook.pem"))


def _signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path.name} does not hold an elliptic curve key")
        return key
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return key
