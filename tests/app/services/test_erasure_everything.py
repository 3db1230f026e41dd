"""Erasing somebody with everything, and again after a real restore (acceptance line 6)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from app import crypto, roles
from app.audit import journal
from app.cli.main import main
from app.db import utc_now
from app.embedded.binaries import postgres_programs
from app.models.audit import AuditEntry
from app.models.confirmations import Signup
from app.models.consent import Consent
from app.models.deferral import DigestItem
from app.models.organisations import Organisation
from app.models.people import ContactPoint, Erasure, Person, PersonContactPoint, Place, Subscription
from app.models.replies import Reply
from app.services import (
    answers,
    consent,
    dispatch,
    pausing,
    people,
    preferences,
    receipts,
    receiving,
    retention,
    sessions,
    subscriptions,
)
from app.services.confirmations import own_page, signups
from app.services.erasure import engine
from app.services.preferences import Preferences
from messaging.types import Channel, DeliveryStatus
from tests import entering, ledger, looking, owning, replies
from tests.app.cli.conftest import environ_of
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes
from tests.register_rows import put
from tests.sending import URL, World, world
from workers.receipts import merge_some
from workers.sealer import Sealer, Stop

NAME, OTHER = "Wilhelmina Quince", "Bartholomew Quince"
GREETED = "Wilhelmina"
MAIL, DIGESTS = "wilhelmina.quince@people.example", "wq-digests@people.example"
SHARED, MOBILE = "quince.home@people.example", "+447700900461"
SAID = "I saw the blue van by the river"
# Nothing of these may be found anywhere. The surname is the other one's too.
MINE = {"name": NAME, "greeting": GREETED, "mail": MAIL, "digests": DIGESTS, "mobile": MOBILE, "said": SAID}


@dataclass
class Everything:
    """Somebody with everything, and who shares an address with them."""

    person: UUID
    other: UUID
    contacts: dict[str, int]
    police: UUID
    council: UUID
    digests: dict[str, bytes]
    sent: dict[str, UUID]

    @property
    def alone(self) -> list[int]:
        return [self.contacts[one] for one in (MAIL, DIGESTS, MOBILE)]


def lives(makes: Makes, contact: ContactPoint, organisation: Organisation, postcode: str) -> Place:
    return people.subscribe(
        makes.session, contact, organisation.id, postcode=postcode, topics=[TOPIC, "prevention"], how="test",
        actor=ACTOR,
    )  # fmt: skip


def registered(makes: Makes, police: Organisation, contact: ContactPoint) -> None:
    """Her camera is on the register, and another is typed in that nobody has confirmed."""
    s = makes.session
    owning.agree(s)
    consent.give(s, contact, police.id, how="test", actor=ACTOR, purpose=consent.REGISTER)
    owning.placed(s, police, contact.id, owning.MIDDLE, "UB8 1UW", name=NAME)
    signup = s.scalars(sa.select(Signup.id)).one()
    put(
        s, "camera_drafts", signup_id=signup, kind="home", name_enc=crypto.keyring().encrypt(NAME, "camera_owners.name"),
        reach_how="link", reach_when="any", facts={},
    )  # fmt: skip


def everything(here: World) -> Everything:
    now = utc_now()
    with here.making() as makes:
        s = makes.session
        makes.wording()
        police, council = makes.organisation(), makes.organisation("Test Council")
        for channel in ("email", "sms"):
            makes.sender(police, channel)
        _, ward, other_ward = makes.borough()
        makes.postcode(ward, "UB8 1UW")
        makes.postcode(other_ward, "UB8 3PH")
        team = makes.team(police, [ward, other_ward])
        found = {one: makes.contact(one, salutation=GREETED) for one in (MAIL, DIGESTS, SHARED)}
        found[MOBILE] = makes.contact(MOBILE, Channel.SMS, salutation=GREETED)
        ann, bob = Person(controller_id=police.id, name=NAME), Person(controller_id=police.id, name=OTHER)
        s.add_all([ann, bob])
        s.flush()
        s.add_all(PersonContactPoint(person_id=ann.id, contact_id=one.id) for one in found.values())
        s.add(PersonContactPoint(person_id=bob.id, contact_id=found[SHARED].id))
        for contact in found.values():
            for postcode in ("UB8 1UW", "UB8 3PH"):
                lives(makes, contact, police, postcode).person_id = ann.id
        lives(makes, found[MAIL], council, "UB8 1UW")
        s.flush()
        preferences.choose(s, found[DIGESTS], Preferences(digest="daily", digest_hour=18), actor=ACTOR)
        preferences.choose(s, found[MOBILE], Preferences(weekly_cap=50), actor=ACTOR)
        consent.suppress(
            s,
            channel="email",
            digest=found[MAIL].digest,
            digest_key=1,
            controller=council.id,
            reason="complaint",
        )
        # One sending in each state: sent, in doubt, waiting, held.
        sent = {
            name: here.send(makes, makes.alert(police, [ward], channels=channels, headline=name, **more))
            for name, channels, more in (
                (
                    "sent",
                    ["email", "sms"],
                    {"kind": "appeal", "how_to_tell": "Ring **101**.", "team": team.id},
                ),
            )
        }
        officer = makes.who(replies.staff_row(makes, police, team))
    here.drain()
    here.faults(email={"status": 500})
    with here.making() as makes:
        sent["doubted"] = here.send(makes, makes.alert(police, [ward], channels=["email"]))
    here.drain()
    here.faults(email={})
    with here.making() as makes:
        s = makes.session
        sent["waiting"] = here.send(makes, makes.alert(police, [ward], channels=["email", "sms"]))
        sent["held"] = here.send(makes, makes.alert(police, [ward], channels=["email", "sms"]))
        pausing.pause(s, sent["held"], actor=ACTOR, why="Is it right?")
        for one in (MAIL, SHARED):
            thread = receiving.receive_web(
                s, contact_id=found[one].id, dispatch_id=sent["sent"],
                body=SAID if one == MAIL else "A word.", name=GREETED, once=f"{found[one].id:032x}", now=now,
            )  # fmt: skip
            answers.answer(
                s, officer, thread, body="Thank you.", once=f"{found[one].id % 10**12:032d}", signer=here.app.signer,
                public_url=URL, regions=("GB",), actor=ACTOR, now=now,
            )  # fmt: skip
        sessions.begin(s, contact_id=found[MAIL].id, now=now)
        own_page.ask(s, people.stored_address("email", MAIL), entering.terms(URL), now=now)
        signups.begin(
            s, controller=police.id, postcode="UB8 1UW", topics=[TOPIC],
            wording=consent.current_wording(s).id, addresses=[people.stored_address("email", MAIL)],
            salutation=GREETED, terms=entering.terms(URL), now=now,
        )  # fmt: skip
        registered(makes, police, found[MAIL])
        batches = here.batch(sent["sent"])
        place = list(batches.contact_ids).index(found[MAIL].id) + 1
        event = ledger.event(sent["sent"], place, "delivered", batch=batches.n) | {"email": MAIL}
        receipts.store(s, "sendgrid", ledger.body(event))
        made = Everything(
            ann.id, bob.id, {one: contact.id for one, contact in found.items()}, police.id, council.id,
            {one: contact.digest for one, contact in found.items()}, sent,
        )  # fmt: skip
    with here.worker.sessions.begin() as session:
        merge_some(session)
    return made


# -- a real backup
def program(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(postgres_programs() / name), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def restored(committed: Database) -> Iterator[Database]:
    """A name for the database that a backup is restored into."""
    name = f"{committed.name}_restored"
    yield Database(name, committed.cluster)
    with psycopg.connect(roles.libpq(committed.cluster.admin_database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def back_up(database: Database, path: Path) -> None:
    program("pg_dump", "--format=custom", f"--file={path}", roles.libpq(database.admin))


def restore(path: Path, database: Database) -> None:
    roles.create_database(database.cluster.owner_database_url, database.name)
    program("pg_restore", "--exit-on-error", f"--dbname={roles.libpq(database.admin)}", str(path))
    with psycopg.connect(roles.libpq(database.environ()["OWNER_DATABASE_URL"]), autocommit=True) as owner:
        roles.secure_database(owner, database.name)


def seal(database: Database, heads: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(database.settings().seal_key or _seal_key(database))
    stop = Stop()
    assert Sealer(database.environ()["SEALER_DATABASE_URL"], key, heads, stop).drain()
    stop.close()


def _seal_key(database: Database) -> bytes:
    from config.fields import Part

    return database.settings(Part.SEALER).seal_key


def traces(database: Database, all_of: Everything) -> set[tuple[str, str]]:
    """Where anything of the person is found, but for the two places that may hold it: see the table of stores."""
    needles = MINE | {f"digest of {one}": all_of.digests[one] for one in (MAIL, DIGESTS, MOBILE)}
    found = looking.everywhere(database.admin, needles)
    return {(table, what) for table, what in found if not (table == "suppressions" and "digest" in what)}


def cli(database: Database, *words: str) -> str:
    result = CliRunner().invoke(main, list(words), env=environ_of(database))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_somebody_with_everything_is_erased_in_every_store_and_again_after_a_restore(
    committed: Database, restored: Database, tmp_path: Path
) -> None:
    with world(committed, tmp_path) as here:
        ann = everything(here)
        assert {table for table, _ in traces(committed, ann)} == {
            "contact_points", "people", "replies", "reply_messages", "service_messages", "signups", "confirmations",
            "raw_events", "camera_owners", "camera_drafts",
        }, "all is there to be erased"  # fmt: skip
        backup, heads = tmp_path / "backup", tmp_path / "heads"
        seal(committed, heads)
        back_up(committed, backup)

        said = cli(committed, "erasure", "person", str(ann.person), "--why", "request 1")
        assert "3 addresses" in said
        assert "1 shared" in said
        stores_are_as_the_table_says(here, ann)
        sending_goes_on_without_her(here, ann)
        seal(committed, heads)
        after_a_month(here)
        assert traces(committed, ann) == set()

    restore(backup, restored)
    back = {table for table, _ in traces(restored, ann)}
    assert {"contact_points", "people", "replies", "reply_messages", "camera_owners"} <= back, (
        "a restore brings her back"
    )
    said = cli(restored, "erasure", "replay", "--from", str(heads))
    assert "3 addresses and 1 people erased again" in said
    opened = restored.open()
    try:
        assert {table for table, _ in traces(restored, ann)} <= {"raw_events"}
        with opened.sessions() as session:
            shared_is_untouched(session, ann)
            assert set(session.scalars(sa.select(Erasure.contact_id))) == {*ann.alone, None}
            first = session.scalars(sa.select(Erasure.at).where(Erasure.person_id == ann.person)).one()
        again = cli(restored, "erasure", "replay", "--from", str(heads))
        assert "0 addresses and 0 people erased again" in again
        assert "0 that were not here" in again
        # The new life of the database carries the journal on, for the next restore.
        seal(restored, tmp_path / "new heads")
        key = Ed25519PrivateKey.from_private_bytes(_seal_key(restored)).public_key()
        lines = list(journal.read(tmp_path / "new heads" / journal.FILE_NAME, key))
        assert {line.id for line in lines if line} == {*map(str, ann.alone), str(ann.person)}
        old = [
            line for line in journal.read(heads / journal.FILE_NAME, key) if line and line.what == "person"
        ]
        assert [line.time for line in old] == [first], "the time of the first erasure is kept"
        text = (heads / journal.FILE_NAME).read_text()
        assert not any(str(needle) in text for needle in MINE.values())
    finally:
        opened.engine.dispose()


def stores_are_as_the_table_says(here: World, ann: Everything) -> None:
    with here.looking() as session:
        assert session.scalars(sa.select(ContactPoint.id).where(ContactPoint.id.in_(ann.alone))).all() == []
        kept = session.scalars(sa.select(Consent).where(Consent.contact_id.is_(None))).all()
        assert {c.controller_id for c in kept} == {ann.police, ann.council}
        assert len({c.pseudonym for c in kept}) == 3, "one pseudonym for each address"
        assert all(c.withdrawn_at for c in kept)
        shared_is_untouched(session, ann)
        named = session.execute(
            sa.text(
                "SELECT count(*) FROM deliveries WHERE contact_id = ANY(:ids) AND provider_ref IS NOT NULL"
            ),
            {"ids": ann.alone},
        ).scalar_one()
        assert named == 0
        acts = session.scalars(sa.select(AuditEntry).where(AuditEntry.event.in_(journal.EVENTS))).all()
        assert {(a.subject, a.s62, a.why) for a in acts} == {
            *((f"contact:{one}", "erasure", "request 1") for one in ann.alone),
            (f"person:{ann.person}", "erasure", "request 1"),
        }
    assert {table for table, _ in traces(here.database, ann)} == {"raw_events"}, "that goes in its time"


def shared_is_untouched(session: sa.orm.Session, ann: Everything) -> None:
    """Whoever shares the address keeps it, its consent, its places and its thread; nobody is greeted by a name."""
    shared = session.get_one(ContactPoint, ann.contacts[SHARED])
    assert (shared.address, shared.salutation) == (SHARED, None)
    standing = sa.select(Consent).where(Consent.contact_id == shared.id, Consent.withdrawn_at.is_(None))
    assert session.scalars(standing).one().controller_id == ann.police
    places = sa.select(Place.person_id).join(Subscription).where(Subscription.contact_id == shared.id)
    assert session.scalars(places.distinct()).all() == [None], "places stay, as nobody's by name"
    assert session.scalars(sa.select(Person.name)).all() == [OTHER]
    assert session.scalars(sa.select(Reply.name).where(Reply.contact_id == shared.id)).all() in ([None], [])
    assert len(subscriptions.mine(session, shared.id)) == 2


def sending_goes_on_without_her(here: World, ann: Everything) -> None:
    """Frozen and not sent ends as erased; in a provider's hands is counted; every ledger balances."""
    with here.making() as makes:
        pausing.resume(makes.session, ann.sent["held"], actor=ACTOR, why="It is right.")
    for one in ("waiting", "held"):
        here.come_back(ann.sent[one])
    here.drain()
    shared = ann.contacts[SHARED]
    for one in ("waiting", "held"):
        statuses = here.statuses(ann.sent[one])
        assert {statuses[c] for c in ann.alone if c in statuses} == {DeliveryStatus.ERASED}, one
        assert statuses[shared] is DeliveryStatus.ACCEPTED
        assert not {*ann.alone} & set(here.reached(ann.sent[one])), one
    sent = here.statuses(ann.sent["sent"])
    assert sent[ann.contacts[MAIL]] is DeliveryStatus.DELIVERED
    assert sent[ann.contacts[MOBILE]] is DeliveryStatus.ACCEPTED
    assert here.statuses(ann.sent["doubted"])[ann.contacts[MAIL]] is DeliveryStatus.IN_DOUBT
    for sending in ann.sent.values():
        here.balance(sending)
    with here.looking() as session:
        waiting = session.scalars(
            sa.select(DigestItem.state).where(DigestItem.contact_id.in_(ann.alone))
        ).all()
        assert waiting and set(waiting) == {"waiting"}, "they end as erased when the digest is due"
        assert session.get_one(dispatch.Dispatch, ann.sent["held"]).state in ("running", "done")


def after_a_month(here: World) -> None:
    """The clock goes on: what could not be found by the person goes in its time."""
    later = utc_now() + timedelta(days=31)
    for one in retention.CLASSES:
        if one.name in ("raw_events", "service_messages", "early_receipts"):
            with here.worker.sessions.begin() as session:
                one.purge(session, now=later)
    with here.worker.sessions.begin() as session:
        assert engine.again(session, now=utc_now()) == 0
