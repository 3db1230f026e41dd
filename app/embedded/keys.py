"""The keys of an embedded installation: made once, kept in one file for this user alone."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.embedded.state import write_private

KEYS = "keys"
_KEY_BYTES = 32


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def ensure_keys(local_dir: Path) -> dict[str, str]:
    """The keys under the names of their settings (VALUE_KEYS, SEAL_KEY and so on), made if missing.

    Losing the file loses every encrypted value: it is as precious as the database beside it.
    """
    local_dir.mkdir(parents=True, exist_ok=True)
    path = local_dir / KEYS
    with (local_dir / "keys.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, json.dumps(_fresh(), indent=1))
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return found


def _fresh() -> dict[str, str]:
    seal = Ed25519PrivateKey.generate()
    return {
        "VALUE_KEYS": f"1:{_encoded(secrets.token_bytes(_KEY_BYTES))}",
        "INDEX_KEY": f"1:{_encoded(secrets.token_bytes(_KEY_BYTES))}",
        "LINK_KEYS": f"1:{_encoded(secrets.token_bytes(_KEY_BYTES))}",
        "SEAL_KEY": _encoded(seal.private_bytes_raw()),
        "SEAL_PUBLIC_KEY": _encoded(seal.public_key().public_bytes_raw()),
    }
