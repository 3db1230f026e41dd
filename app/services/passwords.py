"""Passwords of staff: long rather than odd, kept as argon2id, and as slow to refuse as to accept."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Invalid

SHORTEST, LONGEST = 12, 128
# What has to be left when everything is taken away that a guesser tries first.
_LEFT_OVER, _DIFFERENT = 8, 5

# What people in this line of work begin with: no list of somebody else's, only the words that stand to reason.
_WORDS = (
    "password", "passwort", "passphrase", "letmein", "welcome", "changeme", "iloveyou", "sunshine", "princess",
    "dragon", "monkey", "football", "superman", "batman", "trustno", "whatever", "secret", "login", "admin",
    "administrator", "default", "master", "summer", "winter", "spring", "autumn", "january", "february", "march",
    "april", "june", "july", "august", "september", "october", "november", "december", "monday", "tuesday",
    "wednesday", "thursday", "friday", "saturday", "sunday", "arsenal", "chelsea", "tottenham", "westham",
    "liverpool", "manchester", "united", "london", "england", "britain", "metropolitan", "police", "officer",
    "constable", "sergeant", "inspector", "council", "borough", "neighbourhood", "wardlink", "ward", "alert",
)  # fmt: skip
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qazwsxedcrfvtgbyhnujm",
    "1qaz2wsx3edc4rfv5tgb",
)  # fmt: skip
_LEET = str.maketrans("013457@$!|", "oieastasil")
_AGAIN = re.compile(r"(.{1,12}?)\1+")
_YEAR = re.compile(r"(19|20)[0-9]{2}")
_RUN = 4

_HASHER = PasswordHasher()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``renewed``: a hash to keep instead, when the old one was made with weaker settings."""

    right: bool
    renewed: str | None = None


def check(password: str, *, about: Sequence[str] = ()) -> None:
    """Invalid unless the password can be used. ``about``: the person's own name and e-mail address."""
    if len(password) < SHORTEST:
        raise Invalid("password", f"The password must be {SHORTEST} characters or more.")
    if len(password) > LONGEST:
        raise Invalid("password", f"The password must be {LONGEST} characters or fewer.")
    left = _hard_to_guess(_form(password).casefold(), about)
    if len(left) < _LEFT_OVER or len(set(left)) < _DIFFERENT:
        raise Invalid(
            "password",
            "This password is easy to guess. Use three words that have nothing to do with you or with your work.",
        )


def make(password: str) -> str:
    """The argon2id hash to keep."""
    return _HASHER.hash(_form(password))


def verify(kept: str | None, password: str) -> Verdict:
    """Whether the password is right. Without a hash it takes as long, and is wrong."""
    nobodys = _nobodys()  # made at a process's first comparison, whoever's that is
    try:
        _HASHER.verify(kept or nobodys, _form(password))
    except (VerificationError, InvalidHashError):
        return Verdict(False)
    if kept is None:
        return Verdict(False)
    return Verdict(True, make(password) if _HASHER.check_needs_rehash(kept) else None)


@cache
def _nobodys() -> str:
    return make(secrets.token_urlsafe(32))


def _form(password: str) -> str:
    # The same letters may come composed or not, by keyboard and by system.
    return unicodedata.normalize("NFKC", password)


def _hard_to_guess(text: str, about: Sequence[str]) -> str:
    """What is left without repetitions, rows of keys, years, and words that a guesser knows."""
    text = _YEAR.sub(" ", _without_rows(text))
    words = {*_WORDS, *_own(about)}
    for form in (str, lambda t: t.translate(_LEET)):
        text = form(text)
        for word in sorted(words, key=len, reverse=True):
            text = text.replace(word, " ")
    return "".join(c for c in _AGAIN.sub(r"\1", text) if c.isalnum())


def _own(about: Sequence[str]) -> Iterator[str]:
    for text in about:
        yield from (part for part in re.split(r"[\W_]+", text.casefold()) if len(part) >= 3)


def _without_rows(text: str) -> str:
    for row in _ROWS:
        for one in (row, row[::-1]):
            for length in range(len(one), _RUN - 1, -1):
                for start in range(len(one) - length + 1):
                    text = text.replace(one[start : start + length], " ")
    return text
