"""Officers write, look, and send once: nothing typed is lost, nothing of others is touched."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Barrier, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.errors import Invalid
from app.factory import create_app
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.models.ledger import Dispatch, DispatchContent
from app.models.organisations import Organisation, Sender
from app.models.staff import Staff
from app.models.teams import Team
from app.services import dispatch
from app.services.compose import send as send_once
from messaging.types import Channel
from tests.app.web.conftest import PUBLIC_URL, Site
from tests.factories import ACTOR, TOPIC, Makes

NEW = "/staff/alerts/new"


@dataclass
class Desk:
    """An officer of a team at a desk, with people to write to; another organisation beside."""

    site: Site
    police: Organisation
    team: Team
    officer: Staff
    areas: list[Area]  # the borough, its wards, and then the borough and a ward of somewhere else
    others: Staff

    def words(self, **changes: object) -> dict[str, object]:
        return {
            "kind": "appeal",
            "urgency": "urgent",
            "topic": TOPIC,
            "headline": "Did you see a white van?",
            "body": "A white van hit a **cyclist** on Park Road on Monday.\r\n\r\nIt drove off.",
            "what_to_do": "Look at your door cameras.",
            "how_to_tell": "Call 101 and say CAD 1234.",
            "sms_text": "White van hit a cyclist, Park Road, Monday 8am. Did you see it?",
            "channels": ["email", "sms"],
            "areas": [self.areas[1].code],
        } | changes

    def write(self, **changes: object) -> str:
        """A saved draft; the path of its preview."""
        answer = self.site.submit(NEW, self.words(**changes))
        assert answer.status_code == 303, problems(answer.text)
        return answer.headers["Location"]

    def post_send(self, path: str, page: str | None = None, **more: object) -> Any:
        """Press the send button of a preview."""
        page = page or self.site.client.get(path).text
        return self.site.client.post(f"{path}/send", data={**hidden(page, f"{path}/send"), **more})

    def one(self) -> Alert:
        with self.site.registry.sessions() as session:
            return session.scalars(sa.select(Alert)).one()

    def count(self, model: type) -> int:
        with self.site.registry.sessions() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


@pytest.fixture
def desk(site: Site) -> Iterator[Desk]:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police, council = makes.organisation(), makes.organisation("Test Council")
        for organisation in (police, council):
            for channel in ("email", "sms"):
                for lane in ("urgent", "bulk"):
                    makes.sender(organisation, channel, lane=lane)
        areas = [*makes.borough(), *makes.borough(1)]
        team = makes.team(police, [areas[1]])
        for _ in range(3):
            makes.resident(police, areas[1])
        makes.resident(police, areas[1], channel=Channel.SMS)
        makes.resident(police, areas[2])
        found = Desk(site, police, team, makes.officer(police, team), areas, makes.officer(council))
    site.enter(staff=found.officer)
    yield found


def hidden(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    forms = re.findall(r"<form\b[^>]*>.*?</form>", page, re.DOTALL)
    form = next(one for one in forms if f'action="{action}"' in one)
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def problems(page: str) -> list[str]:
    listed = re.search(r'govuk-error-summary__list">(.*?)</ul>', page, re.DOTALL)
    return re.findall(r'href="(#[\w-]+)"', listed[1]) if listed else []


def shown(page: str) -> str:
    """The words of a page as somebody reads them."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


