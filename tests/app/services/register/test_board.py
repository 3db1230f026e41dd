"""The board and the schedule: who may look, on the record first, and only who answered so is shown."""

from __future__ import annotations

import csv
import io
import json

import pytest
import sqlalchemy as sa

from app import access
from app.db import utc_now
from app.errors import Conflict, Missing
from app.models.register import Investigation
from app.permissions import Permission
from app.registry import Registry
from app.services.register import answers, board, schedule
from app.services.register.board import Board, Cursor
from messaging.types import Channel
from tests.app.services.register.test_answers import Asked
from tests.conftest import Database
from tests.register_asking import SPOT, Force, force


@pytest.fixture
def asked(committed: Database, app: Registry, worker: Registry) -> Asked:
    return Asked(force(committed, app), worker)


def look(police: Force, token: str | None = None, *, after: Cursor | None = None, most: int = 25) -> Board:
    case = police.case()
    with police.registry.sessions.begin() as session:
        ticket = board.begin(session, token or police.token, case)
    with police.registry.sessions.begin() as session:
        return board.show(session, token or police.token, ticket, case, after=after, most=most)


def test_only_who_answered_so_is_shown_and_the_rest_in_bands(asked: Asked) -> None:
    asked.answer("have-it", "It shows the bicycle.")
    asked.answer("have-not", "My name is Bob", contact=asked.other)
    found = look(asked.police)
    (question,), (one,) = found.questions, found.answers
    assert question.tallies == dict.fromkeys(("have-not", "overwritten", "not-again", "none"), "fewer than 3")
    assert (one.name, one.answer, one.note) == ("Ann Owner", "have-it", "It shows the bicycle.")
    assert one.address.endswith("@people.example") and one.reach == "by a link, at any time"
    assert one.cameras[0].words == (
        "Video doorbell at UB8 1UW, facing north, 50 m, covers their own land, keeps footage 30 days"
    )
    assert "Bob" not in repr(found)
    asked.answer("call-me", contact=asked.contact)
    assert look(asked.police).answers[0].answer == "call-me"
    assert asked.police.events().count("board:read") == 2


@pytest.mark.slow
def test_it_is_for_who_searched_and_supervisors_with_a_factor_just_shown(asked: Asked) -> None:
    assert look(asked.police, asked.police.supervisor_token).case == "1234567/26"
    with pytest.raises(Missing):
        look(asked.police, asked.police.colleague_token)
    asked.police.search(asked.police.colleague)
    assert look(asked.police, asked.police.colleague_token).case == "1234567/26"
    other = force(asked.police.database, asked.police.registry, name="Other Police")
    for token in (other.token, other.supervisor_token, "x" * 43):
        with pytest.raises(Missing):
            look(asked.police, token)
    asked.police.run("UPDATE web_sessions SET stepped_up_at = now() - interval '16 minutes'")
    with pytest.raises(Conflict):
        look(asked.police)


def test_a_ticket_must_be_committed_and_serves_its_bearer_once(asked: Asked) -> None:
    police, case = asked.police, asked.police.case()
    with police.registry.sessions() as session:
        ticket = board.begin(session, police.token, case)
        with pytest.raises(Conflict):
            board.show(session, police.token, ticket, case)
        session.rollback()
    with police.registry.sessions.begin() as session:
        ticket = board.begin(session, police.token, case)
    for token, act in ((police.supervisor_token, "board"), (police.token, "schedule")):
        with police.registry.sessions() as session, pytest.raises(Conflict):
            board.show(session, token, ticket, case, act=act)  # type: ignore[arg-type]
    with police.registry.sessions() as session:
        board.show(session, police.token, ticket, case)
        session.rollback()
    with police.registry.sessions() as session, pytest.raises(Conflict):
        board.show(session, police.token, ticket, case)


def test_a_disclosure_that_could_still_be_taken_back_is_not_shown(asked: Asked) -> None:
    police, case = asked.police, asked.police.case()
    with police.registry.sessions.begin() as session:
        looking = board.begin(session, police.token, case)
        answering = answers.begin(
            session, contact_id=asked.contact, dispatch_id=asked.dispatch, now=utc_now()
        )
    with police.registry.sessions() as session:
        answers.give(session, answering, contact_id=asked.contact, answer="have-it", note=None)
        with session.begin_nested():
            assert board.show(session, police.token, looking, case).answers == ()
        session.rollback()


