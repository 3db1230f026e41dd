"""What must be on the record is: every act of today is done by the service that does it, and found there afterwards.

With each its kind of section 62, as a competent authority must log it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyotp
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit.events import EVENTS
from app.db import utc_now
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.receipts import RawEvent
from app.permissions import Role
from app.registry import Registry
from app.services import (
    agreements,
    alarms,
    alerts,
    answers,
    areas,
    brake,
    consent,
    digests,
    dispatch,
    factors,
    inbound,
    organisations,
    pausing,
    people,
    preferences,
    receiving,
    replies,
    retention,
    roles,
    routes,
    second_factor,
    sessions,
    sign_in,
    staff,
    stand_ins,
    subscriptions,
    synthetic,
    teams,
    unreachable,
)
from app.services.budgets import allowances
from app.services.confirmations import links, signups
from app.services.factors import Door, Shown
from app.services.oidc import mapping, providers
from app.services.passkeys import Kind
from app.services.passwords import Verdict
from app.services.preferences import Preferences
from app.services.record_search import tickets
from app.services.record_search.wanted import Wanted
from messaging.links import Signer
from messaging.types import Channel, DeliveryRef, DeliveryStatus, Keyword, Receipt
from tests import ledger, residents
from tests import replies as talks
from tests.app.services.test_inbound import text
from tests.conftest import PROJECT, Database
from tests.entering import DESK, PASSWORD, enrol, ways_in
from tests.factories import ACTOR, TOPIC, Makes

URL = "http://127.0.0.1:8000"
NONE = None
Kinds = dict[str, str | None]
# Whose own tests find them on the record: they need a database, or a machine, of their own.
ELSEWHERE = {
    "key:rotate": "tests/app/services/test_rotation.py",
    "record:verify": "tests/app/test_audit_bundle.py",
    "contact:consult": "tests/app/cli/test_preferences.py",
    "organisation:end": "tests/app/services/test_organisation_end.py",
    "staff:step-up": "tests/app/web/test_ways_in.py",
    "staff:recover": "tests/app/services/test_factors.py",
    "staff:password": "tests/app/web/test_ways_in.py",
    "staff:codes": "tests/app/web/test_ways_in.py",
    "staff:end-sessions": "tests/app/services/test_sessions.py",
    "passkey:add": "tests/app/services/test_passkeys.py",
    "passkey:remove": "tests/app/services/test_passkeys.py",
    "passkey:refuse": "tests/app/services/test_passkeys.py",
    "staff:link": "tests/app/web/test_oidc.py",
    "identity:logout": "tests/app/web/test_oidc.py",
    "staff:alter": "tests/app/web/test_people.py",
    "staff:cut-off": "tests/app/web/test_people.py",
    "misuse:report": "tests/app/services/test_misuse.py",
    "misuse:consult": "tests/app/services/test_misuse.py",
    "misuse:close": "tests/app/services/test_misuse.py",
    "area:plan": "tests/app/services/area_changes/test_record.py",
    "area:schedule": "tests/app/services/area_changes/test_record.py",
    "area:stop": "tests/app/services/area_changes/test_record.py",
    "area:fail": "tests/app/services/area_changes/test_record.py",
    "area:apply": "tests/app/services/area_changes/test_record.py",
    "area:reverse": "tests/app/services/area_changes/test_record.py",
    "postcode:import": "tests/app/services/area_changes/test_importing.py",
    "register:cells": "tests/app/services/register/test_cells.py",
    "finding:raise": "tests/app/services/register/test_unusual.py",
    "finding:consult": "tests/app/services/register/test_reviews.py",
    "finding:close": "tests/app/services/register/test_reviews.py",
    "review:draw": "tests/app/services/register/test_reviews.py",
    "review:consult": "tests/app/services/register/test_reviews.py",
    "review:judge": "tests/app/services/register/test_reviews.py",
    "register:withhold": "tests/app/services/register/test_reviews.py",
    "staff:home": "tests/app/services/register/test_reviews.py",
    "register:search": "tests/app/services/register/gate/test_search.py",
    "register:lift": "tests/app/services/register/gate/test_search.py",
    "register:lapse": "tests/app/services/register/gate/test_gate.py",
    "camera:own-page": "tests/app/services/register/test_owners.py",
    "camera:draft": "tests/app/services/register/test_owners.py",
    "camera:add": "tests/app/services/register/test_owners.py",
    "camera:alter": "tests/app/services/register/test_owners.py",
    "camera:remove": "tests/app/services/register/test_owners.py",
    "owner:alter": "tests/app/services/register/test_owners.py",
    "owner:pause": "tests/app/services/register/test_owners.py",
    "owner:resume": "tests/app/services/register/test_owners.py",
    "owner:renew": "tests/app/services/register/test_owners.py",
    "owner:remind": "tests/app/services/register/test_clock.py",
    "owner:leave": "tests/app/services/register/test_owners.py",
    "owner:lapse": "tests/app/services/register/test_clock.py",
    "request:open": "tests/app/services/register/test_requests.py",
    "request:send": "tests/app/services/register/test_requests.py",
    "request:close": "tests/app/services/register/test_requests.py",
    "request:expire": "tests/app/services/register/test_requests.py",
    "request:answer": "tests/app/services/register/test_answers.py",
    "register:disclose": "tests/app/services/register/test_answers.py",
    "register:settings": "tests/app/services/register/test_answers.py",
    "board:read": "tests/app/services/register/test_board.py",
    "schedule:export": "tests/app/services/register/test_board.py",
    "person:erase": "tests/app/services/test_erasure.py",
    "erasure:replay": "tests/app/services/test_erasure.py",
}
# What no code does yet, and the issue that brings it.
LATER = {
    "contact:alter": "Residents",
    "contact:export": "Residents",
    "person:create": "Residents",
    "person:alter": "Residents",
    "person:consult": "Residents",
    "person:export": "Residents",
    "place:add": "Residents",
    "place:remove": "Residents",
    "alert:approve": "Alerts",
    "audience:count": "Alerts",
    "dispatch:resend": "Alerts",
    "dispatch:settle": "Alerts",
    "dispatch:expire": "Alerts",
    "dispatch:finish": "Alerts",
    "ledger:check": "Operations",
    "ledger:consult": "Operations",
    "sender:retire": "Operations",
    "receipt:merge": "Operations",
    "inbound:poll": "Operations",
}


@dataclasses.dataclass
class Force:
    """A competent authority with a ward, a team, an officer, senders and a resident in each channel."""

    session: Session
    makes: Makes
    police: Organisation
    borough: Area
    ward: Area
    resident: ContactPoint
    texter: ContactPoint
    signer: Signer

    def sent(self, **changes: object) -> UUID:
        """A dispatch of one alert more."""
        return ledger.resent(self.makes, self.police, self.ward, **changes)  # type: ignore[arg-type]


@pytest.fixture
def force(database: Database, registry: Registry) -> Iterator[Force]:
    """What everybody does, in one transaction that is taken back."""
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        police.competent_authority = True
        makes.sender(police)
        makes.sender(police, "sms")
        borough, ward, other = makes.borough()
        makes.postcode(ward, "UB8 1UW")
        makes.postcode(other, "UB8 1AA")
        yield Force(
            session,
            makes,
            police,
            borough,
            ward,
            makes.resident(police, ward),
            makes.resident(police, ward, channel=Channel.SMS),
            registry.signer,
        )


ACTS: dict[str, tuple[Callable[[Force], None], Kinds]] = {}


def act(**kinds: str | None) -> Callable[[Callable[[Force], None]], Callable[[Force], None]]:
    """Something that is done, and what it leaves on the record: event (with _ for : and -) → kind of s.62."""
    known = {event.replace(":", "__").replace("-", "_"): event for event in EVENTS}

    def keep(do: Callable[[Force], None]) -> Callable[[Force], None]:
        ACTS[do.__name__] = (do, {known[name]: kind for name, kind in kinds.items()})
        return do

    return keep


# -- the ground
@act(
    organisation__create=NONE, organisation__alter=NONE, organisation__limits=NONE, sender__create=NONE,
    sender__alter=NONE,
)  # fmt: skip
def organisations_and_senders(force: Force) -> None:
    police = force.makes.organisation()
    organisations.alter(force.session, police.id, by=None, name="Another name", actor=ACTOR, now=utc_now())
    allowances.set_limits(force.session, police, {("day", "emails"): 10}, actor=ACTOR)
    number = force.makes.sender(police, "sms")
    stand_ins.stand_in(force.session, number.address, "+447700900555", rate=5.0, actor=ACTOR)


@act(team__create=NONE, team__alter=NONE, team__end=NONE)
def a_team(force: Force) -> None:
    team = force.makes.team(force.police, [force.ward])
    teams.add_member(force.session, team.id, role="Sergeant", name="Alex", agreed=True, actor=ACTOR)
    teams.end(force.session, team.id, actor=ACTOR)


@act(staff__invite=NONE, staff__enrol=NONE, role__grant=NONE, role__take=NONE, staff__leave=NONE)
def somebody_of_staff(force: Force) -> None:
    found = enrol(
        force.session, slug=force.police.slug, team=None, address="sam@police.example", name="Sam", site=URL
    )
    granted = force.makes.role(found, Role.AUDITOR)
    roles.take(force.session, granted.id, by=None, actor=ACTOR, now=utc_now())
    staff.leave(force.session, "sam@police.example", actor=ACTOR, now=utc_now())


@act(staff__refuse=NONE, staff__sign_in=NONE, staff__sign_out=NONE)
def signing_in_and_out(force: Force) -> None:
    officer = force.makes.officer(force.police, password=PASSWORD)
    where: dict[str, Any] = {"neighbours": "198.51.100.0/24", "now": utc_now()}
    address = staff.read_email(officer.email)
    knock = sign_in.knock(force.session, address, **where)
    where["origin"] = "web"
    assert sign_in.password(force.session, knock, Verdict(False), **where).token is None
    token = sign_in.password(force.session, knock, Verdict(True), **where).token
    assert token is not None and officer.totp_secret is not None
    half = sessions.find(force.session, token, now=utc_now())
    assert half is not None
    shown = Shown(typed=pyotp.TOTP(officer.totp_secret).now())
    door = Door(Kind.SECOND, None, half.digest)
    whole = sign_in.second(force.session, half, shown, door, DESK, now=utc_now()).token
    assert whole is not None
    visitor = sessions.find(force.session, whole, now=utc_now())
    assert visitor is not None
    sign_in.sign_out(force.session, visitor, actor=ACTOR)


@act(staff__connect_app=NONE, staff__remove_app=NONE)
def an_app(force: Force) -> None:
    officer = force.makes.officer(force.police)
    ways_in(force.session, officer)
    secret = second_factor.new_secret()
    code, now = pyotp.TOTP(secret).now(), utc_now()
    assert factors.connect_app(force.session, officer.id, secret, code, actor=ACTOR, now=now)
    factors.remove_app(force.session, officer.id, actor=ACTOR, now=now)


@act(identity__set=NONE, identity__map=NONE, identity__unmap=NONE, identity__end=NONE)
def an_identity_provider(force: Force) -> None:
    slug, group = force.police.slug, "Wardlink auditors"
    providers.put(
        force.session, slug, issuer="https://id.police.example", client_id="wardlink", client_secret="a secret",
        domains=["police.example"], sandbox=False, actor=ACTOR,
    )  # fmt: skip
    mapping.map_group(force.session, slug, group, Role.AUDITOR, roles.EVERYWHERE, actor=ACTOR)
    mapping.unmap_group(force.session, slug, group, Role.AUDITOR, roles.EVERYWHERE, actor=ACTOR)
    providers.end(force.session, slug, actor=ACTOR, now=utc_now())


@act(agreement__add=NONE, agreement__alter=NONE, agreement__end=NONE)
def an_agreement(force: Force) -> None:
    today = utc_now().date()
    made = agreements.add(
        force.session, force.police.id, kind="sharing", title="With the council", reference="DSA-7",
        signed_on=today, review_on=today + timedelta(days=300), by=None, actor=ACTOR, today=today,
    )  # fmt: skip
    agreements.alter(
        force.session, made.id, title="With two councils", reference="DSA-7",
        review_on=today + timedelta(days=300), by=None, actor=ACTOR, today=today,
    )  # fmt: skip
    agreements.end(force.session, made.id, by=None, actor=ACTOR, now=utc_now())


@act(record__search="consultation", record__consult="consultation", record__export="disclosure")
def reading_the_record(force: Force) -> None:
    who = force.makes.who(force.makes.officer(force.police, role=Role.AUDITOR, place=roles.EVERYWHERE))
    now = utc_now()
    actor = dataclasses.replace(ACTOR, kind="staff", id=str(who.id))  # type: ignore[arg-type]
    id = tickets.begin(force.session, who, Wanted(), why="The yearly audit", actor=actor, now=now)
    ticket = tickets.found(force.session, who, id, now=now)
    (entry, *_) = tickets.page(force.session, who, ticket, before=None)
    tickets.consult(force.session, who, ticket, entry.id, actor=actor, now=now)
    tickets.export(force.session, who, ticket, "csv", actor=actor, now=now)


# -- people
@act(
    contact__create="collection", contact__confirm="alteration", subscription__add="collection",
    consent__give="collection", confirmation__refuse="alteration",
)  # fmt: skip
def signing_up(force: Force) -> None:
    place = residents.Town(force.police, [force.ward], consent.current_wording(force.session).id)
    asked = residents.wanted(place, "kim@people.example", postcode="UB8 1UW")
    signups.begin(force.session, **asked)  # type: ignore[arg-type]
    (letter,) = residents.letters(force.session, "kim@people.example")
    links.press(force.session, letter.link.rpartition("/")[2], actor=ACTOR, now=residents.NOW)
    links.refuse(force.session, letter.not_me.rpartition("/")[2], actor=ACTOR, now=residents.NOW)


@act(
    subscription__remove="alteration", subscription__add="collection", place__alter="alteration",
    subscription__alter="alteration", consent__withdraw="alteration", contact__erase="erasure",
)  # fmt: skip
def changing_and_leaving(force: Force) -> None:
    session, contact = force.session, force.resident
    place = people.subscribe(
        session, contact, force.police.id, postcode="UB8 1UW", topics=[TOPIC], how="test", actor=ACTOR
    )
    subscriptions.set_topics(session, contact.id, place.id, ["prevention"], actor=ACTOR)
    subscriptions.move(session, contact.id, place.id, "UB8 1AA", actor=ACTOR)
    preferences.choose(session, contact, Preferences(digest="daily", digest_hour=18), actor=ACTOR)
    consent.leave(session, contact.id, force.police.id, how="test", actor=ACTOR)
    people.erase(session, contact.id, actor=ACTOR)


@act(wording__add=NONE)
def a_wording(force: Force) -> None:
    consent.add_wording(force.session, "Another text.", actor=ACTOR)


@act(suppression__add="alteration", suppression__lift="alteration")
def stop_and_start_by_text(force: Force) -> None:
    number = force.session.scalar(
        sa.text("SELECT address FROM senders WHERE channel = 'sms' ORDER BY id DESC")
    )
    for keyword in (Keyword.STOP, Keyword.START):
        inbound.receive(force.session, text(force.texter.address, str(number), keyword))


@act(suppression__add="alteration")
def a_bounce(force: Force) -> None:
    sent = force.sent()
    receipt = Receipt(DeliveryRef(sent, 0, 1, 1), DeliveryStatus.BOUNCED, utc_now(), suppress="bounce")
    assert unreachable.suppress(force.session, [(force.resident.id, receipt)]) == 1


# -- alerts
@act(alert__draft=NONE, alert__alter=NONE, alert__discard=NONE)
def a_draft(force: Force) -> None:
    alert = force.makes.alert(force.police, [force.ward])
    alerts.change(
        force.session, alert, seen=alert.changed_at, actor=ACTOR, kind="alert", urgency="routine", topic=TOPIC,
        headline="Another headline", body="Other words.", audience_expression=alert.audience, channels=["email"],
    )  # fmt: skip
    alerts.discard(force.session, alert, actor=ACTOR)


@act(alert__send=NONE, dispatch__pause=NONE, dispatch__resume=NONE, dispatch__stop=NONE)
def a_sending(force: Force) -> None:
    sent = force.sent()
    pausing.pause(force.session, sent, actor=ACTOR, why="Wait")
    pausing.resume(force.session, sent, actor=ACTOR)
    dispatch.stop(force.session, sent, actor=ACTOR, why="Over")


@act(dispatch__exceed=NONE)
def a_risk_to_life_over_the_limit(force: Force) -> None:
    allowances.set_limits(force.session, force.police, {("day", "emails"): 0}, actor=ACTOR)
    force.sent(urgency="risk-to-life")


@act(digest__send=NONE)
def a_digest(force: Force) -> None:
    preferences.choose(
        force.session, force.resident, Preferences(digest="daily", digest_hour=18), actor=ACTOR
    )
    force.sent()
    made = digests.send_due(force.session, public_url=URL, now=utc_now() + timedelta(days=1, hours=2))
    assert made.digests == 1


@act(
    reply__receive="collection", reply__consult="consultation", reply__answer="disclosure",
    reply__close="alteration", reply__reopen="alteration",
)  # fmt: skip
def a_reply(force: Force) -> None:
    session, now = force.session, utc_now()
    who = talks.officer(force.makes, force.police)
    sent = talks.appeal(force.makes, force.police, force.ward)
    reply = receiving.receive_web(
        session,
        contact_id=force.resident.id,
        dispatch_id=sent,
        body="A van.",
        name=None,
        once="x" * 32,
        now=now,
    )
    replies.thread(session, who, reply, actor=ACTOR)
    answers.answer(
        session, who, reply, body="Thanks.", once="a" * 32, signer=force.signer, public_url=URL, regions=("GB",),
        actor=ACTOR, now=now,
    )  # fmt: skip
    replies.close(session, who, reply, actor=ACTOR, now=utc_now())
    replies.reopen(session, who, reply, actor=ACTOR)


# -- what the service does by itself
@act(alarm__raise=NONE, alarm__clear=NONE, alarm__test=NONE)
def alarms_of_every_kind(force: Force) -> None:
    alarms.raise_(force.session, "provider-down", "provider:sms")
    alarms.clear(force.session, "provider-down", "provider:sms", calm=timedelta(0))
    alarms.test(force.session, actor=ACTOR, now=utc_now())


@act(brake__pull=NONE, brake__release=NONE)
def the_complaint_brake(force: Force) -> None:
    force.sent()
    ledger.carried(force.session)
    force.session.execute(sa.text("UPDATE batches SET complained = 5, accepted = 0 WHERE state = 'done'"))
    (pulled,) = brake.check(force.session, ["test"])
    brake.release(force.session, pulled.domain, why="Old addresses removed", actor=ACTOR)


@act(provider__down=NONE, provider__up=NONE)
def a_provider_down_and_up(force: Force) -> None:
    force.sent()
    ledger.carried(force.session)
    names = {Channel.EMAIL: ["test"]}
    routes.evaluate(force.session, names)
    force.session.execute(
        sa.text(
            "INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, opened_at,"
            " closed_at, outcome, lease_token, failed_percent)"
            " SELECT dispatch_id, batch_n, n + g, provider, sender_id, 1, 1, now(), now(), 'taken', lease_token, 100"
            " FROM attempts, generate_series(1, 20) g"
        )
    )
    assert [one.state for one in routes.evaluate(force.session, names)] == ["down"]
    force.session.execute(sa.text("UPDATE provider_states SET state = 'trying', since = now()"))
    force.session.execute(
        sa.text(
            "UPDATE attempts SET failed_percent = 0, opened_at = clock_timestamp(), closed_at = clock_timestamp()"
        )
    )
    assert [one.state for one in routes.evaluate(force.session, names)] == ["up"]


@act(ledger__purge="erasure")
def what_had_its_time(force: Force) -> None:
    force.session.add(
        RawEvent(
            source="sendgrid", body="[]", received_at=utc_now() - timedelta(days=40), merged_at=utc_now()
        )
    )
    force.session.flush()
    assert retention.purge_raw_events(force.session, now=utc_now()) == 1


@pytest.mark.parametrize("name", list(ACTS))
def test_an_act_is_on_the_record_with_its_kind(force: Force, name: str) -> None:
    do, kinds = ACTS[name]
    last = force.session.scalar(sa.select(sa.func.max(AuditEntry.id))) or 0
    do(force)
    entries = force.session.scalars(sa.select(AuditEntry).where(AuditEntry.id > last)).all()
    found: dict[str, set[str | None]] = {}
    for entry in entries:
        found.setdefault(entry.event, set()).add(entry.s62)
    for event, kind in kinds.items():
        assert found.get(event) == {kind}, (event, found)


def test_loading_london_and_its_synthetic_people_is_on_the_record(london: Database) -> None:
    opened = london.open()
    with opened.sessions() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.wording()
        people_of = synthetic.generate(synthetic.postcodes_of_london()[:5], 3, seed=1)
        synthetic.load(session, people_of, police.id, [TOPIC], actor=ACTOR)
        assert areas.loaded_release(session)
        events = set(session.scalars(sa.select(AuditEntry.event)))
        session.rollback()
    opened.engine.dispose()
    assert {"area:load", "postcode:load", "person:synthesise"} <= events


def test_a_controller_that_is_no_competent_authority_logs_no_kinds_of_its_own(force: Force) -> None:
    force.police.competent_authority = False
    force.session.flush()
    last = force.session.scalar(sa.select(sa.func.max(AuditEntry.id))) or 0
    a_reply(force)
    reading_the_record(force)
    kinds = force.session.scalars(
        sa.select(AuditEntry.s62).where(AuditEntry.id > last, AuditEntry.organisation_id == force.police.id)
    )
    assert set(kinds) == {None}


def test_every_event_is_walked_here_or_found_by_its_own_test_or_belongs_to_a_later_issue() -> None:
    walked = {event for _, kinds in ACTS.values() for event in kinds}
    walked |= {"area:load", "postcode:load", "person:synthesise"}
    assert set(EVENTS) == walked | set(ELSEWHERE) | set(LATER)
    assert not walked & set(LATER) and not set(ELSEWHERE) & set(LATER)
    for event, test in ELSEWHERE.items():
        assert event in (PROJECT / Path(test)).read_text("utf-8"), event


def test_the_kinds_that_apply_today_are_all_set_somewhere() -> None:
    """Combination comes with the register; the other five are here."""
    kinds = {kind for _, of in ACTS.values() for kind in of.values()}
    assert kinds == {None, "collection", "alteration", "consultation", "disclosure", "erasure"}