# Writing -------------------------------------------------------------------------------------
def test_an_alert_is_written_on_one_form_and_stands_as_a_draft(desk: Desk) -> None:
    page = desk.site.client.get(NEW).text
    assert "All of Borough" in shown(page)
    path = desk.write()
    alert = desk.one()
    assert (alert.state, alert.kind, alert.urgency, alert.channels) == (
        "draft",
        "appeal",
        "urgent",
        ["email", "sms"],
    )
    assert alert.body == "A white van hit a **cyclist** on Park Road on Monday.\n\nIt drove off."
    assert (alert.team_id, alert.controller_id) == (desk.team.id, desk.police.id)
    assert alert.how_to_tell == "Call 101 and say CAD 1234."
    assert alert.audience["areas"] == [desk.areas[1].code]
    assert alert.created_by == str(desk.officer.id)
    assert path == f"/staff/alerts/{alert.id}"
    home = shown(desk.site.client.get("/staff").text)
    assert "Did you see a white van?" in home
    assert "Nothing has been sent yet." in home


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"headline": ""}, ["#headline"]),
        ({"headline": "x" * 121}, ["#headline"]),
        ({"body": "x" * 10_001}, ["#body"]),
        ({"body": "a\x00b"}, ["#body"]),
        ({"body": "Hello ((surname))"}, ["#body"]),
        ({"what_to_do": "x" * 1_001}, ["#what_to_do"]),
        ({"how_to_tell": "x" * 501}, ["#how_to_tell"]),
        ({"sms_text": "x" * 613}, ["#sms_text"]),
        ({"sms_text": "write {stop} here"}, ["#sms_text"]),
        ({"kind": "survey"}, ["#kind"]),
        ({"kind": ["alert", "x\x00"], "urgency": "soon"}, ["#urgency"]),
        ({"topic": ""}, ["#topic"]),
        ({"channels": ["pigeon"]}, ["#channels"]),
        ({"channels": []}, ["#channels"]),
        ({"areas": []}, ["#areas"]),
        ({"areas": ["E05999999", "\x00", "'; DROP TABLE alerts; --"]}, ["#areas"]),
        ({"kind": "", "urgency": "", "headline": " ", "body": "\n", "topic": "", "channels": [], "areas": []},
         ["#kind", "#urgency", "#headline", "#body", "#areas", "#topic", "#channels"]),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_beside_its_field_and_nothing_typed_is_lost(
    desk: Desk, changes: dict[str, object], fields: list[str]
) -> None:
    answer = desk.site.submit(NEW, desk.words(**changes))
    assert answer.status_code == 400
    assert problems(answer.text) == fields
    for href in fields:
        assert f'id="{href[1:]}"' in answer.text
    assert "<title>Error: " in answer.text
    for name, typed in desk.words(**changes).items():
        if isinstance(typed, str) and "\x00" not in typed and name not in {"kind", "urgency", "topic"}:
            assert (
                html.escape(typed.strip().replace("\r\n", "\n"), quote=True).replace("&#x27;", "&#39;")
                in answer.text
            )
    assert desk.count(Alert) == 0


def test_areas_of_another_team_are_refused_whatever_the_form_says(desk: Desk) -> None:
    """The form does not offer them, so somebody has made the request by hand."""
    answer = desk.site.submit(NEW, desk.words(areas=[desk.areas[1].code, desk.areas[4].code]))
    assert answer.status_code == 303
    assert desk.one().audience["areas"] == [desk.areas[1].code], "what is not offered is as if not ticked"
    with desk.site.registry.sessions.begin() as session:
        makes = Makes(session)
        outside = makes.alert(desk.police, [desk.areas[4]])
        who = Makes(session).who(desk.officer)
        with pytest.raises(Invalid, match="areas of your own"):
            send_once(
                session, who, outside.id, token="token-0001", seen=outside.changed_at, exercise=False,
                public_url=PUBLIC_URL, actor=ACTOR, now=utc_now(),
            )  # fmt: skip
    path = f"/staff/alerts/{outside.id}"
    page = desk.site.client.get(path)
    assert page.status_code == 200
    assert "You cannot send this alert" in page.text
    assert "Send now" not in page.text
    assert desk.site.client.get(f"{path}/edit").status_code == 403
    refused = desk.site.client.post(
        f"{path}/send", data={**desk.site.fields(desk.site.client.get(NEW).text), "send_token": "token-0002",
                              "seen": outside.changed_at.isoformat()}
    )  # fmt: skip
    assert refused.status_code == 403
    assert desk.count(Dispatch) == 0


