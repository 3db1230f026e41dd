"""Keeping house: what has had its time goes, in the worker's own rights, and everything else stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.db import new_id, utc_now
from app.models.audit import AuditEntry
from app.models.confirmations import Confirmation, ConfirmationRefusal, RateCounter, Signup
from app.models.deferral import ContactSend
from app.models.misuse import MisuseReport
from app.models.organisations import Organisation
from app.models.receipts import RawEvent
from app.models.service_messages import ServiceMessage
from app.models.sign_in import Ceremony, KnownPlace
from app.models.staff import Staff, StaffInvitation, WebSession
from app.registry import Registry
from app.services import consent, retention
from tests.factories import Makes
from workers import housekeeping

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
TABLES = {
    "raw_events": RawEvent, "signups": Signup, "confirmations": Confirmation,
    "confirmation_refusals": ConfirmationRefusal, "rate_counters": RateCounter, "web_sessions": WebSession,
    "sign_in_ceremonies": Ceremony, "staff_known_places": KnownPlace,
    "staff_invitations": StaffInvitation, "service_messages": ServiceMessage, "contact_sends": ContactSend,
    "misuse_reports": MisuseReport,
}  # fmt: skip


class Rows:
    """One row of each table that ends at a moment."""

    def __init__(self, app: Registry) -> None:
        self.app = app
        with app.sessions.begin() as session:
            makes = Makes(session)
            makes.wording()
            police: Organisation = makes.organisation()
            self.controller: UUID = police.id
            self.wording = consent.current_wording(session).id
            self.contact = makes.contact().id
            staff = Staff(
                organisation_id=police.id, email="a@b.example", digest=b"staff", digest_key=1, name="A"
            )
            session.add(staff)
            session.flush()
            self.staff = staff.id

    def ending(self, at: datetime) -> None:
        """``at`` is when each is over; those that are kept for longer are as much older."""
        token = new_id().bytes
        signup = Signup(
            digest=token, controller_id=self.controller, postcode="UB8 1UW", topics=["events"],
            wording_id=self.wording, expires_at=at,
        )  # fmt: skip
        with self.app.sessions.begin() as session:
            session.add(signup)
            session.flush()
            session.add_all(
                [
                    confirmation(at, purpose="subscribe", signup_id=signup.id),
                    confirmation(
                        at - retention.CONFIRMATIONS_KEPT, purpose="manage", contact_id=self.contact, page_digest=token
                    ),
                    ConfirmationRefusal(channel="email", digest=token, until=at),
                    RateCounter(scope="x", key=token, window=at - retention.CLOCKS_DIFFER, count=1),
                    WebSession(digest=token, contact_id=self.contact, expires_at=at),
                    StaffInvitation(
                        digest=token, staff_id=self.staff, expires_at=at - retention.INVITATIONS_KEPT
                    ),
                    Ceremony(digest=token, kind="oidc", expires_at=at),
                    KnownPlace(
                        staff_id=self.staff, digest=token, seen_at=at - retention.KNOWN_PLACES_KEPT
                    ),
                    ServiceMessage(
                        kind="confirm", channel="email", state="sent", expires_at=at,
                        created_at=at - retention.SERVICE_MESSAGES_KEPT,
                    ),
                    ContactSend(contact_id=self.contact, at=at - retention.SENDS_KEPT, dispatch_id=new_id()),
                    MisuseReport(
                        id=new_id(), organisation_id=self.controller, what="a", happened="b", note="c",
                        reported_on=at.date(), closed_at=at - retention.MISUSE_KEPT,
                    ),
                    RawEvent(source="sendgrid", body="[]", received_at=at - retention.RAW_EVENTS_KEPT),
                ]
            )  # fmt: skip

    def counts(self) -> dict[str, int]:
        with self.app.sessions() as session:
            return {
                t: session.scalar(sa.select(sa.func.count()).select_from(m)) or 0 for t, m in TABLES.items()
            }


def confirmation(at: datetime, **more: object) -> Confirmation:
    return Confirmation(
        channel="email",
        address="a@b.example",
        digest=b"d",
        digest_key=1,
        form_version=1,
        expires_at=at,
        **more,
    )


def test_what_is_over_goes_and_what_is_not_stays_and_to_do_it_twice_finds_nothing(
    app: Registry, worker: Registry
) -> None:
    rows = Rows(app)
    rows.ending(utc_now() - MINUTE)
    rows.ending(utc_now() - 40 * DAY)
    rows.ending(utc_now() + DAY)
    one_each = dict.fromkeys(TABLES, 1) | {"confirmations": 2}
    assert rows.counts() == {table: 3 * n for table, n in one_each.items()}
    # A sign-up takes its confirmation with it, which is then counted with the sign-up.
    assert housekeeping.keep_house() == 2 * sum(one_each.values()) - 2
    assert rows.counts() == one_each
    assert housekeeping.keep_house() == 0
    assert rows.counts() == one_each


def test_deletions_go_on_in_blocks_until_nothing_is_left(
    app: Registry, worker: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(app)
    for days in range(1, 8):
        rows.ending(utc_now() - days * DAY)
    for table, purge in retention.PURGES:
        if table not in TABLES:  # goes with its month of the ledger
            continue
        with worker.sessions.begin() as session:
            assert purge(session, now=utc_now(), most=3) == 3, table
        with worker.sessions.begin() as session:
            gone = purge(session, now=utc_now(), most=100)
            assert gone in (4, 8), (table, gone)
    assert set(rows.counts().values()) == {0}


def test_the_oldest_go_first(app: Registry, worker: Registry) -> None:
    rows = Rows(app)
    moments = [utc_now() - days * DAY for days in (3, 9, 5)]
    for at in moments:
        rows.ending(at)
    purge = dict(retention.PURGES)["signups"]
    with worker.sessions.begin() as session:
        assert purge(session, now=utc_now(), most=2) == 2
    with app.sessions() as session:
        assert session.scalars(sa.select(Signup.expires_at)).all() == [moments[0]]


def test_what_was_about_people_is_on_the_record_by_table_and_number(app: Registry, worker: Registry) -> None:
    rows = Rows(app)
    rows.ending(utc_now() - MINUTE)
    housekeeping.keep_house()
    with app.sessions() as session:
        entries = session.execute(
            sa.select(AuditEntry.subject, AuditEntry.detail).where(AuditEntry.event == "ledger:purge")
        ).all()
    assert sorted(map(tuple, entries)) == [
        ("table:confirmations", '{"deleted":1}'),
        ("table:misuse_reports", '{"deleted":1}'),
        ("table:raw_events", '{"deleted":1}'),
        ("table:service_messages", '{"deleted":1}'),
        ("table:signups", '{"deleted":1}'),
    ]
