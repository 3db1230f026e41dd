"""Values are encrypted, and found again by digest (design §7).

A value at rest is: key id (1 byte), nonce (12), AES-256-GCM ciphertext and tag. Its purpose (the column it
belongs to) is authenticated with it, so that a value moved to another column does not open. A digest is
HMAC-SHA-256 of kind, NUL and normalised form, under one key for life.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config.settings import Settings

_NONCE = 12
_HEAD = 1 + _NONCE
_TAG = 16
_KEY_BYTES = 32


class CryptoCode(StrEnum):
    """Why a value could not be had."""

    UNKNOWN_KEY = "unknown_key"
    DOES_NOT_OPEN = "does_not_open"
    NO_KEYRING = "no_keyring"


class CryptoError(Exception):
    """A value cannot be decrypted, or there are no keys. ``code`` says which; no secret is in the message."""

    def __init__(self, code: CryptoCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Keyring:
    """The value keys by id, the one that encrypts now, and the index key with its id."""

    __slots__ = ("_ciphers", "_index", "_open", "_prefix", "current", "index_id")

    def __init__(
        self, value_keys: Mapping[int, bytes], current: int, index_key: bytes, index_id: int
    ) -> None:
        """Ids are 1–255, keys are 32 bytes; ValueError otherwise."""
        if current not in value_keys:
            raise ValueError(f"the current key {current} is not among the value keys")
        if any(not 1 <= number <= 255 for number in (*value_keys, index_id)):
            raise ValueError("key ids must be from 1 to 255")
        if any(len(key) != _KEY_BYTES for key in (*value_keys.values(), index_key)):
            raise ValueError(f"keys must be {_KEY_BYTES} bytes")
        self._ciphers = {number: AESGCM(key) for number, key in value_keys.items()}
        self._open = {number: cipher.decrypt for number, cipher in self._ciphers.items()}
        self._prefix = bytes([current])
        self._index = hmac.new(index_key, digestmod=hashlib.sha256)
        self.current = current
        self.index_id = index_id

    @classmethod
    def from_settings(cls, settings: Settings) -> Keyring:
        """The keyring of this process; CryptoError if the settings hold no keys."""
        values, index = settings.value_keys, settings.index_key
        if values is None or index is None:
            raise CryptoError(CryptoCode.NO_KEYRING, "VALUE_KEYS and INDEX_KEY are not set in this process.")
        return cls(values.keys, values.current, index.keys[index.current], index.current)

    def __repr__(self) -> str:
        return f"Keyring(ids={self.ids}, current={self.current}, index_id={self.index_id})"

    @property
    def ids(self) -> list[int]:
        """The ids of the keys that values can be opened with, ascending."""
        return sorted(self._ciphers)

    def encrypt(self, text: str, purpose: str) -> bytes:
        """Encrypt under the current key, for one purpose."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self.current].encrypt(nonce, text.encode(), purpose.encode())
        return self._prefix + nonce + sealed

    def decrypt(self, blob: bytes, purpose: str) -> str:
        """Open one value. CryptoError if its key is unknown, or if it was changed or moved."""
        return self.decrypt_many((blob,), purpose)[0]

    def decrypt_many(self, blobs: Iterable[bytes], purpose: str) -> list[str]:
        """Open many values of one purpose, in their order, about 1 µs each.

        CryptoError at the first that does not open.
        """
        ways, bound = self._open, purpose.encode()
        try:
            return [ways[blob[0]](blob[1:_HEAD], blob[_HEAD:], bound).decode() for blob in blobs]
        except KeyError as error:
            raise CryptoError(
                CryptoCode.UNKNOWN_KEY,
                f"A value was encrypted under key {error.args[0]}, which is not in VALUE_KEYS.",
            ) from None
        except (InvalidTag, IndexError, ValueError):
            raise CryptoError(
                CryptoCode.DOES_NOT_OPEN,
                f"A value does not open as {purpose}: it was changed, cut or moved.",
            ) from None

    def key_id(self, blob: bytes) -> int:
        """The id of the key that a value was encrypted under: what rotation looks for."""
        if len(blob) < _HEAD + _TAG:
            raise CryptoError(CryptoCode.DOES_NOT_OPEN, "A value is too short to be one of ours.")
        return blob[0]

    def digest(self, kind: str, form: str) -> bytes:
        """32 bytes that find a normalised form again without showing it. ``kind`` holds no NUL."""
        if "\0" in kind:
            raise ValueError("a kind of digest may not hold NUL")
        state = self._index.copy()
        state.update(f"{kind}\0{form}".encode())
        return state.digest()


_installed: Keyring | None = None


def install(keyring: Keyring) -> None:
    """Make this the process's keyring: encrypted columns use it."""
    global _installed
    _installed = keyring


def keyring() -> Keyring:
    """The process's keyring; CryptoError if none was installed."""
    if _installed is None:
        raise CryptoError(
            CryptoCode.NO_KEYRING,
            "This process has no keyring: call crypto.install() before reading or writing encrypted columns.",
        )
    return _installed