def test_a_whole_borough_stands_for_its_wards(desk: Desk) -> None:
    borough, ward, *_ = desk.areas
    path = desk.write(areas=[ward.code, borough.code])
    assert desk.one().audience["areas"] == [borough.code]
    assert f"all of {borough.name}" in shown(desk.site.client.get(path).text)


def test_an_officer_of_no_team_finds_every_borough_folded_and_opened_where_something_is_chosen(
    desk: Desk,
) -> None:
    with desk.site.registry.sessions.begin() as session:
        free = Makes(session).officer(session.get_one(Organisation, desk.police.id))
    desk.site.enter(staff=free)
    answer = desk.site.submit(NEW, desk.words(headline=""))
    folded = re.findall(r"<details class=\"govuk-details wl-borough\"( open)?>", answer.text)
    assert folded == [" open", ""]


def test_how_long_the_text_is_can_be_asked_without_a_script_and_without_saving(desk: Desk) -> None:
    answer = desk.site.submit(NEW, {"action": "count", "sms_text": "Look out! " * 6, "kind": "appeal"})
    assert answer.status_code == 200
    assert problems(answer.text) == []
    assert "one person’s text is 2 segments" in shown(answer.text)
    assert "costs 8p" in shown(answer.text)
    assert desk.count(Alert) == 0


def test_the_count_beside_the_form_is_that_of_the_preview(desk: Desk) -> None:
    for kind in ("alert", "appeal"):
        for text in ("Short", "x" * 150, "Straße gesperrt €", "привет " * 20):
            part = desk.site.submit("/staff/alerts/segments", {"kind": kind, "sms_text": text}, page=NEW)
            assert part.status_code == 200
            assert "<html" not in part.text
            counted = re.search(r"(\d+) segments?", shown(part.text))
            path = desk.write(kind=kind, sms_text=text)
            preview = re.search(r"(\d+) segments?, [\d,]+ characters", shown(desk.site.client.get(path).text))
            assert counted is not None
            assert preview is not None
            assert counted[1] == preview[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Write a headline or a text"),
        ("{stop}", "Do not write {stop}"),
        ("((surname))", "((surname))"),
        ("x" * 5_000, "612 characters or fewer"),
        ("<script>alert(1)</script>☃", "These characters make it dearer: ☃"),
        ("a\x00b", "segment"),
    ],
)
def test_a_text_that_is_odd_is_counted_or_refused_in_words(desk: Desk, text: str, words: str) -> None:
    part = desk.site.submit("/staff/alerts/segments", {"sms_text": text, "kind": "\x00"}, page=NEW)
    assert part.status_code == 200
    assert words in shown(part.text)
    assert "<script" not in part.text


def test_the_longest_alert_in_any_script_fits_into_the_form(desk: Desk) -> None:
    desk.write(body="\U0001f6a8" * 10_000)
    assert len(desk.one().body) == 10_000
    too_much = desk.site.submit(NEW, desk.words(body="x" * 300_000))
    assert too_much.status_code == 413


# Changing ------------------------------------------------------------------------------------
def test_a_draft_is_changed_and_the_change_is_on_the_record(desk: Desk) -> None:
    path = desk.write()
    form = desk.site.client.get(f"{path}/edit").text
    assert "Look at your door cameras." in form
    assert f'value="{desk.areas[1].code}" checked' in form
    answer = desk.site.submit(f"{path}/edit", desk.words(headline="Did you see a green van?"))
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    assert desk.one().headline == "Did you see a green van?"
    with desk.site.registry.sessions() as session:
        events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event.like("alert:%"))).all()
    assert sorted(events) == ["alert:alter", "alert:draft"]