@pytest.mark.slow
def test_it_is_paged_in_the_order_of_the_answers(asked: Asked, worker: Registry) -> None:
    police = asked.police
    for contact in (asked.contact, asked.other):
        asked.answer("have-it", contact=contact)
    first = look(police, most=1)
    assert [one.name for one in first.answers] == ["Ann Owner"] and first.after is not None
    second = look(police, after=first.after, most=1)
    assert [one.name for one in second.answers] == ["Bob Owner"] and second.after is None


@pytest.mark.slow
def test_the_list_has_ones_own_cases_and_all_for_a_supervisor(asked: Asked) -> None:
    police = asked.police
    police.search(police.colleague, reference="OTHER-1")
    with police.registry.sessions() as session:

        def listed(staff: object, before: Cursor | None = None) -> list[str]:
            return [one.reference for one in board.cases(session, police.who(staff), before=before)]  # type: ignore[arg-type]

        assert listed(police.investigator) == ["1234567/26"]
        assert listed(police.supervisor) == ["OTHER-1", "1234567/26"]
        newest = board.cases(session, police.who(police.supervisor))[0]
        assert listed(police.supervisor, Cursor(newest.opened_at, newest.id)) == ["1234567/26"]
        (mine,) = board.cases(session, police.who(police.investigator))
        assert (mine.requests, mine.asking) == (1, 1)
        for staff, seen in (
            (police.investigator, True),
            (police.supervisor, True),
            (police.colleague, False),
        ):
            case = session.get_one(Investigation, mine.id)
            assert access.may_on(session, police.who(staff), Permission.BOARD_READ, case) is seen


def taken(police: Force) -> schedule.Schedule:
    case, now = police.case(), utc_now()
    with police.registry.sessions.begin() as session:
        ticket = schedule.begin(session, police.token, case)
    with police.registry.sessions.begin() as session:
        return schedule.make(session, police.who(police.investigator), police.token, ticket, case, now=now)


@pytest.mark.slow
def test_a_schedule_is_a_disclosure_and_every_row_bears_its_mark(asked: Asked, worker: Registry) -> None:
    phone = asked.police.owner(channel=Channel.SMS, name="=cmd|Eve").id
    second = asked.police.ask()
    asked.police.send(worker, second)
    asked.answer("have-it", "Two files.")
    asked.dispatch = asked.police.request(second).dispatch_id  # type: ignore[assignment]
    asked.answer("call-me", contact=phone)
    made = taken(asked.police)
    (entry,) = asked.police.run("SELECT id, s62 FROM audit_entries WHERE event = 'schedule:export'")
    assert (made.board.entry, entry.s62) == (entry.id, "disclosure") and made.whole
    assert made.name == f"schedule-1234567-26-{entry.id}"
    text = b"".join(schedule.csv(made)).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 3  # two cameras of one, one of another
    assert {(r["Case"], r["Made by"], r["Entry of the record"]) for r in rows} == {
        ("1234567/26", "Sam Officer", str(entry.id))
    }
    assert {r["Name"] for r in rows} == {"Ann Owner", "'=cmd|Eve"}
    shape = json.loads(schedule.geojson(made))
    assert shape["mark"]["entry"] == entry.id and len(shape["features"]) == 3
    assert all(f["properties"]["case"] == "1234567/26" for f in shape["features"])
    longitude, latitude = shape["features"][0]["geometry"]["coordinates"]
    assert abs(latitude - 51.544) < 0.01 and abs(longitude + 0.478) < 0.01, SPOT


@pytest.mark.slow
def test_what_an_app_may_not_call_by_itself(asked: Asked) -> None:
    for statement in ("SELECT * FROM disclosures", "SELECT * FROM register_tickets",
                      "SELECT register._ticket('board', 1, NULL, NULL, NULL)",
                      "SELECT register._redeem(gen_random_uuid(), 'board', NULL, NULL)",
                      "SELECT register._record('a:b', 'a:b', 'staff', NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
                      "SELECT note_enc FROM request_recipients"):  # fmt: skip
        with (
            asked.police.registry.sessions() as session,
            pytest.raises(sa.exc.ProgrammingError, match="denied"),
        ):
            session.execute(sa.text(statement))
