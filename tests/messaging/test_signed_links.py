from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.links import (
    ANSWER,
    MANAGE,
    PURPOSES,
    REPLY,
    STOP,
    LinkError,
    LinkTarget,
    Signer,
    expiry_of,
    sample,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
DISPATCH = UUID("0198c0de-0000-7000-8000-000000000001")
SIGNER = Signer({1: b"a" * 32, 7: b"b" * 32}, 7)

contacts = st.integers(0, 2**63 - 1)
purposes = st.sampled_from(sorted(PURPOSES))


def token_of(signer, purpose, contact, dispatch=DISPATCH):
    link = signer.batch(purpose, dispatch, None if purpose == STOP else LATER)(contact)
    assert link.startswith(f"/{purpose}/")
    return link.removeprefix(f"/{purpose}/")


def code_of(purpose, token, signer=SIGNER, now=NOW):
    with pytest.raises(LinkError) as caught:
        signer.verify(purpose, token, now)
    assert caught.value.message.endswith(".")
    return caught.value.code


@given(purposes, contacts, st.uuids())
def test_a_link_comes_back_as_whom_it_was_made_for(purpose, contact, dispatch):
    assert SIGNER.verify(purpose, token_of(SIGNER, purpose, contact, dispatch), NOW) == LinkTarget(
        contact, dispatch
    )


@given(purposes, purposes, contacts)
def test_a_link_serves_one_purpose_only(made_for, used_for, contact):
    if made_for != used_for:
        assert code_of(used_for, token_of(SIGNER, made_for, contact)) in ("forged", "malformed")


@given(purposes, contacts, st.data())
def test_no_changed_character_passes(purpose, contact, data):
    token = token_of(SIGNER, purpose, contact)
    place = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("0123456789abcdef.").filter(lambda c: c != token[place]))
    assert code_of(purpose, token[:place] + char + token[place + 1 :]) in (
        "forged",
        "malformed",
        "unknown-key",
    )


@given(st.text(), st.text())
def test_no_text_breaks_the_check(purpose, token):
    assert code_of(purpose, token) == "malformed"
    assert code_of(STOP, token) == "malformed"


@pytest.mark.parametrize("change", [str.upper, lambda t: t + "\n", lambda t: " " + t, lambda t: "0" + t])
def test_there_is_one_way_to_write_a_link(change):
    assert code_of(STOP, change(token_of(SIGNER, STOP, 12))) == "malformed"


@pytest.mark.parametrize("purpose", [MANAGE, REPLY, ANSWER])
def test_links_that_disclose_expire_and_nobody_can_move_the_day(purpose):
    token = token_of(SIGNER, purpose, 5)
    assert SIGNER.verify(purpose, token, LATER - timedelta(seconds=1)).contact == 5
    assert code_of(purpose, token, now=LATER) == "expired"
    key, target, expiry, mac = token.split(".")
    longer = f"{int(expiry, 16) + 86_400:010x}"
    assert code_of(purpose, ".".join((key, target, longer, mac))) == "forged"
    assert code_of(purpose, ".".join((key, target, mac))) == "malformed"


def test_a_stop_link_works_for_ever_and_after_the_key_was_replaced():
    old = token_of(Signer({1: b"a" * 32}, 1), STOP, 2**63 - 1)
    assert SIGNER.verify(STOP, old, NOW + timedelta(days=36_500)).contact == 2**63 - 1
    assert code_of(STOP, old, signer=Signer({7: b"b" * 32}, 7)) == "unknown-key"
    assert code_of(STOP, old, signer=Signer({1: b"c" * 32}, 1)) == "forged"


def test_the_base_address_stands_in_front():
    assert SIGNER.batch(STOP, DISPATCH, base_url="https://w.example")(1).startswith("https://w.example/s/7.")


@pytest.mark.parametrize("contact", [-1, 2**63])
def test_a_contact_outside_63_bits_is_our_mistake(contact):
    with pytest.raises(OverflowError):
        SIGNER.batch(STOP, DISPATCH)(contact)


def test_what_must_expire_and_what_must_not_is_enforced_when_links_are_made():
    for purpose, expires_at in ((STOP, LATER), (MANAGE, None), ("x", None), (MANAGE, datetime(2026, 1, 1))):  # noqa: DTZ001
        with pytest.raises(ValueError, match=r"expire|purpose|expiry"):
            SIGNER.batch(purpose, DISPATCH, expires_at)


@pytest.mark.parametrize(
    ("keys", "current"), [({}, 1), ({1: b"x" * 32}, 2), ({1: b"short"}, 1), ({-1: b"x" * 32}, -1)]
)
def test_unfit_keys_are_refused_at_the_start(keys, current):
    with pytest.raises(ValueError, match="key"):
        Signer(keys, current)


@pytest.mark.parametrize("purpose", sorted(PURPOSES))
def test_the_links_of_many_are_those_that_each_would_get(purpose):
    until = None if purpose == STOP else LATER
    contacts = [0, 1, 77, (1 << 63) - 1]
    one = SIGNER.batch(purpose, DISPATCH, until, "https://w.example")
    assert SIGNER.links(purpose, DISPATCH, contacts, until, "https://w.example") == [one(c) for c in contacts]
    assert SIGNER.links(purpose, DISPATCH, [], until) == []
    for wrong in (-1, 1 << 63):
        with pytest.raises(OverflowError):
            SIGNER.links(purpose, DISPATCH, [5, wrong], until)


def test_no_key_shows_in_the_signers_text():
    assert repr(SIGNER) == "Signer(keys=[1, 7], current=7)"


@given(purposes, contacts)
def test_a_sample_is_at_least_as_long_as_any_link_and_no_more_than_one_longer(purpose, contact):
    base = "https://w.example"
    real = SIGNER.batch(purpose, DISPATCH, None if purpose == STOP else LATER, base)(contact)
    assert len(real) <= len(sample(purpose, base)) <= len(real) + 1
    assert code_of(purpose, sample(purpose).rpartition("/")[2]) == "malformed"


def test_the_links_of_a_dispatch_end_sixty_days_after_it_was_made():
    made = datetime.fromtimestamp((DISPATCH.int >> 80) / 1000, UTC)
    assert expiry_of(DISPATCH) == made + timedelta(days=60)