def test_two_officers_on_one_draft_do_not_write_over_each_other_unseen(desk: Desk) -> None:
    path = desk.write()
    old = desk.site.client.get(f"{path}/edit").text
    assert desk.site.submit(f"{path}/edit", desk.words(headline="The first to save")).status_code == 303
    second = desk.site.client.post(
        f"{path}/edit", data={**desk.site.fields(old), **desk.words(headline="The second to save")}
    )
    assert second.status_code == 409
    assert "Somebody else has changed this alert" in second.text
    assert "The second to save" in second.text
    assert desk.one().headline == "The first to save"
    third = desk.site.client.post(
        f"{path}/edit", data={**desk.site.fields(second.text), **desk.words(headline="The second to save")}
    )
    assert third.status_code == 303
    assert desk.one().headline == "The second to save"


@pytest.mark.parametrize(
    "seen", ["", "yesterday", "2026-01-01", "0001-01-01T00:00:00+00:00", "\x00", "9" * 99]
)
def test_a_form_that_does_not_say_what_it_changes_changes_nothing(desk: Desk, seen: str) -> None:
    path = desk.write()
    answer = desk.site.submit(f"{path}/edit", desk.words(headline="Forged", seen=seen))
    assert answer.status_code == 409
    assert desk.one().headline == "Did you see a white van?"


def test_what_the_page_does_not_ask_about_stays_as_it_was(desk: Desk) -> None:
    borough, first, second, *_ = desk.areas
    with desk.site.registry.sessions.begin() as session:
        alert = Makes(session).alert(
            desk.police, [borough], restricted=True,
            audience_expression={"areas": [borough.code], "except_areas": [second.code]},
        )  # fmt: skip
    path = f"/staff/alerts/{alert.id}"
    assert f"Left out: {second.name}." in desk.site.client.get(f"{path}/edit").text
    assert desk.site.submit(f"{path}/edit", desk.words(areas=[borough.code])).status_code == 303
    assert desk.one().audience == {"areas": [borough.code], "except_areas": [second.code]}
    assert desk.one().restricted
    desk.site.submit(f"{path}/edit", desk.words(areas=[first.code, second.code]))
    assert desk.one().audience == {"areas": [first.code, second.code], "except_areas": []}


def test_a_draft_is_discarded_and_a_sent_alert_is_not(desk: Desk) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    desk.post_send(path)
    refused = desk.site.client.post(f"{path}/discard", data=hidden(page, f"{path}/discard"))
    assert refused.status_code == 409
    assert desk.count(Alert) == 1
    path = desk.write()
    page = desk.site.client.get(path).text
    gone = desk.site.client.post(f"{path}/discard", data=hidden(page, f"{path}/discard"))
    assert (gone.status_code, gone.headers["Location"]) == (303, "/staff")
    assert desk.count(Alert) == 1
    assert desk.site.client.get(path).status_code == 404


# Looking and sending -------------------------------------------------------------------------
def test_the_preview_says_who_how_many_and_how_much(desk: Desk) -> None:
    page = shown(desk.site.client.get(desk.write()).text)
    assert "This goes to 3 e-mail addresses and 1 phone ." in page
    assert f"Where {desk.areas[1].name}" in page
    assert "Up to 8p: 1 text of 2 segments at 4p a segment" in page
    assert "Urgent means now" in page
    assert "Send now to 3 e-mail addresses and 1 phone" in page


def test_the_preview_of_an_alert_for_nobody_warns(desk: Desk) -> None:
    page = shown(desk.site.client.get(desk.write(topic="events", urgency="routine")).text)
    assert "Nobody would get this message" in page
    assert "means now" not in page


def test_what_officers_write_is_shown_and_not_run(desk: Desk) -> None:
    evil = "<script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>"
    page = desk.site.client.get(desk.write(headline="<b>Bold</b>", body=evil, sms_text=evil)).text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert "&lt;b&gt;Bold" in page


