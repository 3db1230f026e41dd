from __future__ import annotations

import base64
import hashlib
import hmac
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import crypto
from app.crypto import CryptoCode, CryptoError, Keyring
from config.settings import Settings

OLD, NEW, INDEX = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
RING = Keyring({1: OLD, 2: NEW}, 2, INDEX, 1)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(words, words)
def test_what_is_encrypted_opens_again(text: str, purpose: str) -> None:
    assert RING.decrypt(RING.encrypt(text, purpose), purpose) == text


@given(words, words, words)
def test_a_value_moved_to_another_purpose_does_not_open(text: str, purpose: str, other: str) -> None:
    if purpose == other:
        return
    with pytest.raises(CryptoError) as caught:
        RING.decrypt(RING.encrypt(text, purpose), other)
    assert caught.value.code is CryptoCode.DOES_NOT_OPEN


@given(words, st.data())
def test_a_changed_or_cut_value_does_not_open(text: str, data: st.DataObject) -> None:
    blob = bytearray(RING.encrypt(text, "p"))
    if data.draw(st.booleans()):
        blob = blob[: data.draw(st.integers(0, len(blob) - 1))]
    else:
        blob[data.draw(st.integers(1, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CryptoError):
        RING.decrypt(bytes(blob), "p")


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused_with_a_code(blob: bytes) -> None:
    with pytest.raises(CryptoError):
        RING.decrypt(blob, "p")


def test_the_same_text_never_looks_the_same_twice() -> None:
    assert RING.encrypt("a", "p") != RING.encrypt("a", "p")


def test_a_new_key_takes_over_and_the_old_values_still_open() -> None:
    before = Keyring({1: OLD}, 1, INDEX, 1).encrypt("kept", "p")
    assert RING.decrypt(before, "p") == "kept"
    assert (RING.key_id(before), RING.key_id(RING.encrypt("new", "p"))) == (1, 2)


def test_a_value_under_a_key_we_lack_says_which() -> None:
    with pytest.raises(CryptoError, match="under key 2, which is not in VALUE_KEYS") as caught:
        Keyring({1: OLD}, 1, INDEX, 1).decrypt(RING.encrypt("x", "p"), "p")
    assert caught.value.code is CryptoCode.UNKNOWN_KEY


def test_many_open_in_their_order() -> None:
    texts = [f"someone.{n}@wards.example" for n in range(100)]
    assert RING.decrypt_many([RING.encrypt(text, "p") for text in texts], "p") == texts
    assert RING.decrypt_many([], "p") == []


def test_a_digest_is_hmac_sha_256_of_kind_nul_and_form() -> None:
    expected = hmac.new(INDEX, b"email\0caf\xc3\xa9@wards.example", hashlib.sha256).digest()
    assert RING.digest("email", "café@wards.example") == expected
    assert RING.digest("email", "café@wards.example") == expected
    assert RING.digest("phone", "café@wards.example") != expected
    with pytest.raises(ValueError, match="NUL"):
        RING.digest("e\0mail", "x")


@pytest.mark.parametrize(
    ("keys", "current", "index", "index_id"),
    [({1: OLD}, 2, INDEX, 1), ({0: OLD}, 0, INDEX, 1), ({1: b"short"}, 1, INDEX, 1), ({1: OLD}, 1, b"", 1)],
)
def test_a_wrong_keyring_is_refused(
    keys: dict[int, bytes], current: int, index: bytes, index_id: int
) -> None:
    with pytest.raises(ValueError, match="key"):
        Keyring(keys, current, index, index_id)


def test_no_key_shows_in_repr() -> None:
    shown = repr(RING)
    assert "1, 2" in shown
    assert not any(repr(key) in shown or key.hex() in shown for key in (OLD, NEW, INDEX))


def test_settings_without_keys_give_no_keyring() -> None:
    with pytest.raises(CryptoError, match="VALUE_KEYS and INDEX_KEY are not set"):
        Keyring.from_settings(Settings.load({}))
    key = base64.b64encode(os.urandom(32)).decode()
    made = Keyring.from_settings(Settings.load({"VALUE_KEYS": f"1:{key},9:{key}", "INDEX_KEY": f"4:{key}"}))
    assert (made.current, made.index_id) == (9, 4)


def test_a_process_without_a_keyring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "_installed", None)
    with pytest.raises(CryptoError, match="has no keyring"):
        crypto.keyring()
    crypto.install(RING)
    assert crypto.keyring() is RING
