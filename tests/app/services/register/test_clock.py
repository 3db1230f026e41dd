"""Owners through the clock: renewal, silence, pauses, unconfirmed opt-ins, erasure. Every time is an argument."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from app import crypto
from app.db import utc_now
from app.errors import Invalid, Missing
from app.models.consent import Consent
from app.models.people import ContactPoint, Erasure
from app.models.service_messages import ServiceMessage
from app.registry import Registry
from app.services import people, retention, sessions
from app.services.register import cameras, owners, renewal
from messaging.links import KEEP
from tests import looking
from tests.conftest import Database
from tests.factories import ACTOR
from tests.owning import LABEL, MAIL, MOBILE, NAME, WEB, Register, facts, register
from tests.residents import address
from workers import housekeeping

URL = "https://wardlink.example"
DAY = timedelta(days=1)
YEAR = timedelta(days=365)


@pytest.fixture
def reg(committed: Database, app: Registry) -> Iterator[Register]:
    with capture_logs() as logs:
        made = register(committed, app)
        yield made
    said = json.dumps(logs, default=str)
    assert not any(word in said for word in (NAME, LABEL, MAIL, MOBILE)), "no log says who it was"


def remind(reg: Register, worker: Registry, now: datetime) -> list[ServiceMessage]:
    """What was sent when the clock said so."""
    with worker.sessions.begin() as session:
        renewal.remind(session, reg.registry.signer, public_url=URL, now=now)
    with reg.registry.sessions() as session:
        found = session.scalars(
            sa.select(ServiceMessage)
            .where(ServiceMessage.kind == "reminder", ServiceMessage.created_at == now)
            .order_by(ServiceMessage.id)
        )
        return list(found)


def lapse(worker: Registry, now: datetime) -> int:
    (one,) = (one for one in retention.CLASSES if one.name == "camera_owners")
    with worker.sessions.begin() as session:
        gone = one.purge(session, now=now)
        retention.note_run(session, one, gone, now=now)
    return gone


def owners_there(reg: Register) -> int:
    return int(reg.rows("SELECT count(*) FROM camera_owners")[0][0])


def test_a_year_of_silence_ends_in_erasure_after_two_reminders(reg: Register, worker: Registry) -> None:
    reg.opt_in(MAIL, MOBILE)
    now = utc_now()
    assert remind(reg, worker, now + 330 * DAY) == []
    (first,) = remind(reg, worker, now + 336 * DAY)
    assert (first.channel, first.address) == ("email", MAIL)
    assert remind(reg, worker, now + 337 * DAY) == [], "once"
    (second,) = remind(reg, worker, now + 359 * DAY)
    assert (second.channel, second.address) == ("sms", MOBILE), "the second goes by the other address"
    assert remind(reg, worker, now + 360 * DAY) == []
    assert lapse(worker, now + 364 * DAY) == 0, "the year is not over"
    assert owners_there(reg) == 1
    assert lapse(worker, now + 367 * DAY) == 1
    for table in ("camera_owners", "cameras"):
        assert reg.rows(f"SELECT count(*) FROM {table}")[0][0] == 0, table
    with reg.registry.sessions() as session:
        kept = session.scalars(sa.select(Consent)).all()
        assert session.scalars(sa.select(ContactPoint)).all() == [], "nobody is held for nothing"
    assert {(one.purpose, one.withdrawn_how, one.contact_id) for one in kept} == {
        ("register", "not renewed", None)
    }
    assert reg.events("contact:erase") == ["contact:erase"] * 2
    assert reg.events("owner:%") == ["owner:remind", "owner:remind", "owner:lapse"]
    assert lapse(worker, now + 368 * DAY) == 0


@pytest.mark.slow
def test_a_clock_that_stood_still_erases_nobody_unasked(reg: Register, worker: Registry) -> None:
    reg.opt_in()
    now = utc_now()
    assert lapse(worker, now + 500 * DAY) == 0
    (only,) = remind(reg, worker, now + 500 * DAY)
    assert only.address == MAIL, "the nearer question alone, and by the only address there is"
    assert lapse(worker, now + 505 * DAY) == 0
    assert lapse(worker, now + 506 * DAY) == 1


@pytest.mark.slow
def test_the_link_of_a_reminder_answers_without_signing_in(reg: Register, worker: Registry) -> None:
    reg.opt_in()
    now = utc_now()
    (sent,) = remind(reg, worker, now + 340 * DAY)
    link = next(word for word in (sent.text or "").split() if word.startswith(f"{URL}/{KEEP}/"))
    target = reg.registry.signer.verify(KEEP, link.rpartition("/")[2], now + 341 * DAY)
    (row,) = reg.rows("SELECT id, contact_id, reminded FROM camera_owners")
    assert (target.dispatch, target.contact, row[2]) == (row[0], row[1], 1)
    reg.change("UPDATE camera_owners SET renew_by = renew_by - interval '340 days'")
    with reg.registry.sessions.begin() as session:
        owners.answer(session, target.contact, target.dispatch, still=True, actor=WEB, now=utc_now())
    (row,) = reg.rows("SELECT renew_by > now() + interval '364 days', reminded FROM camera_owners")
    assert row == (True, 0)
    with reg.registry.sessions.begin() as session:
        owners.answer(session, target.contact, target.dispatch, still=False, actor=WEB, now=utc_now())
    assert owners_there(reg) == 0
    with pytest.raises(Missing), reg.registry.sessions.begin() as session:
        owners.answer(session, target.contact, target.dispatch, still=True, actor=WEB, now=utc_now())
    with reg.registry.sessions() as session:
        assert sessions.find(session, "", now=utc_now()) is None
        assert session.execute(sa.text("SELECT count(*) FROM web_sessions")).scalar_one() == 0, (
            "nor by what came of it"
        )


@pytest.mark.slow
def test_somebody_who_renews_is_asked_again_a_year_later(reg: Register, worker: Registry) -> None:
    token = reg.opt_in()
    now = utc_now()
    assert len(remind(reg, worker, now + 340 * DAY)) == 1
    with reg.registry.sessions.begin() as session:
        owners.renew(session, token, reg.page(token).mine[0].id, actor=WEB)
    assert len(remind(reg, worker, now + 340 * DAY + timedelta(hours=1))) == 1, "the year began anew today"
    assert lapse(worker, now + 364 * DAY) == 0


@pytest.mark.slow
def test_a_pause_ends_on_its_day_and_no_pause_ends_by_itself(reg: Register, worker: Registry) -> None:
    token = reg.opt_in()
    (mine,) = reg.page(token).mine
    now = utc_now()
    with pytest.raises(Invalid), reg.registry.sessions.begin() as session:
        owners.pause(session, token, mine.id, now - DAY, actor=WEB, now=now)
    with reg.registry.sessions.begin() as session:
        owners.pause(session, token, mine.id, now + 10 * DAY, actor=WEB, now=now)
    assert (reg.live(), reg.page(token).mine[0].state) == (0, "paused")
    for days, live in ((9, 0), (11, 1)):
        with worker.sessions.begin() as session:
            assert renewal.wake(session, now=now + days * DAY) == live
        assert reg.live() == live
    with reg.registry.sessions.begin() as session:
        owners.pause(session, token, mine.id, None, actor=WEB, now=now)
    with worker.sessions.begin() as session:
        assert renewal.wake(session, now=now + YEAR) == 0
    assert len(remind(reg, worker, now + 340 * DAY)) == 1, "who pauses is asked all the same"


@pytest.mark.slow
def test_an_opt_in_that_nobody_confirms_goes_after_a_week(reg: Register, worker: Registry) -> None:
    page = reg.begin()
    (signups,) = (one for one in retention.CLASSES if one.name == "signups")
    for days, left in ((6, 1), (8, 0)):
        with worker.sessions.begin() as session:
            signups.purge(session, now=utc_now() + days * DAY)
        assert reg.rows("SELECT count(*) FROM camera_drafts")[0][0] == left
    with pytest.raises(Missing):
        reg.enter(page, "123456")


@pytest.mark.slow
def test_the_hourly_job_does_all_of_it(reg: Register, worker: Registry) -> None:
    token = reg.opt_in()
    (mine,) = reg.page(token).mine
    with reg.registry.sessions.begin() as session:
        owners.pause(session, token, mine.id, utc_now() + DAY, actor=WEB, now=utc_now())
    reg.change(
        "UPDATE camera_owners SET paused_until = now() - interval '1 minute', renew_by = now() + interval '5 days'"
    )
    housekeeping.keep_house()
    assert reg.live() == 1
    assert reg.rows("SELECT reminded FROM camera_owners")[0][0] == 2
    reg.change(
        "UPDATE camera_owners SET renew_by = now() - interval '1 day', reminded_at = now() - interval '7 days'"
    )
    housekeeping.keep_house()
    assert owners_there(reg) == 0
    (line,) = reg.rows(
        "SELECT removed FROM retention_runs WHERE name = 'camera_owners' AND organisation_id = %s",
        reg.town.police.id,
    )
    assert line == (1,), "each organisation sees its own figure"


def disclosed(reg: Register, owner: UUID) -> None:
    """What an investigation was shown after the owner answered, as the gate writes it."""
    search = reg.searched(utc_now() - timedelta(days=1))

    words = crypto.keyring().encrypt(f"{NAME}, {MAIL}", "camera_owners.name")
    reg.change(
        "INSERT INTO camera_requests (id, search_id, investigation_id, organisation_id, staff_id, look_for_enc, "
        "window_from, window_to, asked_band, opened_at, expires_at) "
        "SELECT id, id, investigation_id, organisation_id, staff_id, 'x', "
        "window_from, window_to, 'fewer than 3', now(), now() + interval '1 day' FROM register_searches WHERE id = %s",
        search,
    )
    reg.change(
        "INSERT INTO request_recipients (id, request_id, owner_id, camera_ids, asked_at, answer, answered_at) "
        "VALUES (%s, %s, %s, '{}', now(), 'have-it', now())", search, search, owner,
    )  # fmt: skip
    reg.change(
        "INSERT INTO disclosures (id, request_id, investigation_id, organisation_id, owner_id, answer, channel, name_enc, "
        "address_enc, facts, entry_id, made_xid, at) SELECT id, id, investigation_id, organisation_id, %s, 'have-it', "
        "'email', %s, %s, '{}', 77, '3', now() FROM register_searches WHERE id = %s",
        owner, words, words, search,
    )  # fmt: skip


def test_somebody_erased_is_nowhere_but_in_what_was_disclosed(reg: Register, worker: Registry) -> None:
    """In no table in clear, nor under our keys; the record and the journal hold ids alone."""
    token = reg.opt_in(MAIL, MOBILE)
    (mine,) = reg.page(token).mine
    with reg.registry.sessions.begin() as session:
        cameras.add(session, token, mine.id, facts(label="By the quince tree"), actor=WEB)
        found = [people.find_contact(session, address(one)) for one in (MAIL, MOBILE)]
        contacts = [one.id for one in found if one is not None]
    reg.begin(MAIL, facts=facts(label="Never confirmed"))
    disclosed(reg, mine.id)
    remind(reg, worker, utc_now() + 340 * DAY)
    needles = {
        "name": NAME, "mail": MAIL, "mobile": MOBILE, "label": LABEL, "other label": "quince tree",
        "draft": "Never confirmed", "place": "(505020,184000)",
    }  # fmt: skip
    there = {table for table, _ in looking.everywhere(reg.admin, needles)}
    assert {
        "camera_owners",
        "cameras",
        "camera_drafts",
        "contact_points",
        "service_messages",
        "disclosures",
    } <= there

    with reg.registry.sessions.begin() as session:
        for contact in contacts:
            people.erase(session, contact, actor=ACTOR)
    assert {table for table, _ in looking.everywhere(reg.admin, needles)} == {"disclosures"}
    assert (owners_there(reg), reg.live()) == (0, 0)
    with reg.registry.sessions() as session:
        assert session.scalars(sa.select(ContactPoint)).all() == []
        kept = session.scalars(sa.select(Consent)).all()
        assert {(one.purpose, one.contact_id, bool(one.withdrawn_at)) for one in kept} == {
            ("register", None, True)
        }
        assert set(session.scalars(sa.select(Erasure.contact_id))) == set(contacts)
    with psycopg.connect(reg.admin.replace("+psycopg", "")) as admin:
        assert admin.execute("SELECT count(*) FROM request_recipients").fetchone() == (0,)


@pytest.mark.slow
def test_the_other_address_erased_leaves_the_owner_with_one(reg: Register) -> None:
    token = reg.opt_in(MAIL, MOBILE)
    with reg.registry.sessions.begin() as session:
        other = people.find_contact(session, address(MOBILE))
        assert other is not None
        people.erase(session, other.id, actor=ACTOR)
    (row,) = reg.rows("SELECT state, other_contact_id FROM camera_owners")
    assert row == ("active", None)
    assert len(token) > 20