@pytest.mark.parametrize("exercise", [False, True])
def test_the_preview_is_what_is_frozen(desk: Desk, exercise: bool) -> None:
    path = desk.write()
    page = desk.site.client.get(path, query_string={"exercise": "1"} if exercise else {}).text
    answer = desk.post_send(path, page, **({"exercise": "1"} if exercise else {}))
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/staff/dispatches/")
    with desk.site.registry.sessions() as session:
        frozen = session.scalars(sa.select(DispatchContent)).all()
        assert session.scalars(sa.select(Dispatch.exercise)).all() == [exercise]
    assert {one.channel for one in frozen} == {"email", "sms"}
    for one in frozen:
        text = html.unescape(page)
        if one.channel == "email":
            assert one.subject in text
            assert one.subject.startswith("EXERCISE: ") == exercise
            letter = one.html.partition("</h1>")[2].partition("<hr ")[0]
            for part in _around_places(letter):
                assert part in page
        # Links and names differ for each person; all that is said around them is alike.
        for part in _around_places(one.text):
            assert part in text, part


def _around_places(text: str) -> list[str]:
    return [
        part for part in re.split(r"\[\[[a-z-]+:[0-9a-f]+\]\]|\{(?:stop|reply|name)\}", text) if part.strip()
    ]


def test_a_double_click_in_two_threads_is_one_dispatch(desk: Desk) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    fields = hidden(page, f"{path}/send")
    barrier = Barrier(2)
    answers: list[str] = []
    cookie = desk.site.client.get_cookie("__Host-wardlink")
    app = create_app(desk.site.registry)

    def click() -> None:
        client = app.test_client()
        client.set_cookie("__Host-wardlink", cookie.value if cookie else "", secure=True)
        barrier.wait()
        answers.append(client.post(f"{path}/send", data=fields).headers["Location"])

    clicks = [Thread(target=click) for _ in range(2)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join()
    assert desk.count(Dispatch) == 1
    assert len(answers) == 2
    assert len(set(answers)) == 1
    assert "again" not in answers[0]


def test_a_second_preview_sends_nothing_and_says_that_it_was_sent(desk: Desk) -> None:
    path = desk.write()
    first, second = (desk.site.client.get(path).text for _ in range(2))
    assert hidden(first, f"{path}/send")["send_token"] != hidden(second, f"{path}/send")["send_token"]
    sent = desk.post_send(path, first)
    again = desk.post_send(path, second)
    assert again.status_code == 303
    assert again.headers["Location"] == sent.headers["Location"] + "?again=1"
    assert "It was not sent a second time." in desk.site.client.get(again.headers["Location"]).text
    assert desk.count(Dispatch) == 1
    assert desk.site.client.get(path).headers["Location"] == sent.headers["Location"]
    assert desk.site.client.get(f"{path}/edit").headers["Location"] == path


def test_an_alert_that_was_changed_since_the_preview_is_not_sent(desk: Desk) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    desk.site.submit(f"{path}/edit", desk.words(headline="Something else"))
    refused = desk.post_send(path, page)
    assert refused.status_code == 409
    assert "Somebody has changed this alert since you looked at it" in refused.text
    assert "Something else" in refused.text
    assert desk.count(Dispatch) == 0
    assert desk.post_send(path, refused.text).status_code == 303


def test_an_alert_goes_out_once_as_an_exercise_and_then_once_for_real(desk: Desk) -> None:
    path = desk.write()
    first, second = (desk.site.client.get(path).text for _ in range(2))
    desk.post_send(path, first, exercise="1")
    assert desk.one().sent_at is None
    assert desk.post_send(path, second, exercise="1").headers["Location"].endswith("?again=1")
    assert "Send it for real" in desk.site.client.get("/staff").text
    page = desk.site.client.get(path)
    assert page.status_code == 200
    assert "sent as an exercise" in page.text
    assert desk.post_send(path, page.text).status_code == 303
    assert desk.one().sent_at is not None
    assert desk.post_send(path, second, exercise="1").headers["Location"].endswith("?again=1")
    assert desk.count(Dispatch) == 2


@pytest.mark.parametrize("token", ["", "short", "x" * 101, "bad\x00token", "\n\n\n\n\n\n\n\n"])
def test_without_a_token_of_ours_nothing_is_sent(desk: Desk, token: str) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    assert desk.post_send(path, page, send_token=token).status_code == 400
    assert desk.count(Dispatch) == 0


def test_an_organisation_without_a_number_is_told_so_before_and_at_sending(desk: Desk) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    with desk.site.registry.sessions.begin() as session:
        session.execute(sa.update(Sender).where(Sender.channel == "sms").values(active=False))
    after = desk.site.client.get(path)
    assert after.status_code == 200
    assert "has no number to send from" in after.text
    assert "Send now" not in after.text
    assert desk.post_send(path, page).status_code == 400
    assert "has no number to send from" in desk.site.client.get(f"{path}/edit").text


# Whose it is ---------------------------------------------------------------------------------
def test_alerts_of_another_organisation_are_not_there(desk: Desk) -> None:
    path = desk.write()
    page = desk.site.client.get(path).text
    sent = desk.post_send(path).headers["Location"]
    own = desk.write(headline="Still a draft")
    desk.site.enter(staff=desk.others)
    token = desk.site.fields(desk.site.client.get(NEW).text)["form_token"]
    for one in (path, own, f"{own}/edit", sent, f"{sent}/figures", f"{sent}/stop"):
        assert desk.site.client.get(one).status_code == 404, one
    for one in (f"{own}/edit", f"{own}/send", f"{own}/discard", f"{sent}/stop"):
        data = {**hidden(page, f"{path}/send"), **desk.words(), "why": "mischief", "form_token": token}
        assert desk.site.client.post(one, data=data).status_code == 404, one
    assert "Still a draft" not in desk.site.client.get("/staff").text
    assert desk.count(Dispatch) == 1
    with desk.site.registry.sessions() as session:
        assert session.scalars(sa.select(Dispatch.state)).one() == "running"


def test_the_lists_of_alerts_are_paged_and_cost_the_same_for_many(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        makes = Makes(session)
        for n in range(45):
            alert = makes.alert(desk.police, [desk.areas[1]], headline=f"Draft number {n:02d}")
            if n % 2:
                dispatch.send(session, alert.id, token=f"token-{n:04d}", actor=ACTOR, public_url=PUBLIC_URL)
    asked: list[str] = []
    sa.event.listen(desk.site.registry.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    first = desk.site.client.get("/staff")
    assert len(asked) < 15
    numbers = re.findall(r"Draft number (\d\d)", first.text)
    assert len(numbers) == 40
    drafts = [f"{n:02d}" for n in range(44, -1, -2)]
    sent = [f"{n:02d}" for n in range(43, 0, -2)]
    assert numbers == drafts[:20] + sent[:20]
    older = html.unescape(re.findall(r'href="(/staff\?draft=[^"]+)"', first.text)[0])
    assert re.findall(r"Draft number (\d\d)", desk.site.client.get(older).text) == drafts[20:] + sent[:20]
    for nothing in ("x", "1-1", "99999999999999999-" + "f" * 32, "\x00"):
        assert desk.site.client.get("/staff", query_string={"draft": nothing}).status_code == 200


def test_nobody_sees_the_pages_who_has_not_signed_in(desk: Desk) -> None:
    path = desk.write()
    token = desk.site.fields(desk.site.client.get(NEW).text)
    desk.site.client.delete_cookie("__Host-wardlink")
    for one in ("/staff", NEW, path, f"{path}/edit", "/staff/account"):
        assert desk.site.client.get(one).headers["Location"] == "/staff/sign-in"
    for one in (
        NEW,
        f"{path}/edit",
        f"{path}/send",
        f"{path}/discard",
        "/staff/alerts/segments",
        "/staff/sign-out",
    ):
        answer = desk.site.client.post(one, data={**desk.words(), **token})
        assert answer.status_code == 403
        assert "You have been signed out" in answer.text
    assert desk.count(Alert) == 1
