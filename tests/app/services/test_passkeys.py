"""Passkeys: made and shown by a security key in software, and every way in which an answer can be wrong."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.models.audit import AuditEntry
from app.models.sign_in import Ceremony, Passkey
from app.services import passkeys
from app.services.passkeys import Kind, Outcome, Party
from tests.authenticator import PRESENT, VERIFIED, SecurityKey, b64, unb64
from tests.factories import ACTOR, Makes

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE = Party("wardlink.example", "https://wardlink.example")
MINE, OTHERS = b"m" * 32, b"o" * 32


def key(**changes: object) -> SecurityKey:
    return SecurityKey(**({"origin": HERE.origin, "rp_id": HERE.id} | changes))  # type: ignore[arg-type]


@pytest.fixture
def bearer(makes):
    return makes.officer(makes.organisation())


def made(session, bearer, one: SecurityKey, name: str = "A key", now: datetime = NOW) -> bool:
    options = passkeys.ask_new(session, bearer.id, HERE, bound=MINE, now=now)
    return passkeys.add(
        session, bearer.id, HERE, one.make(options), name=name, bound=MINE, actor=ACTOR, now=now
    )


def asked(session, bearer, kind: Kind = Kind.SECOND) -> str:
    return passkeys.ask(session, bearer.id, kind, HERE, bound=MINE, now=NOW)


def shown(session, bearer, answer: str, kind: Kind = Kind.SECOND, bound: bytes = MINE, now: datetime = NOW):
    return passkeys.show(session, bearer.id, kind, HERE, answer, bound=bound, actor=ACTOR, now=now)


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://alerts.police.example", Party("alerts.police.example", "https://alerts.police.example")),
        ("https://police.example:8443", Party("police.example", "https://police.example:8443")),
        ("http://localhost:8000", Party("localhost", "http://localhost:8000")),
        ("http://127.0.0.1:8000", None),
        ("https://[::1]", None),
        ("http://police.example", None),
    ],
)
def test_the_party_comes_from_the_address_of_the_site(url, party):
    assert passkeys.party(url) == party


def test_a_passkey_is_made_listed_shown_and_removed(session, bearer):
    one = key()
    options = json.loads(passkeys.ask_new(session, bearer.id, HERE, bound=MINE, now=NOW))
    assert options["rp"]["id"] == "wardlink.example"
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert unb64(options["user"]["id"]) == bearer.id.bytes
    assert made(session, bearer, one, "Blue key")
    (listed,) = passkeys.listed(session, bearer.id)
    assert (listed.name, listed.used_at) == ("Blue key", None)
    options = json.loads(asked(session, bearer))
    assert options["allowCredentials"] == [{"id": b64(one.id), "type": "public-key", "transports": ["usb"]}]
    assert options["userVerification"] == "required"
    assert shown(session, bearer, one.sign(json.dumps(options))) is Outcome.RIGHT
    assert passkeys.listed(session, bearer.id)[0].used_at == NOW
    excluded = json.loads(passkeys.ask_new(session, bearer.id, HERE, bound=MINE, now=NOW))[
        "excludeCredentials"
    ]
    assert [one["id"] for one in excluded] == [b64(one.id)]
    assert passkeys.remove(session, bearer.id, listed.id, actor=ACTOR) == "Blue key"
    assert passkeys.remove(session, bearer.id, listed.id, actor=ACTOR) is None
    events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event.like("passkey:%"))).all()
    assert events[-2:] == ["passkey:add", "passkey:remove"]


def test_an_answer_serves_once_for_one_purpose_one_session_and_five_minutes(session, bearer):
    one = key()
    assert made(session, bearer, one)
    answer = one.sign(asked(session, bearer))
    assert shown(session, bearer, answer, Kind.STEP_UP) is Outcome.WRONG, "asked for at sign-in"
    assert shown(session, bearer, answer) is Outcome.RIGHT
    assert shown(session, bearer, answer) is Outcome.WRONG, "used up"
    assert shown(session, bearer, one.sign(asked(session, bearer)), bound=OTHERS) is Outcome.WRONG
    late = one.sign(asked(session, bearer))
    assert shown(session, bearer, late, now=NOW + passkeys.LIFETIME) is Outcome.WRONG
    assert shown(session, bearer, late, now=NOW + passkeys.LIFETIME - timedelta(seconds=1)) is Outcome.RIGHT


def test_an_answer_of_another_session_uses_the_challenge_up(session, bearer):
    one = key()
    assert made(session, bearer, one)
    answer = one.sign(asked(session, bearer))
    assert shown(session, bearer, answer, bound=OTHERS) is Outcome.WRONG
    assert shown(session, bearer, answer) is Outcome.WRONG


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://wardlink.example.evil.example"},
        {"origin": "http://wardlink.example"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
    ],
)
def test_what_was_signed_elsewhere_or_without_its_bearer_is_refused(session, bearer, wrong):
    assert not made(session, bearer, key(**wrong))
    one = key()
    assert made(session, bearer, one)
    for name, value in wrong.items():
        setattr(one, name, value)
    assert shown(session, bearer, one.sign(asked(session, bearer))) is Outcome.WRONG


def test_a_key_of_somebody_else_and_a_forged_signature_are_refused(session, makes, bearer):
    mine, theirs = key(), key()
    other = makes.officer(makes.organisation())
    assert made(session, bearer, mine)
    assert made(session, other, theirs)
    assert shown(session, bearer, theirs.sign(asked(session, bearer))) is Outcome.WRONG
    forged = key(id=mine.id)
    assert shown(session, bearer, forged.sign(asked(session, bearer))) is Outcome.WRONG
    assert not made(session, other, mine), "a credential has one owner"


def test_a_count_that_goes_backwards_is_refused_and_on_the_record(session, bearer):
    one = key(count=7)
    assert made(session, bearer, one)
    assert shown(session, bearer, one.sign(asked(session, bearer))) is Outcome.RIGHT
    one.count = 3
    assert shown(session, bearer, one.sign(asked(session, bearer))) is Outcome.COPIED
    kept = session.scalars(sa.select(Passkey)).one()
    assert kept.sign_count == 8
    entry = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    assert (entry.event, entry.subject) == ("passkey:refuse", f"passkey:{kept.id}")
    # What nobody signed says nothing of a copy.
    assert shown(session, bearer, key(id=one.id, count=1).sign(asked(session, bearer))) is Outcome.WRONG
    one.count = 8
    assert shown(session, bearer, one.sign(asked(session, bearer))) is Outcome.RIGHT


def test_a_key_that_never_counts_is_taken(session, bearer):
    one = key(count=0)
    assert made(session, bearer, one)
    for _ in range(2):
        one.count = -1
        assert shown(session, bearer, one.sign(asked(session, bearer))) is Outcome.RIGHT


def test_nobody_has_more_than_ten_and_each_has_a_name(session, bearer):
    early = passkeys.ask_new(session, bearer.id, HERE, bound=MINE, now=NOW)
    for _ in range(passkeys.MOST):
        assert made(session, bearer, key())
    with pytest.raises(Conflict):
        made(session, bearer, key())
    answer = key().make(early)  # asked for while there was room
    assert not passkeys.add(session, bearer.id, HERE, answer, name="X", bound=MINE, actor=ACTOR, now=NOW)
    assert passkeys.check_name("  Work \n phone ") == "Work phone"
    for name in ("", "  ", "x" * 61, "a\x00b", "a\u202eb"):
        with pytest.raises(Invalid):
            passkeys.check_name(name)


def test_without_a_passkey_none_is_asked_for(session, bearer):
    with pytest.raises(Conflict):
        asked(session, bearer)
    assert session.scalars(sa.select(Ceremony)).all() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    replaced=st.dictionaries(
        st.sampled_from(["id", "rawId", "type", "response", "authenticatorAttachment"]), JSON, max_size=2
    ),
    inside=st.dictionaries(
        st.sampled_from(["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle",
                         "transports"]),
        JSON | st.binary(max_size=40).map(b64),
        min_size=1, max_size=2,
    ),
)  # fmt: skip
def test_a_hostile_answer_is_wrong_and_breaks_nothing(hostile_stage, replaced, inside):
    session, bearer, one = hostile_stage
    for make in (True, False):
        if make:
            options = passkeys.ask_new(session, bearer.id, HERE, bound=MINE, now=NOW)
            answer = json.loads(key().make(options))
        else:
            answer = json.loads(one.sign(asked(session, bearer)))
        answer["response"] |= inside
        answer |= replaced
        text = json.dumps(answer)
        if make:
            passkeys.add(session, bearer.id, HERE, text, name="X", bound=MINE, actor=ACTOR, now=NOW)
            session.execute(sa.delete(Passkey).where(Passkey.credential_id != one.id))
        else:
            assert shown(session, bearer, text) in set(Outcome)


@pytest.fixture(scope="module")
def hostile_stage(registry):
    """Its own transaction, open for as long as the examples: nobody else may make what is numbered like it."""
    with registry.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            makes = Makes(inner, itertools.count(90_000))
            bearer, one = makes.officer(makes.organisation()), key()
            assert made(inner, bearer, one)
            yield inner, bearer, one
        outer.rollback()


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "null", "1", "{}", '{"response": 1}', "[" * 5_000, "x" * 20_000, '{"id": "\ud800"}'],
)
def test_what_is_no_answer_at_all_is_wrong(session, bearer, text):
    assert made(session, bearer, key())
    assert shown(session, bearer, text) is Outcome.WRONG
    assert not passkeys.add(session, bearer.id, HERE, text, name="X", bound=MINE, actor=ACTOR, now=NOW)
