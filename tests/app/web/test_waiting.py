"""An officer is told who gets an alert later or in a digest: before it is sent, and afterwards."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.deferral import DigestItem
from app.models.organisations import Organisation
from app.services import digests, preferences
from app.services.preferences import Preferences
from tests.app.web.test_progress import Site, create_app, words
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.sending import URL, World, world


@pytest.fixture
def hour() -> int:
    """Of London's clock, now."""
    return utc_now().astimezone(ZoneInfo("Europe/London")).hour


def _send(site: Site, alert: str) -> tuple[str, str]:
    """The preview of an alert, as words, and the path of its progress once it was sent."""
    rules = {rule.endpoint: str(rule) for rule in site.client.application.url_map.iter_rules()}
    page = site.client.get(rules["compose.preview"].replace("<uuid:alert_id>", alert)).text
    form = page[: page.index("</form>", page.index("send_token")) + len("</form>")]
    sent = site.client.post(rules["compose.send"].replace("<uuid:alert_id>", alert), data=site.fields(form))
    assert sent.status_code == 303, words(sent.text)
    return words(page), sent.headers["Location"]


def _town(here: World, hour: int) -> tuple[Site, str]:
    """Somebody who sleeps, two who want a digest, one who wants all; a drafted alert."""
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        sleeper = makes.resident(police, ward)
        asleep = Preferences(quiet_from=(hour - 2) % 24, quiet_until=(hour + 6) % 24)
        preferences.choose(makes.session, sleeper, asleep, actor=ACTOR)
        for _ in range(2):
            reader = makes.resident(police, ward)
            preferences.choose(makes.session, reader, Preferences(digest="daily", digest_hour=8), actor=ACTOR)
        makes.resident(police, ward)
        alert = makes.alert(police, [ward])
        controller, alert_id = police.id, alert.id
    site = Site(create_app(here.app).test_client(), here.app)
    with here.app.sessions.begin() as session:
        officer = Makes(session).officer(session.get_one(Organisation, controller))
    site.enter(staff=officer)
    return site, str(alert_id)


def test_before_and_after_sending_the_pages_say_who_waits(
    committed: Database, tmp_path: Path, hour: int
) -> None:
    with world(committed, tmp_path) as here:
        site, alert = _town(here, hour)
        page, progress = _send(site, alert)
        assert "This goes to 4 e-mail addresses" in page
        assert "1 gets it later" in page
        assert "2 get it in a digest" in page
        assert "not get it" not in page
        here.drain()
        shown = words(site.client.get(progress).text)
        assert "1 of them waits until quiet hours are over" in shown
        assert "2 people get it in a digest instead" in shown
        assert "Some of these have not left yet." in shown
        figures = site.client.get(progress + "/figures").json
        assert figures is not None
        assert "1 of 2 have left" in figures["summary"]
        assert "2 get it in a digest." in figures["summary"]


def test_as_long_as_somebody_waits_for_a_digest_the_alert_can_be_taken_out(
    committed: Database, tmp_path: Path, hour: int
) -> None:
    with world(committed, tmp_path) as here:
        site, alert = _town(here, hour)
        _, progress = _send(site, alert)
        here.run("UPDATE batches SET not_before = now(), not_after = NULL")
        here.drain()
        page = site.client.get(progress).text
        assert "Everything has left" in words(page)
        assert "Take it out of the digests" in page
        assert site.submit(progress + "/stop", {"why": "Wrong ward"}).status_code == 303
        with here.looking() as session:
            assert session.scalars(sa.select(DigestItem.state)).all() == ["stopped", "stopped"]
        page = site.client.get(progress).text
        assert "Take it out of the digests" not in page
        assert "All of these have left, or came to nothing." in words(page)
        with here.worker.sessions.begin() as session:
            made = digests.send_due(session, public_url=URL, now=utc_now() + timedelta(days=2))
        assert made.digests == 0
