"""What becomes of a dispatch, in figures that are honest, and its stop."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.db import new_id
from app.factory import create_app
from app.models.audit import AuditEntry
from app.models.ledger import Batch, Dispatch
from app.models.organisations import Organisation
from messaging.types import Channel
from tests.app.web.conftest import Site
from tests.conftest import Database
from tests.factories import Makes
from tests.sending import World, world


@dataclass
class Watched:
    """An alert on its way to four e-mail addresses and two phones, and an officer who watches."""

    world: World
    site: Site
    sent: UUID
    path: str

    def page(self) -> str:
        answer = self.site.client.get(self.path)
        assert answer.status_code == 200
        return words(answer.text)


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def make(one: World, **changes: object) -> UUID:
    with one.making() as makes:
        police = makes.organisation()
        for channel in ("email", "sms"):
            makes.sender(police, channel)
        _, ward, _ = makes.borough()
        for _ in range(4):
            makes.resident(police, ward)
        for _ in range(2):
            makes.resident(police, ward, channel=Channel.SMS)
        alert = makes.alert(police, [ward], channels=["email", "sms"])
        return one.send(makes, alert, **changes)


def enter(one: World, sent: UUID) -> Site:
    site = Site(create_app(one.app).test_client(), one.app)
    with one.app.sessions.begin() as session:
        controller = session.get_one(Dispatch, sent).controller_id
        officer = Makes(session).officer(session.get_one(Organisation, controller))
    site.enter(staff=officer)
    return site


@pytest.fixture
def watched(committed: Database, tmp_path: Path) -> Iterator[Watched]:
    with world(committed, tmp_path) as one:
        sent = make(one)
        yield Watched(one, enter(one, sent), sent, f"/staff/dispatches/{sent}")


def test_the_figures_go_from_still_to_go_to_taken_and_delivered(watched: Watched) -> None:
    before = watched.page()
    assert "It is being sent." in before
    assert "0 of 4 e-mail addresses done: 0%" in before
    assert "4 still to go" in before
    assert "0 of 2 phones done: 0%" in before
    assert "Stop it" in before
    watched.world.drain()
    after = watched.page()
    assert "4 of 4 e-mail addresses done: 100%" in after
    assert "4 taken, no report yet" in after
    assert "0 still to go" in after
    watched.world.run(
        "UPDATE batches SET delivered = accepted, accepted = 0 WHERE dispatch_id = :d", d=watched.sent
    )
    watched.world.run(
        "UPDATE dispatches SET finished_at = now(), state = 'done' WHERE id = :d", d=watched.sent
    )
    done = watched.page()
    assert "Everything has left." in done
    assert "still coming in" not in done
    assert "4 delivered" in done
    assert "Stop it" not in done


def test_every_figure_of_the_report_is_named_and_they_add_up(watched: Watched) -> None:
    watched.world.run(
        "UPDATE batches SET state = 'done', delivered = size - 2, in_doubt = 1, refused = 1 WHERE channel = 'email'"
    )
    watched.world.run("UPDATE batches SET state = 'done', bounced = 1, accepted = 1 WHERE channel = 'sms'")
    page = watched.page()
    email, sms = page.partition("Text message")[0], page.partition("Text message")[2]
    for figure in ("2 delivered", "0 taken", "0 still to go", "0 failed", "1 not sent", "1 in doubt"):
        assert figure in email
    for figure in ("0 delivered", "1 taken, no report yet", "1 failed", "0 not sent", "0 in doubt"):
        assert figure in sms


def test_the_script_gets_the_same_figures_a_line_to_read_out_and_whether_to_ask_again(
    watched: Watched,
) -> None:
    answer = watched.site.client.get(watched.path + "/figures")
    found = answer.get_json()
    assert set(found) == {"html", "summary", "phase", "over"}
    assert words(found["html"]) in watched.page()
    assert "<script" not in found["html"]
    assert found["summary"] == "It is being sent. 0 of 6 have left, 0 were delivered."
    assert (found["phase"], found["over"]) == ("sending", False)
    watched.world.run("UPDATE batches SET state = 'done', delivered = size - 1, accepted = 1")
    watched.world.run("UPDATE dispatches SET finished_at = now(), state = 'done'")
    late = watched.site.client.get(watched.path + "/figures").get_json()
    assert (late["phase"], late["over"]) == ("finished", False)
    assert "still coming in" in late["html"]
    watched.world.run("UPDATE batches SET delivered = size, accepted = 0")
    assert watched.site.client.get(watched.path + "/figures").get_json()["over"] is True


def test_the_page_needs_no_script_and_never_loads_itself_again(watched: Watched) -> None:
    page = watched.site.client.get(watched.path).text
    assert "http-equiv" not in page
    assert f'href="{watched.path}">Refresh the figures' in page
    assert re.search(r'<label class="govuk-label" for="bar-email">', page)
    assert re.search(r'<progress class="wl-bar" id="bar-email" max="4" value="0">', page)
    assert "/alert/" in page


def test_an_exercise_is_called_one_and_has_no_public_page(committed: Database, tmp_path: Path) -> None:
    with world(committed, tmp_path) as one:
        sent = make(one, exercise=True)
        page = enter(one, sent).client.get(f"/staff/dispatches/{sent}").text
    assert "an exercise" in page
    assert "public page" not in page


def test_stopping_asks_why_and_holds_back_what_has_not_left(watched: Watched) -> None:
    stop = watched.path + "/stop"
    assert "Why do you stop it?" in watched.site.client.get(stop).text
    for nothing in ("", "  ", "x" * 501, "a\x00b"):
        refused = watched.site.submit(stop, {"why": nothing})
        assert refused.status_code == 400
        assert "#why" in refused.text
    with watched.world.looking() as session:
        assert session.get_one(Dispatch, watched.sent).state == "running", "looking and failing stop nothing"
    done = watched.site.submit(stop, {"why": "Wrong ward"})
    assert (done.status_code, done.headers["Location"]) == (303, watched.path)
    assert "It is being stopped." in watched.page()
    watched.world.drain()
    assert not watched.world.reached(watched.sent)
    page = watched.page()
    assert "4 not sent" in page
    assert watched.site.client.get(stop).headers["Location"] == watched.path
    with watched.world.looking() as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "dispatch:stop")).one()
        assert entry.why == "Wrong ward"
        assert entry.actor_id is not None


def test_what_has_finished_meanwhile_is_not_stopped(watched: Watched) -> None:
    page = watched.site.client.get(watched.path + "/stop").text
    watched.world.run("UPDATE dispatches SET finished_at = now(), state = 'done'")
    late = watched.site.client.post(
        watched.path + "/stop", data={**watched.site.fields(page), "why": "Too late"}
    )
    assert late.headers["Location"] == watched.path
    with watched.world.looking() as session:
        assert session.get_one(Dispatch, watched.sent).state == "done"


def test_pausing_asks_why_holds_back_the_rest_and_says_how_it_goes_on(watched: Watched) -> None:
    pause, resume = watched.path + "/pause", watched.path + "/resume"
    assert watched.site.client.get(resume).headers["Location"] == watched.path, "it is not paused"
    assert "what has not left by" in words(watched.site.client.get(pause).text)
    for nothing in ("", "  ", "x" * 501, "a\x00b"):
        refused = watched.site.submit(pause, {"why": nothing})
        assert refused.status_code == 400
        assert "#why" in refused.text
    done = watched.site.submit(pause, {"why": "Is the picture right?"})
    assert (done.status_code, done.headers["Location"]) == (303, watched.path)
    page = watched.page()
    assert "It is paused. Nothing more leaves until somebody lets it go on." in page
    found = watched.site.client.get(watched.path + "/figures").get_json()
    assert (found["phase"], found["over"]) == ("paused", False)
    assert watched.site.client.get(pause).headers["Location"] == watched.path
    watched.world.drain()
    assert not watched.world.reached(watched.sent)
    assert watched.site.submit(resume, {"why": "x" * 501}).status_code == 400
    assert watched.site.submit(resume, {"why": ""}).headers["Location"] == watched.path
    assert "It is being sent." in watched.page()
    watched.world.drain()
    assert sorted(watched.world.reached(watched.sent).values()) == [1] * 6
    with watched.world.looking() as session:
        entries = session.scalars(
            sa.select(AuditEntry).where(AuditEntry.event.in_(["dispatch:pause", "dispatch:resume"]))
        ).all()
    assert [(e.event, e.why) for e in entries] == [
        ("dispatch:pause", "Is the picture right?"),
        ("dispatch:resume", None),
    ]
    assert all(e.actor_id is not None for e in entries)


def test_the_buttons_are_those_of_the_moment(watched: Watched) -> None:
    def shown() -> list[str]:
        page = watched.site.client.get(watched.path).text
        parts = re.sub(r"<div data-phases[^>]* hidden>.*?</div>\s*</div>", "", page, flags=re.DOTALL)
        return [what for what in ("Pause it", "Let it go on", "Stop it") if f"{what}\n" in parts]

    assert shown() == ["Pause it", "Stop it"]
    watched.site.submit(watched.path + "/pause", {"why": "Wait"})
    assert shown() == ["Let it go on", "Stop it"]
    watched.site.submit(watched.path + "/stop", {"why": "Withdrawn"})
    assert shown() == []
    watched.world.drain()
    assert "4 not sent" in watched.page()


def test_a_pause_that_comes_too_late_leads_back_to_the_progress(watched: Watched) -> None:
    page = watched.site.client.get(watched.path + "/pause").text
    watched.world.run("UPDATE dispatches SET finished_at = now(), state = 'done'")
    late = watched.site.client.post(
        watched.path + "/pause", data={**watched.site.fields(page), "why": "Too late"}
    )
    assert late.headers["Location"] == watched.path
    with watched.world.looking() as session:
        assert session.get_one(Dispatch, watched.sent).state == "done"


def test_a_dispatch_to_nobody_says_so_and_ends(committed: Database, tmp_path: Path) -> None:
    with world(committed, tmp_path) as one:
        with one.making() as makes:
            police = makes.organisation()
            makes.sender(police)
            _, ward, _ = makes.borough()
            sent = one.send(makes, makes.alert(police, [ward]))
        page = words(enter(one, sent).client.get(f"/staff/dispatches/{sent}").text)
        with one.looking() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(Batch)) == 0
    assert "There was nobody to send it to." in page


@pytest.mark.parametrize("rest", ["", "/figures", "/stop", "/pause", "/resume"])
def test_a_dispatch_that_is_not_there_is_not_found(watched: Watched, rest: str) -> None:
    for what in (new_id(), "x", "00000000-0000-0000-0000-00000000000g"):
        assert watched.site.client.get(f"/staff/dispatches/{what}{rest}").status_code == 404
