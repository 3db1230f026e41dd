"""What an officer sees of the organisation's limits before sending, when sending is refused, and afterwards."""

from __future__ import annotations

import html
import re

import pytest
import sqlalchemy as sa

from app.models.ledger import Dispatch
from app.models.limits import Reservation, SpendCounter
from app.models.organisations import Organisation
from app.services.budgets import allowances, settling
from config.fields import Part
from tests.app.web.conftest import Site, open_site
from tests.app.web.test_compose import Desk, desk, hidden, problems  # noqa: F401
from tests.conftest import Database
from tests.factories import ACTOR, Makes


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def limit(found: Desk, **most: int) -> None:
    with found.site.registry.sessions.begin() as session:
        police = session.get_one(Organisation, found.police.id)
        changes = {(name.split("_")[1], name.split("_")[0]): value for name, value in most.items()}
        allowances.set_limits(session, police, changes, actor=ACTOR)


def page(found: Desk, path: str) -> str:
    return words(found.site.client.get(path).text)


def test_without_limits_nothing_is_said_of_them(desk: Desk) -> None:  # noqa: F811
    assert "Allowance" not in page(desk, desk.write())


def test_the_preview_says_what_is_left_and_sending_takes_it(desk: Desk) -> None:  # noqa: F811
    limit(desk, emails_day=5, segments_month=2, pence_day=1_000)
    path = desk.write()
    text = page(desk, path)
    assert (
        "Allowance 5 of 5 e-mails left today; £10.00 of £10.00 left today; 2 of 2 text segments left this month"
        in text
    )
    assert "would be refused" not in text
    progress = desk.post_send(path).headers["Location"]
    assert "It costs up to 8p." in page(desk, progress)
    second = page(desk, desk.write())
    assert "2 of 5 e-mails left today; £9.92 of £10.00 left today; 0 of 2 text segments" in second
    assert (
        "has only 2 of 5 e-mails left today and 0 of 2 text segments left this month: this would be refused"
        in second
    )


def test_what_is_over_a_limit_is_refused_in_the_error_summary_and_nothing_is_written(
    desk: Desk,  # noqa: F811
) -> None:
    limit(desk, emails_day=2)
    path = desk.write()
    refused = desk.post_send(path)
    assert refused.status_code == 409
    assert problems(refused.text) == ["#send"]
    assert "This alert needs 3 e-mails. Your organisation may send 2 e-mails on" in words(refused.text)
    assert "of which 2 e-mails are left" in words(refused.text)
    assert [desk.count(model) for model in (Dispatch, Reservation, SpendCounter)] == [0, 0, 0]
    assert desk.one().state == "draft"
    # An exercise costs as much, and is refused as well.
    assert desk.post_send(path, exercise="1").status_code == 409
    limit(desk, emails_day=3)
    assert desk.post_send(path).status_code == 303


def test_risk_to_life_is_warned_of_sent_and_marked(desk: Desk, committed: Database) -> None:  # noqa: F811
    limit(desk, emails_day=2)
    path = desk.write(urgency="risk-to-life", channels=["email"])
    assert "has only 2 of 2 e-mails left today. Risk to life is sent all the same, and counts." in page(
        desk, path
    )
    progress = desk.post_send(path).headers["Location"]
    assert "beyond what your organisation may send" in page(desk, progress)
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        assert settling.settle(session) == 1
    worker.engine.dispose()
    assert "0 of 2 e-mails left today" in page(desk, desk.write(channels=["email"]))


@pytest.mark.parametrize("pence", ["3.75", "5"])
def test_the_site_counts_by_its_own_prices(committed: Database, pence: str) -> None:
    site: Site = open_site(committed, SMS_SEGMENT_PENCE=pence, EMAIL_PENCE="0.5")
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        for channel in ("email", "sms"):
            makes.sender(police, channel)
        _, ward, _ = makes.borough()
        makes.resident(police, ward)
        alert = makes.alert(police, [ward], channels=["email"])
        officer = makes.officer(police)
    site.enter(staff=officer)
    path = f"/staff/alerts/{alert.id}"
    shown = site.client.get(path).text
    assert site.client.post(f"{path}/send", data=hidden(shown, f"{path}/send")).status_code == 303
    with site.registry.sessions() as session:
        held = session.scalars(sa.select(Reservation)).one()
    assert (str(held.segment_pence.normalize()), held.cost) == (pence, 50)
    site.registry.engine.dispose()
