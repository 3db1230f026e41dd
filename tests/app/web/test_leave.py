"""Leaving by the link in a message: one click, complete, and never by a GET."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from app.audit import record as audit
from app.services import dispatch
from messaging.links import REPLY, STOP
from tests.factories import Makes


@dataclass
class Sent:
    contact: int
    dispatch: UUID


@pytest.fixture
def sent(site) -> Sent:
    """A dispatch to one resident."""
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        borough, ward, _ = makes.borough()
        contact = makes.resident(police, ward)
        frozen = dispatch.send(
            session,
            makes.alert(police, [borough]).id,
            token="a token of the test",
            actor=audit.SYSTEM,
            public_url="https://wardlink.example",
        )
        return Sent(contact.id, frozen.id)


def state(site) -> tuple[int, int, int]:
    """Consents that stand, suppressions, withdrawals on the record."""
    with site.registry.sessions() as session:
        return tuple(
            session.execute(
                sa.text(
                    "SELECT (SELECT count(*) FROM consents WHERE withdrawn_at IS NULL),"
                    " (SELECT count(*) FROM suppressions),"
                    " (SELECT count(*) FROM audit_entries WHERE event = 'consent:withdraw')"
                )
            ).one()
        )


def stop_link(site, sent: Sent) -> str:
    return site.registry.signer.batch(STOP, sent.dispatch)(sent.contact)


def test_looking_at_the_page_changes_nothing(site, sent):
    link = stop_link(site, sent)
    page = site.client.get(link)
    assert page.status_code == 200
    assert '<form method="post">' in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in page.headers["X-Robots-Tag"]
    assert site.client.head(link).status_code == 200
    assert state(site) == (1, 0, 0)


@pytest.mark.parametrize("form", [{}, {"List-Unsubscribe": "One-Click"}, {"List-Unsubscribe": "\x00"}])
def test_a_post_leaves_at_once(site, sent, form):
    answer = site.client.post(stop_link(site, sent), data=form)
    assert answer.status_code == 200
    assert "You have left" in answer.text
    assert state(site) == (0, 1, 1)


def test_one_click_is_on_the_record_as_such(site, sent):
    site.client.post(stop_link(site, sent), data={"List-Unsubscribe": "One-Click"})
    with site.registry.sessions() as session:
        how = session.execute(sa.text("SELECT withdrawn_how FROM consents")).scalar_one()
    assert how == "one-click"


def test_leaving_twice_is_leaving_once(site, sent):
    link = stop_link(site, sent)
    assert {site.client.post(link).status_code for _ in range(2)} == {200}
    assert state(site) == (0, 1, 1)


def test_the_link_still_works_when_the_dispatch_is_no_longer_kept(site, sent):
    link = stop_link(site, Sent(sent.contact, uuid4()))
    assert site.client.post(link).status_code == 200
    assert state(site) == (0, 1, 1)


def test_a_link_of_somebody_who_was_erased_answers_as_always(site, sent):
    link = stop_link(site, Sent(5, sent.dispatch))
    assert site.client.post(link).status_code == 200
    assert state(site) == (1, 0, 0)


def test_a_forged_or_torn_link_leads_nowhere(site, sent):
    good = stop_link(site, sent)
    other = site.registry.signer.batch(REPLY, sent.dispatch, datetime.now(UTC) + timedelta(days=1))(
        sent.contact
    )
    for bad in (
        good[:-1],
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        "/s/x",
        "/s/" + other[3:],
    ):
        for answer in (site.client.get(bad), site.client.post(bad)):
            assert answer.status_code == 404
            assert "This link does not work" in answer.text
    assert state(site) == (1, 0, 0)


def test_the_log_holds_neither_the_link_nor_the_address_of_the_machine(site, sent):
    link = stop_link(site, sent)
    with capture_logs() as lines:
        site.client.get(link, environ_base={"REMOTE_ADDR": "81.2.69.160"})
        site.client.post(link, environ_base={"REMOTE_ADDR": "81.2.69.160"})
    assert [line["event"] for line in lines] == ["request", "request"]
    assert link[3:] not in str(lines)
    assert "81.2.69.160" not in str(lines)
    with site.registry.sessions() as session:
        origins = session.execute(
            sa.text("SELECT origin FROM audit_entries WHERE event = 'consent:withdraw'")
        ).scalars()
        assert list(origins) == ["81.2.69.0/24"]
