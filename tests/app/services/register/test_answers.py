"""What an owner answers: written once, disclosed on the record in the same transaction, and only when they say so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.registry import Registry
from app.services.register import answers, settings
from tests.conftest import Database
from tests.factories import ACTOR
from tests.register_asking import LOOK_FOR, Force, force


class Asked:
    """One owner of two who were asked, and the dispatch whose link they hold."""

    def __init__(self, police: Force, worker: Registry) -> None:
        self.police = police
        self.contact = police.owner(name="Ann Owner", cameras=2).id
        self.other = police.owner(name="Bob Owner").id
        self.request = police.ask()
        police.send(worker, self.request)
        found = police.request(self.request).dispatch_id
        assert found is not None
        self.dispatch: UUID = found

    def answer(self, answer: str, note: str | None = None, *, contact: int | None = None) -> None:
        by = contact or self.contact
        with self.police.registry.sessions.begin() as session:
            ticket = answers.begin(session, contact_id=by, dispatch_id=self.dispatch, now=utc_now())
        with self.police.registry.sessions.begin() as session:
            answers.give(session, ticket, contact_id=by, answer=answer, note=note)

    def disclosed(self) -> list[Any]:
        return self.police.run("SELECT * FROM disclosures ORDER BY at")


@pytest.fixture
def asked(committed: Database, app: Registry, worker: Registry) -> Asked:
    return Asked(force(committed, app), worker)


@pytest.mark.parametrize("answer", ["have-it", "call-me"])
def test_who_answers_so_is_disclosed_with_an_entry_of_the_same_transaction(asked: Asked, answer: str) -> None:
    asked.answer(answer, "It shows the bicycle.")
    one = asked.police.asked(asked.request)[asked.contact]
    assert (one.answer, one.note) == (answer, "It shows the bicycle.")
    (shown,) = asked.disclosed()
    assert shown.owner_id == one.owner_id and len(shown.facts["cameras"]) == 2
    ((event, s62, actor, xmin, theirs),) = asked.police.run(
        "SELECT e.event, e.s62, e.actor_kind, e.xmin::text, d.xmin::text FROM audit_entries e "
        "JOIN disclosures d ON d.entry_id = e.id"
    )
    assert (event, s62, actor) == ("register:disclose", "disclosure", "owner") and xmin == theirs
    asked.answer(answer)  # again is once
    assert len(asked.disclosed()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["have-not", "overwritten", "not-again"])
def test_any_other_answer_discloses_nothing(asked: Asked, answer: str) -> None:
    asked.answer(answer, "Not there.")
    assert asked.police.asked(asked.request)[asked.contact].answer == answer
    assert asked.disclosed() == [] and "register:disclose" not in asked.police.events()


def test_an_answer_is_on_the_record_before_anything_can_be_found_out(asked: Asked) -> None:
    """Nothing of whether somebody was asked shows in the first step, and the second needs its commit."""
    stranger = asked.police.owner(state="paused").id
    with asked.police.registry.sessions() as session:
        for contact in (asked.contact, stranger, 12345):
            answers.begin(session, contact_id=contact, dispatch_id=asked.dispatch, now=utc_now())
        session.rollback()
    with asked.police.registry.sessions() as session:
        ticket = answers.begin(session, contact_id=asked.contact, dispatch_id=asked.dispatch, now=utc_now())
        with pytest.raises(Conflict):
            answers.give(session, ticket, contact_id=asked.contact, answer="have-it", note=None)
        session.rollback()
    with asked.police.registry.sessions.begin() as session:
        ticket = answers.begin(session, contact_id=stranger, dispatch_id=asked.dispatch, now=utc_now())
    with asked.police.registry.sessions.begin() as session, pytest.raises(Missing):
        answers.give(session, ticket, contact_id=stranger, answer="have-it", note=None)
    with asked.police.registry.sessions() as session, pytest.raises(Conflict):  # another's ticket
        answers.give(session, ticket, contact_id=asked.contact, answer="have-it", note=None)
    assert asked.disclosed() == []
    assert asked.police.events().count("request:answer") == 1


@pytest.mark.slow
def test_a_ticket_whose_answer_was_taken_back_is_used_up(asked: Asked) -> None:
    with asked.police.registry.sessions.begin() as session:
        ticket = answers.begin(session, contact_id=asked.contact, dispatch_id=asked.dispatch, now=utc_now())
    with asked.police.registry.sessions() as session:
        answers.give(session, ticket, contact_id=asked.contact, answer="have-it", note=None)
        session.rollback()
    with asked.police.registry.sessions() as session, pytest.raises(Conflict):
        answers.give(session, ticket, contact_id=asked.contact, answer="have-it", note=None)
    assert asked.disclosed() == []


@pytest.mark.slow
def test_a_closed_or_unknown_question_takes_no_answer(asked: Asked) -> None:
    asked.police.run("UPDATE camera_requests SET expires_at = now()")
    with pytest.raises(Conflict, match="closed"):
        asked.answer("have-it")
    asked.police.run("UPDATE camera_requests SET state = 'closed', expires_at = now() + interval '1 day'")
    with pytest.raises(Conflict, match="closed"):
        asked.answer("have-it")
    asked.dispatch = new_id()
    with pytest.raises(Conflict, match="closed"):
        asked.answer("have-it")


@pytest.mark.slow
def test_twenty_answers_an_hour_are_enough(asked: Asked) -> None:
    at = utc_now()
    with asked.police.registry.sessions() as session:
        for _ in range(20):
            answers.begin(session, contact_id=1, dispatch_id=asked.dispatch, now=at)
        with pytest.raises(TooMany):
            answers.begin(session, contact_id=1, dispatch_id=asked.dispatch, now=at)


@pytest.mark.slow
def test_an_owner_who_is_erased_is_gone_but_for_what_was_disclosed(asked: Asked) -> None:
    asked.answer("have-it")
    asked.answer("have-not", contact=asked.other)
    asked.police.run("DELETE FROM contact_points WHERE id IN (:a, :b)", a=asked.contact, b=asked.other)
    assert asked.police.asked(asked.request) == {}
    (shown,) = asked.disclosed()
    assert shown.facts["cameras"][0]["postcode"] == "UB8 1UW"


@pytest.mark.slow
def test_the_question_is_read_with_the_portal_of_the_force(asked: Asked) -> None:
    with asked.police.registry.sessions.begin() as session:
        settings.alter(
            session, asked.police.organisation.id,
            portal=("NICE Investigate", "https://evidence.police.example/up?case={reference}&r={request}"), actor=ACTOR,
        )  # fmt: skip
    with asked.police.registry.sessions() as session:
        found = answers.asked(session, contact_id=asked.contact, dispatch_id=asked.dispatch, now=utc_now())
        assert (found.asker, found.look_for, found.open) == ("Met Police", LOOK_FOR, True)
        assert found.portal == (
            "NICE Investigate", f"https://evidence.police.example/up?case=1234567%2F26&r={found.reference}"
        )  # fmt: skip
        later = utc_now() + timedelta(days=8)
        assert not answers.asked(
            session, contact_id=asked.contact, dispatch_id=asked.dispatch, now=later
        ).open
        for contact, dispatch in ((1, asked.dispatch), (asked.contact, new_id())):
            with pytest.raises(Missing):
                answers.asked(session, contact_id=contact, dispatch_id=dispatch, now=utc_now())


@pytest.mark.parametrize("values", [{"answer": "maybe", "note": ""}, {"answer": "have-it", "note": "x" * 501},
                                    {"answer": "have-it", "note": "\x00"}])  # fmt: skip
def test_an_answer_that_cannot_be_kept_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        answers.checked(**values)
    assert answers.checked("have-it", "  ") == ("have-it", None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"portal": ("Axon", "http://portal.example/{reference}")}, "portal_url"),
        ({"portal": ("Axon", "https://{reference}.example/")}, "portal_url"),
        ({"portal": ("Axon", "https://portal.example/{name}")}, "portal_url"),
        ({"portal": ("Axon", "https://user@portal.example/")}, "portal_url"),
        ({"portal": ("", "https://portal.example/")}, "portal_name"),
        ({"case_pattern": "[0-9]+"}, "case_pattern"),
        ({"case_pattern": "^([0-9]$"}, "case_pattern"),
        ({"case_pattern": "^[0-9]{4}$", "case_example": "12"}, "case_example"),
    ],
)
def test_settings_that_would_not_serve_are_refused(
    session: sa.orm.Session, makes: Any, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        settings.alter(session, makes.organisation().id, actor=ACTOR, **changes)
    assert refused.value.field == field


def test_settings_stay_until_they_are_changed(session: sa.orm.Session, makes: Any) -> None:
    police = makes.organisation()
    assert settings.shown(session, police.id).case_example == "1234567/26"
    portal = ("MIPP", "https://mipp.police.uk/{reference}/{request}")
    settings.alter(
        session, police.id, case_pattern="^CAD[0-9]{4}$", case_example="CAD1234", portal=portal, actor=ACTOR
    )
    found = settings.alter(session, police.id, actor=ACTOR)
    assert (found.case_pattern, found.portal_name, found.portal_url) == ("^CAD[0-9]{4}$", *portal)
    assert settings.alter(session, police.id, no_portal=True, actor=ACTOR).portal_url is None
    changed = sa.text("SELECT count(*) FROM audit_entries WHERE event = 'register:settings'")
    assert session.scalar(changed) == 3
