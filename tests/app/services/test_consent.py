"""Consent: given, left, given again; and what the database itself refuses to forget."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app.db import new_contact_id, new_id
from app.errors import Invalid, Missing
from app.models.audit import AuditEntry
from app.models.consent import Consent, Suppression, Wording
from app.services import consent
from config.fields import Part
from messaging.types import Channel
from tests.conftest import Database
from tests.factories import ACTOR, Makes


def active(session: Session, contact_id: int) -> list[Consent]:
    return list(
        session.scalars(
            sa.select(Consent).where(Consent.contact_id == contact_id, Consent.withdrawn_at.is_(None))
        )
    )


def suppressions(session: Session) -> list[str]:
    rows = session.scalars(sa.select(Suppression.reason).where(Suppression.lifted_at.is_(None)))
    return sorted(rows)


def entries(session: Session, event: str) -> int:
    return session.scalar(sa.select(sa.func.count()).where(AuditEntry.event == event)) or 0


def test_given_left_and_given_again_leaves_two_consents_and_no_suppression(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    consent.give(session, person, police.id, how="again", actor=ACTOR)
    assert [c.how for c in active(session, person.id)] == ["test"], "given twice it stands once"
    assert consent.leave(session, person.id, police.id, how="page", actor=ACTOR)
    assert consent.leave(session, person.id, police.id, how="page", actor=ACTOR)
    assert (active(session, person.id), suppressions(session)) == ([], ["left"])
    assert entries(session, "consent:withdraw") == 1
    consent.give(session, person, police.id, how="came back", actor=ACTOR)
    assert [c.how for c in active(session, person.id)] == ["came back"]
    assert suppressions(session) == []
    everything = session.scalars(sa.select(Consent).where(Consent.contact_id == person.id)).all()
    assert sorted((c.how, c.withdrawn_how) for c in everything) == [("came back", None), ("test", "page")]
    assert entries(session, "consent:give") == 2


def test_a_fresh_yes_does_not_outrank_a_bounce_a_complaint_or_a_stop_by_text(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward, agreed=False)
    makes.wording()
    number = makes.sender(police, "sms")
    for reason, controller, sender in (
        ("bounce", None, None),
        ("complaint", police.id, None),
        ("stop", police.id, number.id),
    ):
        assert consent.suppress(
            session,
            channel="email",
            digest=person.digest,
            digest_key=1,
            controller=controller,
            reason=reason,
            sender_id=sender,
        )
    consent.give(session, person, police.id, how="page", actor=ACTOR)
    assert suppressions(session) == ["bounce", "complaint", "stop"]


def test_a_fresh_yes_ends_an_unsubscribe_that_the_mail_provider_told_us_of(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    consent.suppress(
        session,
        channel="email",
        digest=person.digest,
        digest_key=1,
        controller=police.id,
        reason="unsubscribe",
    )
    consent.give(session, person, police.id, how="page", actor=ACTOR)
    assert suppressions(session) == []


def test_leaving_one_controller_leaves_the_other_alone(session: Session, makes: Makes) -> None:
    police, council = makes.organisation(), makes.organisation("Council")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    makes.live_in(person, council, ward, ["events"])
    consent.give(session, person, council.id, how="test", actor=ACTOR)
    consent.leave(session, person.id, police.id, how="page", actor=ACTOR)
    assert [c.controller_id for c in active(session, person.id)] == [council.id]


def test_the_stop_link_of_a_dispatch_no_longer_kept_leaves_every_controller(
    session: Session, makes: Makes
) -> None:
    police, council = makes.organisation(), makes.organisation("Council")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    consent.give(session, person, council.id, how="test", actor=ACTOR)
    assert consent.leave_by_link(session, person.id, new_id(), how="link", origin="web")
    assert active(session, person.id) == []
    assert suppressions(session) == ["unsubscribe", "unsubscribe"]
    assert not consent.leave_by_link(session, person.id, new_id(), how="link", origin="web")


def test_nobody_can_leave_who_does_not_exist(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    assert not consent.leave(session, new_contact_id(), police.id, how="page", actor=ACTOR)
    assert suppressions(session) == []


def test_a_wording_is_never_edited_and_consent_keeps_the_one_it_was_given_to(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    with pytest.raises(Missing):
        consent.current_wording(session)
    first = consent.add_wording(session, "I agree.")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    second = consent.add_wording(session, "I agree, and may leave at any time.")
    assert (first.version, second.version) == (1, 2)
    assert consent.current_wording(session).id == second.id
    assert active(session, person.id)[0].wording_id == first.id
    assert session.get_one(Wording, first.id).text == "I agree."


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 5_001, "a\x00b"])
def test_a_wording_that_cannot_be_shown_is_refused(session: Session, text: str) -> None:
    with pytest.raises(Invalid):
        consent.add_wording(session, text)


# -- the guard in the database, as the roles that work there
@pytest.fixture
def given(committed: Database) -> tuple[Database, str]:
    registry = committed.open()
    with registry.sessions.begin() as session:
        makes = Makes(session)
        _, ward, _ = makes.borough()
        person = makes.resident(makes.organisation(), ward)
        consent_id = str(active(session, person.id)[0].id)
    registry.engine.dispose()
    return committed, consent_id


def attempt(database: Database, part: Part, statement: str) -> None:
    registry = database.open(part)
    try:
        with registry.sessions.begin() as session:
            session.execute(sa.text(statement))
    finally:
        registry.engine.dispose()


@pytest.mark.parametrize("part", [Part.APP, Part.WORKER])
def test_consent_is_append_only_even_for_those_who_write_it(given: tuple[Database, str], part: Part) -> None:
    database, consent_id = given
    for change in (
        "how = 'other'",
        "given_at = now()",
        "wording_id = wording_id",
        "controller_id = controller_id",
        "channel = 'sms'",
        "purpose = 'register'",
        "evidence = '{}'",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            attempt(database, part, f"UPDATE consents SET {change} WHERE id = '{consent_id}'")
    # Evidence goes when it has had its time, by the worker, and only once it stands under a pseudonym.
    refused = "permission denied" if part is Part.APP else "only under its pseudonym"
    with pytest.raises(ProgrammingError, match=refused):
        attempt(database, part, "DELETE FROM consents")
    with pytest.raises(ProgrammingError, match="permission denied"):
        attempt(database, part, "TRUNCATE consents CASCADE")


def test_a_withdrawal_is_written_once_and_never_taken_back(given: tuple[Database, str]) -> None:
    database, consent_id = given
    where = f"WHERE id = '{consent_id}'"
    attempt(database, Part.APP, f"UPDATE consents SET withdrawn_at = now(), withdrawn_how = 'page' {where}")
    for change in ("withdrawn_at = NULL", "withdrawn_at = now()", "withdrawn_how = 'another story'"):
        with pytest.raises(ProgrammingError, match="append-only"):
            attempt(database, Part.APP, f"UPDATE consents SET {change} {where}")


def test_a_consent_is_never_handed_to_another_contact_point(given: tuple[Database, str]) -> None:
    database, consent_id = given
    where = f"WHERE id = '{consent_id}'"
    with pytest.raises(ProgrammingError, match="append-only"):
        attempt(database, Part.APP, f"UPDATE consents SET contact_id = 77 {where}")
    with pytest.raises(IntegrityError, match="ck_consents_who"):
        attempt(database, Part.APP, f"UPDATE consents SET contact_id = NULL {where}")
    attempt(database, Part.APP, f"UPDATE consents SET contact_id = NULL, pseudonym = '\\x01' {where}")
    with pytest.raises(ProgrammingError, match="append-only"):
        attempt(database, Part.APP, f"UPDATE consents SET pseudonym = '\\x02' {where}")


def test_two_people_who_share_an_address_stop_together(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, other = makes.borough()
    first = makes.resident(police, ward, address="07700 900123", channel=Channel.SMS)
    second = makes.resident(police, other, address="+44 7700 900123", channel=Channel.SMS)
    assert first.id == second.id
    consent.leave(session, second.id, police.id, how="page", actor=ACTOR)
    assert active(session, first.id) == []
    assert datetime.now(UTC) > session.scalars(sa.select(Suppression.created_at)).one()
