"""Passwords of staff: what may be chosen, and what it costs to try one."""

from __future__ import annotations

import argon2
import pytest

from app.errors import Invalid
from app.services import passwords

ABOUT = ("Samira O'Neill", "samira.oneill@hillingdon-police.example", "Hillingdon Police")


@pytest.mark.parametrize(
    "password",
    [
        "teapot lantern orchard",
        "Blue-Kettle-7-Harbour",
        "мой чайник совсем новый",
        "k9#Vq2!xZr7mLp",
        "Wardlink and a yellow umbrella",
        "correct horse battery staple",
    ],
)
def test_a_long_password_of_odd_words_can_be_used(password: str) -> None:
    passwords.check(password, about=ABOUT)


@pytest.mark.parametrize(
    "password",
    [
        "elevenchars",
        "x" * 129,
        "",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "123456789012345",
        "987654321098765",
        "qwertyuiop[]qwertyuiop",
        "passwordpassword",
        "P@ssw0rd2026!!!",
        "Metropolitan Police 2026",
        "Wardlink2026!Wardlink",
        "samira.oneill2026",
        "SamiraOneill-Hillingdon",
        "liverpool fc 1892",
        "1qaz2wsx3edc4rfv",
        "police officer london",
        "            ",
        "!!!!!!!!!!!!????????",
        "ＰＡＳＳＷＯＲＤpassword",
    ],
)
def test_one_that_a_guesser_tries_first_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        passwords.check(password, about=ABOUT)
    assert refused.value.field == "password"
    assert refused.value.message.endswith(".")


def test_a_password_is_right_however_its_letters_are_composed() -> None:
    kept = passwords.make("Café au lait, twice")
    assert kept.startswith("$argon2id$")
    assert passwords.verify(kept, "Cafe\u0301 au lait, twice") == passwords.Verdict(True)
    assert passwords.verify(kept, "Cafe au lait, twice") == passwords.Verdict(False)


def test_a_hash_of_weaker_settings_is_renewed() -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8_192).hash("teapot lantern orchard")
    found = passwords.verify(weak, "teapot lantern orchard")
    assert found.right
    assert found.renewed is not None
    assert passwords.verify(found.renewed, "teapot lantern orchard") == passwords.Verdict(True)


@pytest.mark.parametrize("kept", [None, "", "nothing", "$argon2id$broken"])
def test_where_there_is_no_hash_every_password_is_wrong(kept: str | None) -> None:
    assert passwords.verify(kept, "teapot lantern orchard") == passwords.Verdict(False)
