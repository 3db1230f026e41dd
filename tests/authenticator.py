"""A security key in software: makes passkeys and signs with them as the specification says, or wrongly on order."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class SecurityKey:
    """One passkey. ``count`` goes up with each signature; ``flags``, ``origin`` and ``rp_id`` may be wrong."""

    origin: str
    rp_id: str
    flags: int = PRESENT | VERIFIED
    count: int = 0
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: str) -> str:
        """What navigator.credentials.create answers."""
        client = self._client("webauthn.create", options)
        numbers = self.key.public_key().public_numbers()
        x, y = (n.to_bytes(32, "big") for n in (numbers.x, numbers.y))
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        data = self._data(ATTESTED) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + public
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer(client, attestationObject=b64(attestation), transports=["usb", "nonsense"])

    def sign(self, options: str) -> str:
        """What navigator.credentials.get answers."""
        self.count += 1
        client, data = self._client("webauthn.get", options), self._data()
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(client, authenticatorData=b64(data), signature=b64(signature))

    def _client(self, act: str, options: str) -> bytes:
        challenge = json.loads(options)["challenge"]
        return json.dumps({"type": act, "challenge": challenge, "origin": self.origin}).encode()

    def _data(self, more: int = 0) -> bytes:
        flags = bytes([self.flags | more])
        return sha256(self.rp_id.encode()).digest() + flags + self.count.to_bytes(4, "big")

    def _answer(self, client: bytes, **response: object) -> str:
        found = {"clientDataJSON": b64(client), **response}
        return json.dumps(
            {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": found}
        )
