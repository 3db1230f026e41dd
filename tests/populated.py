"""Something behind every address of the site, in every state that its pages show."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import quote, urlencode
from uuid import UUID

from app.audit import record as audit
from app.db import Pt, utc_now
from app.models.areas import Area, Postcode
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.staff import Staff
from app.permissions import Role
from app.registry import Registry
from app.services import (
    agreements,
    answers,
    consent,
    dispatch,
    enrolment,
    misuse,
    passwords,
    pausing,
    people,
    receiving,
    replies,
    roles,
    subscriptions,
    teams,
)
from app.services.confirmations import own_page, signups
from app.services.oidc import providers
from app.services.record_search import tickets
from app.services.record_search.wanted import Wanted
from messaging.links import CAMERA, LIVES, MANAGE, REPLY, STOP, Signer
from messaging.types import Channel
from tests import register_rows
from tests.entering import PASSWORD, code_in, enrol, invite, link_in, terms, ways_in
from tests.factories import ACTOR, TOPIC, Makes
from tests.watching import watched

TEAM = "Uxbridge neighbourhood team"


@dataclass
class Populated:
    """What the addresses of pages are made of. ``paths``: endpoint → paths at which its page has
    something; ``taking``: the same for what is posted;
    ``typed``: what a form there accepts in the fields that its page shows empty.
    """

    ward: str
    borough: str
    postcode: str
    slug: str
    organisation_id: UUID
    team_id: UUID
    officer_id: UUID
    officer_email: str
    chief_id: UUID  # holds every role, everywhere
    contact_id: int
    reference: str
    draft_id: UUID
    place_id: UUID
    paths: dict[str, list[str]]
    taking: dict[str, list[str]]
    typed: dict[str, dict[str, str]]

    def staff(self, registry: Registry) -> Staff:
        """Whoever may open every page, fresh from the database."""
        with registry.sessions() as session:
            return session.get_one(Staff, self.chief_id)


def small_town(makes: Makes) -> tuple[Area, Area, str]:
    """A borough, a ward and a postcode in it: enough of London where all of it would be too much."""
    borough, ward, _ = makes.borough()
    force = Area(code="E23000001", kind="force", name="Metropolitan Police", valid_from=borough.valid_from)
    makes.session.add(force)
    makes.session.flush()
    borough.parent_id = force.id
    makes.session.add(
        Postcode(postcode="UB8 1UW", at=Pt(505_600.0, 184_000.0), ward_code=ward.code, quality=1, live=True,
                 release_id="test")
    )  # fmt: skip
    makes.session.flush()
    return borough, ward, "UB8 1UW"


def populate(
    makes: Makes,
    registry: Registry,
    found: tuple[Area, Area, str] | None = None,
    *,
    name: str = "Demo Police",
) -> Populated:
    """Fill a database; ``found``: borough, ward and a postcode of it, where London is loaded."""
    session, site = makes.session, registry.settings.public_url
    now = utc_now()
    borough, ward, postcode = found or small_town(makes)
    force = makes.organisation(name)
    for lane in ("bulk", "urgent"):
        makes.sender(force, "email", lane=lane)
        makes.sender(force, "sms", lane=lane)
    makes.wording()
    team = teams.create(
        session,
        controller=force.id,
        name=TEAM,
        areas=[ward.code],
        about="We patrol on foot and by bicycle, and hold a street meeting every month.",
        email="team@police.example",
        phone="101",
        url="https://police.example/team",
        actor=ACTOR,
    )
    teams.add_member(session, team.id, role="Sergeant", name="Alex Morgan", agreed=True, actor=ACTOR)
    teams.add_member(session, team.id, role="Police constable", actor=ACTOR)
    address = f"officer-{force.slug}@police.example"
    officer = enrol(session, slug=force.slug, team=TEAM, address=address, name="PC Sam Okafor", site=site)
    chief = _chief(makes, force)
    contacts = [
        _resident(makes, force.id, Channel.EMAIL, f"resident{n}-{force.slug}@people.example", postcode)
        for n in range(5)
    ]
    phone = _resident(makes, force.id, Channel.SMS, f"07700 9007{next(makes.numbers) % 100:02d}", postcode)
    texts = {"channels": ["email", "sms"], "team": team.id}
    draft = makes.alert(force, [ward], **texts)
    other_draft = makes.alert(force, [borough], headline="A second draft", **texts)
    urgent = makes.alert(
        force,
        [ward],
        kind="alert",
        urgency="urgent",
        headline="Gas leak: keep away from the High Street",
        **texts,
    )
    appeal = makes.alert(
        force,
        [ward],
        kind="appeal",
        headline="Did you see this? Robbery at a bus stop on Tuesday",
        how_to_tell="Call 101 and say CAD 1234.",
        **texts,
    )
    session.flush()
    sendings = [
        dispatch.send(session, one.id, token=f"populated-{one.id}", actor=ACTOR, public_url=site).id
        for one in (urgent, appeal)
    ]
    stopped = makes.alert(force, [ward], headline="Road closed on Sunday", **texts)
    stopped_sending = dispatch.send(
        session, stopped.id, token=f"populated-{stopped.id}", actor=ACTOR, public_url=site
    ).id
    dispatch.stop(session, stopped_sending, actor=ACTOR, why="The road is open again.")

    later = makes.alert(force, [ward], headline="Street meeting on Saturday", **texts)
    waiting = dispatch.send(
        session,
        later.id,
        token=f"populated-{later.id}",
        actor=ACTOR,
        public_url=site,
        not_before=now + timedelta(days=1),
    ).id

    held = makes.alert(force, [ward], headline="Advice for the dark evenings", **texts)
    paused = dispatch.send(session, held.id, token=f"populated-{held.id}", actor=ACTOR, public_url=site).id
    pausing.pause(session, paused, actor=ACTOR, why="Is the picture the right one?")

    reports = _misuse(makes, force.id, chief, site)
    seen = watched(makes, registry, force.id, borough.code, now)
    who = makes.who(officer)
    talks = [
        receiving.receive_web(
            session,
            contact_id=contact.id,
            dispatch_id=sendings[1],
            body="I saw two people on one electric bicycle near the station.\n\nThey went towards the park.",
            name=name,
            once=f"{contact.id:032x}",
            now=now,
        )
        for contact, name in zip(contacts[:4], ("Jo", None, "Ada", "Max"), strict=True)
    ]
    answers.answer(
        session,
        who,
        talks[1],
        body="Thank you. Can you say at what time?",
        once="a" * 32,
        signer=registry.signer,
        public_url=site,
        regions=registry.settings.sms_regions,
        actor=ACTOR,
        now=now,
    )
    replies.close(session, who, talks[2], actor=ACTOR, now=now)

    asks = terms(site)
    new, known = f"new-{force.slug}@people.example", contacts[4]
    wanted = [
        people.read_address(Channel.EMAIL, new, fictional=True),
        people.read_address(Channel.SMS, f"07700 9006{next(makes.numbers) % 100:02d}", fictional=True),
    ]
    topics = ["incidents and appeals", "prevention"]
    check = signups.begin(
        session,
        controller=force.id,
        postcode=postcode,
        topics=topics,
        wording=consent.current_wording(session).id,
        addresses=wanted,
        salutation="Kim",
        terms=asks,
        now=now,
    )
    own = own_page.ask(session, people.stored_address("email", known.address), asks, now=now)
    quiet = own_page.ask_by_link(session, phone.id, asks, now=now)
    sign = functools.partial(_link, registry.signer, phone.id, sendings[1])
    ends = now + LIVES
    invitation = invite(
        session,
        slug=force.slug,
        team=TEAM,
        address=f"guest-{force.slug}@police.example",
        name="PC Guest",
        site=site,
    )
    half = invite(
        session,
        slug=force.slug,
        team=TEAM,
        address=f"half-{force.slug}@police.example",
        name="PC Half",
        site=site,
    )
    enrolment.choose(session, half, passwords.make(PASSWORD), now=now)
    colleague, other_team = makes.officer(force, team), makes.team(force, [ward], name="Team of nobody")
    (held,) = roles.of_staff(session, colleague.id, now=now)
    awaited = makes.officer(force, team)
    awaited.state = "invited"
    paper = agreements.add(
        session,
        force.id,
        kind="sharing",
        title="Data sharing with the council",
        reference="DSA-7",
        signed_on=date(2025, 1, 6),
        review_on=now.date() + timedelta(days=20),
        by=None,
        actor=ACTOR,
        today=now.date(),
    )
    theirs = f"/staff/people/{colleague.id}"
    providers.put(
        session, force.slug, issuer=f"http://127.0.0.1:9/{force.slug}", client_id="wardlink", client_secret="nobody's",
        domains=[f"{force.slug}.example"], sandbox=True, actor=ACTOR,
    )  # fmt: skip
    passkey, recovery, elsewhere = ways_in(session, chief)
    case, searched, asking, asked_by = register_rows.asked(
        session, force.id, chief.id, phone.id, number=next(makes.numbers) + 1_000, now=now
    )
    (place,) = (one.place for one in subscriptions.mine(session, known.id))
    auditor = audit.Actor(audit.ActorKind.STAFF, id=str(chief.id), origin="web")
    looked = tickets.begin(
        session, makes.who(chief), Wanted(), why="The yearly audit", actor=auditor, now=now
    )
    reach = {
        "ward.home": ["/"],
        "ward.postcode": [f"/postcode?postcode={quote(postcode)}", "/postcode?postcode=SW1A", "/postcode"],
        "ward.ward": [f"/ward/{ward.code}"],
        "area.boroughs": ["/boroughs"],
        "area.borough": [f"/borough/{borough.code}"],
        "area.ward_alerts": [f"/ward/{ward.code}/alerts"],
        "area.borough_alerts": [f"/borough/{borough.code}/alerts"],
        "area.ward_feed": [f"/ward/{ward.code}/feed.atom"],
        "area.borough_feed": [f"/borough/{borough.code}/feed.atom"],
        "alerts.alert": [f"/alert/{one.reference}" for one in (urgent, appeal, stopped)],
        "alerts.genuine": [
            "/genuine",
            f"/genuine?reference={appeal.reference}",
            "/genuine?reference=WL-BCDFGHJ",
        ],
        "about.accessibility": ["/accessibility"],
        "about.privacy": ["/privacy"],
        "about.cookies": ["/cookies"],
        "subscribe.topics": [f"/subscribe?postcode={quote(postcode)}"],
        "subscribe.contact": [
            "/subscribe/contact?"
            + urlencode({"postcode": postcode, "organisation": force.id, "topic": topics}, doseq=True)
        ],
        "subscribe.check": [f"/subscribe/check/{check}"],
        "subscribe.confirm": [f"/confirm/{link_in(session, new, '/confirm/')}"],
        "subscribe.not_me": [f"/not-me/{link_in(session, new, '/not-me/')}"],
        "manage.ask": ["/manage"],
        "manage.check": [f"/manage/check/{own}", f"/manage/check/{quiet}"],
        "manage.from_message": [sign(MANAGE, ends)],
        "manage.page": ["/my"],
        "manage.move": [f"/my/move?place={place}"],
        "manage.leave": ["/my/leave"],
        "manage.left": ["/manage/left"],
        "leave.stop": [sign(STOP, None)],
        "reply.reply": [sign(REPLY, ends)],
        "sign_in.sign_in": ["/staff/sign-in"],
        "sign_in.second": ["/staff/sign-in/code"],
        "oidc.find": ["/staff/sign-in/organisation"],
        "oidc.begin": [f"/staff/sign-in/{force.slug}"],
        "oidc.back": [f"/staff/sign-in/{force.slug}/back?state=x&code=y"],
        "oidc.again": ["/staff/step-up/organisation"],
        "oidc.signed_out": [f"/staff/signed-out/{force.slug}"],
        "invitation.accept": [f"/staff/invitation/{invitation}", f"/staff/invitation/{half}"],
        "step_up.ask": ["/staff/step-up?back=/staff", "/staff/step-up"],
        "account.page": ["/staff/account"],
        "account.password": ["/staff/account/password"],
        "account.codes": ["/staff/account/recovery-codes", "/staff/account/recovery-codes?first=1"],
        "account.app": ["/staff/account/app"],
        "passkeys.add": ["/staff/account/passkeys/new"],
        "compose.home": ["/staff"],
        "compose.new": ["/staff/alerts/new"],
        "compose.edit": [f"/staff/alerts/{draft.id}/edit"],
        "compose.preview": [f"/staff/alerts/{draft.id}", f"/staff/alerts/{draft.id}?exercise=1"],
        "progress.dispatch": [
            f"/staff/dispatches/{one}" for one in (*sendings, stopped_sending, waiting, paused)
        ],
        "progress.figures": [f"/staff/dispatches/{sendings[1]}/figures"],
        "progress.stop": [f"/staff/dispatches/{waiting}/stop"],
        "progress.pause": [f"/staff/dispatches/{waiting}/pause"],
        "progress.resume": [f"/staff/dispatches/{paused}/resume"],
        "inbox.replies": [f"/staff/inbox{query}" for query in ("", "?state=answered", "?state=closed")],
        "inbox.reply": [f"/staff/inbox/{one}" for one in talks],
        "people.people": ["/staff/people", "/staff/people?role=officer&state=active&soon=1"],
        "people.invite": ["/staff/people/invite"],
        "people.person": [theirs, f"/staff/people/{officer.id}"],
        "people.invite_again": [f"/staff/people/{awaited.id}/invite-again"],
        "people.team": [f"{theirs}/team"],
        "people.sign_out": [f"{theirs}/sign-out"],
        "people.leave": [f"{theirs}/leave"],
        "roles.grant": [f"{theirs}/roles/grant"],
        "roles.renew": [f"{theirs}/roles/{held.id}/end"],
        "roles.take": [f"{theirs}/roles/{held.id}/take"],
        "teams.listed": ["/staff/teams"],
        "teams.new": ["/staff/teams/new"],
        "teams.team": [f"/staff/teams/{team.id}"],
        "teams.alter": [f"/staff/teams/{team.id}/edit"],
        "teams.end": [f"/staff/teams/{other_team.id}/end"],
        "organisation.organisation": ["/staff/organisation"],
        "organisation.alter": ["/staff/organisation/edit"],
        "organisation.add": ["/staff/organisation/agreements/new"],
        "organisation.change": [f"/staff/organisation/agreements/{paper.id}"],
        "misuse.report": ["/staff/misuse/report"],
        "misuse.sent": ["/staff/misuse/sent"],
        "misuse.reports": ["/staff/misuse", "/staff/misuse?state=closed"],
        "misuse.one": [f"/staff/misuse/{one}" for one in reports],
        "figures.figures": ["/register/figures"],
        "figures.csv": ["/register/figures.csv"],
        "findings.listed": ["/staff/register/findings", "/staff/register/findings?state=closed"],
        "findings.one": [f"/staff/register/findings/{one}" for one in seen.findings],
        "reviews.listed": [f"/staff/register/reviews?state={state}" for state in ("mine", "all", "done")],
        "reviews.one": [f"/staff/register/reviews/{one}" for one in seen.reviews],
        "withholding.find": ["/staff/register/withholding"],
        "withholding.case": [f"/staff/register/withholding/{seen.case_id}"],
        "withholding.withhold": [f"/staff/register/withholding/searches/{one}" for one in seen.searches],
        "home_ward.own": ["/staff/account/home"],
        "home_ward.of_person": [f"{theirs}/home"],
        "security.page": ["/security"],
        "security.text": ["/.well-known/security.txt"],
        "health.live": ["/health/live"],
        "health.ready": ["/health/ready"],
        "metrics.metrics": ["/metrics"],
        "retention.report": ["/staff/retention", "/staff/retention?day=2026-01-01"],
        "status.status": ["/status"],
        "status.figures": ["/status/figures"],
        "record.search": ["/staff/record"],
        "record.found": [f"/staff/record/{looked}"],
        "record.entry": [f"/staff/record/{looked}/{looked - 1}"],
        "record.heads": ["/staff/record/heads"],
        "search.search": ["/staff/register/search", "/staff/register/search?case=CAD-1/26"],
        "search.mine": ["/staff/register/searches"],
        "search.one": [f"/staff/register/searches/{searched}"],
        "search.wards": ["/staff/register/wards.json?box=-0.5,51.5,-0.4,51.6"],
        "lifts.listed": ["/staff/register/lifts"],
        "requests.new": [f"/staff/register/searches/{searched}/request"],
        "requests.close": [f"/staff/register/requests/{asking}/close"],
        "board.cases": ["/staff/register/cases"],
        "board.case": [f"/staff/register/cases/{case}"],
        "camera_answer.answer": [_link(registry.signer, phone.id, asked_by, CAMERA, ends)],
        "status.alarm": ["/status/alarms/urgent-stalled", "/status/alarms/brake-pulled"],
    }
    posts = {
        "subscribe.again": [f"/subscribe/check/{check}/again"],
        "manage.topics": ["/my/topics"],
        "manage.sign_out": ["/my/sign-out"],
        "sign_in.sign_out": ["/staff/sign-out"],
        "sign_in.challenge": ["/staff/sign-in/passkey"],
        "invitation.challenge": [f"/staff/invitation/{half}/passkey"],
        "step_up.challenge": ["/staff/step-up/passkey"],
        "account.end": [f"/staff/account/sessions/{elsewhere}/end"],
        "account.end_others": ["/staff/account/sessions/end"],
        "account.remove_app": ["/staff/account/app/remove"],
        "passkeys.challenge": ["/staff/account/passkeys/challenge"],
        "passkeys.remove": [f"/staff/account/passkeys/{passkey}/remove"],
        "compose.send": [f"/staff/alerts/{draft.id}/send"],
        "compose.discard": [f"/staff/alerts/{other_draft.id}/discard"],
        "compose.segments": ["/staff/alerts/segments"],
        "search.look": ["/staff/register/search"],
        "lifts.give": ["/staff/register/lifts"],
        "board.take": [f"/staff/register/cases/{case}/schedule"],
        "record.look": ["/staff/record"],
        "record.export": [f"/staff/record/{looked}/export"],
        "record.take_heads": ["/staff/record/heads"],
        "misuse.close": [f"/staff/misuse/{reports[0]}/close"],
        "findings.close": [f"/staff/register/findings/{seen.findings[0]}/close"],
        "reviews.judge": [f"/staff/register/reviews/{seen.reviews[0]}/judge"],
        "inbox.answer": [f"/staff/inbox/{talks[0]}/answer"],
        "inbox.close": [f"/staff/inbox/{talks[0]}/close"],
        "inbox.reopen": [f"/staff/inbox/{talks[2]}/reopen"],
        "people.find": ["/staff/people/find"],
        "teams.add_member": [f"/staff/teams/{team.id}/members"],
        "teams.remove_member": [f"/staff/teams/{team.id}/members/remove"],
        "organisation.end": [f"/staff/organisation/agreements/{paper.id}/end"],
        "identity.logout": [f"/hooks/identity/{force.slug}"],
        "twilio.status": ["/hooks/twilio/status?ref=x"],
        "twilio.inbound": ["/hooks/twilio/inbound"],
        "sendgrid.events": ["/hooks/sendgrid/events"],
    }
    return Populated(
        ward=ward.code,
        borough=borough.code,
        postcode=postcode,
        slug=force.slug,
        organisation_id=force.id,
        team_id=team.id,
        officer_id=officer.id,
        officer_email=address,
        chief_id=chief.id,
        contact_id=known.id,
        place_id=place,
        reference=appeal.reference,
        draft_id=draft.id,
        paths=reach,
        taking=reach | posts,
        typed={
            "subscribe.contact": {"email": f"other-{force.slug}@people.example", "name": "Kim"},
            "subscribe.check": {"code": code_in(session, new)},
            "manage.ask": {"address": new},
            "manage.check": {"code": code_in(session, known.address)},
            "manage.move": {"postcode": postcode},
            "reply.reply": {"body": "I saw it.", "name": "Jo"},
            "sign_in.sign_in": {"email": address, "password": PASSWORD},
            "oidc.find": {"email": f"somebody@{force.slug}.example"},
            "invitation.accept": {"password": PASSWORD},
            "sign_in.second": {"recovery": recovery},
            "step_up.ask": {"recovery": recovery, "step-up": "1"},
            "account.password": {"old": PASSWORD, "password": "another kettle upstairs 47"},
            "compose.new": {"headline": "A headline", "body": "What happened.", "areas": ward.code},
            "progress.stop": {"why": "It is over."},
            "progress.pause": {"why": "Wait for the new picture."},
            "inbox.answer": {"body": "Thank you."},
            "people.find": {"email": address},
            "people.invite": {
                "name": "PC New",
                "email": f"new-{force.slug}@police.example",
                "role": "officer",
                "where": "all",
                "team": "none",
            },
            "roles.grant": {"role": "approver", "where": "all"},
            "teams.new": {"name": "A new team", "areas": ward.code},
            "teams.add_member": {"role": "PCSO"},
            "organisation.add": {
                "title": "Terms",
                "signed_on-day": "1",
                "signed_on-month": "2",
                "signed_on-year": "2026",
            },
            "record.look": {"why": "The yearly audit", "resident": known.address},
            "record.export": {"file": "csv"},
            "misuse.report": {"what": "He looked up his neighbour.", "happened": "On Monday."},
            "misuse.close": {"note": "Looked into."},
            "findings.close": {"verdict": "explained", "note": "A series of burglaries."},
            "reviews.judge": {"verdict": "proper"},
            "withholding.find": {"reference": seen.case},
            "withholding.withhold": {
                "until-day": "1",
                "until-month": "2",
                "until-year": str(now.year + 1),
                "reason": "A suspect lives in the street.",
            },
            "home_ward.own": {"postcode": postcode},
            "home_ward.of_person": {"postcode": postcode},
            "requests.new": {"look_for": "A person in a red coat on a bicycle.", "days": "7"},
            "requests.close": {"why": "Somebody was found."},
            "board.take": {"format": "csv"},
            "camera_answer.answer": {"answer": "have-it", "note": "Two files."},
        },
    )


def _chief(makes: Makes, force: Organisation) -> Staff:
    """Somebody with every role there is; a competent authority, so that it may have investigators."""
    force.competent_authority = True
    chief = makes.officer(force, role=None, password=PASSWORD)
    for role in Role:
        makes.role(chief, role)
    return chief


def _misuse(makes: Makes, organisation: UUID, officer: Staff, site: str) -> list[UUID]:
    """Reports of misuse that the officer may read as an auditor: an open one, an anonymous one, a closed one."""
    session = makes.session
    colleague = makes.who(makes.officer(session.get_one(Organisation, organisation)))
    for n in range(3):
        misuse.report(
            session,
            colleague,
            what="Somebody looked up their former partner, and talked about it in the canteen.",
            happened="Since May.",
            whom="PC Nobody" if n else "",
            anonymous=n == 1,
            public_url=site,
            actor=ACTOR,
            now=utc_now(),
        )
    open_ = [line.id for line in misuse.listed(session, makes.who(officer)).lines]
    misuse.close(
        session, makes.who(officer), open_[2], note="They were spoken to.", actor=ACTOR, now=utc_now()
    )
    return open_


def _link(signer: Signer, contact: int, sending: UUID, purpose: str, expires_at: datetime | None) -> str:
    return signer.batch(purpose, sending, expires_at)(contact)


def _resident(
    makes: Makes, organisation: UUID, channel: Channel, address: str, postcode: str
) -> ContactPoint:
    contact = makes.contact(address, channel)
    people.subscribe(
        makes.session,
        contact,
        organisation,
        postcode=postcode,
        topics=[TOPIC, "prevention"],
        how="test",
        actor=ACTOR,
    )
    return contact
