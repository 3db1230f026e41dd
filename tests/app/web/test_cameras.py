"""Owners' pages: opting in without scripts, at the door, and everything on one's own page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import pytest

from app.db import utc_now
from app.permissions import Role
from app.services.register import renewal
from config.fields import Part
from messaging.links import KEEP
from tests.app.web.conftest import Site, open_site
from tests.app.web.test_subscribe import SANDBOX, text_of
from tests.conftest import Database
from tests.factories import Makes
from tests.owning import HERE, LABEL, MAIL, MIDDLE, MOBILE, NAME, THERE, Register, register
from tests.residents import letters, other_than

QUERY = {"kind": "doorbell", "postcode": HERE}
CAMERA = {
    "east": f"{MIDDLE.easting}", "north": f"{MIDDLE.northing}", "facing": "s", "field": "150", "reach": "10",
    "height": "1.2", "covers": "street", "days_kept": "30", "features": ["night"], "label": LABEL,
}  # fmt: skip
OWNER = {"name": NAME, "owner_kind": "home", "reach_how": "link", "reach_when": "any", "email": MAIL}


class Street(Site):
    """A site with a register."""

    reg: Register

    def page(self, path: str) -> str:
        shown = self.client.get(path)
        assert shown.status_code == 200, (path, shown.status_code, shown.headers.get("Location"))
        return shown.text

    def hidden(self, page: str) -> dict[str, str]:
        return self.fields(page)

    def post(self, path: str, page: str, **data: object):
        """Post the last form of a page that was shown."""
        return self.client.post(path, data={**self.hidden(page), **data})

    def opt_in(self, **changes: object) -> str:
        """To the page that asks for the code."""
        path = f"/cameras/new/camera?{urlencode(QUERY)}"
        contact = self.client.post(path, data={**self.hidden(self.page(path)), **CAMERA, **changes})
        assert contact.status_code == 200, text_of(contact.text)
        action = re.search(r'<form action="([^"]+)" method="post"', contact.text)
        assert action is not None
        answer = self.post(unescape(action[1]), contact.text, **OWNER)
        assert answer.status_code == 303, text_of(answer.text)
        return str(answer.headers["Location"])

    def code(self, to: str = MAIL) -> str:
        with self.registry.sessions() as session:
            return letters(session, to)[-1].code

    def owner(self) -> str:
        """Opted in and signed in; the text of their page."""
        check = self.opt_in()
        answer = self.submit(check, {"code": self.code()})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/cameras/mine?done=added")
        return self.page("/cameras/mine")

    def press(self, page: str, ending: str):
        """The form of one's own page whose address ends so."""
        form = next(
            found for found in re.findall(r"<form\b.*?</form>", page, re.DOTALL)
            if re.search(rf'action="[^"]*{ending}"', found)
        )  # fmt: skip
        action = re.search(r'action="([^"]+)"', form)
        assert action is not None
        return self.client.post(action[1], data=self.hidden(form))


@pytest.fixture
def street(committed: Database) -> Iterator[Street]:
    site = open_site(committed, **SANDBOX)
    opened = Street(site.client, site.registry)
    opened.reg = register(committed, site.registry)
    yield opened
    site.registry.engine.dispose()


def test_opting_in_step_by_step(street: Street) -> None:
    start = street.page("/cameras")
    assert "Put your camera on the register" in start and street.client.get_cookie("__Host-wardlink") is None
    assert "What kind of camera, and where" in street.page("/cameras/new")
    step = street.client.get(f"/cameras/new?{urlencode(QUERY)}")
    assert (step.status_code, step.headers["Location"]) == (
        303,
        "/cameras/new/camera?kind=doorbell&postcode=UB8+1UW",
    )
    page = street.page(step.headers["Location"])
    assert 'value="150"' in page and 'value="30"' in page, "the usual of a doorbell"
    assert "The pin is in the middle of UB8 1UW." in text_of(page)

    check = street.opt_in()
    assert "e-mail" not in street.client.get("/cameras/mine").text
    shown = text_of(street.page(check))
    assert "Your camera is not on the register yet" in shown and MAIL not in shown
    wrong = street.submit(check, {"code": other_than(street.code())})
    assert (wrong.status_code, street.reg.live()) == (400, 0)
    answer = street.submit(check, {"code": street.code()})
    assert answer.headers["Location"] == "/cameras/mine?done=added"
    mine = text_of(street.page("/cameras/mine?done=added"))
    for words in ("Your camera is on the register.", LABEL, "South (180°), 150° wide, 10 metres far", "In searches",
                  "30 days", "Nobody has asked you for footage.", "There are none yet."):  # fmt: skip
        assert words in mine, words
    assert street.reg.live() == 1


MISTAKES: list[tuple[dict[str, str], str]] = [
    ({"facing": ""}, "Choose which way the camera looks."),
    ({"bearing": "400"}, "Enter a direction from 0 to 359 degrees."),
    ({"field": "wide"}, "Enter the angle of view as a number."),
    ({"reach": "301"}, "Enter a distance of 1 to 300 metres."),
    ({"height": "tall"}, "Enter the height in metres, such as 2.5."),
    ({"days_kept": ""}, "Enter for how many days it keeps footage."),
    ({"covers": ""}, "Choose what it covers."),
    ({"label": "x" * 61}, "must be 60 characters or fewer"),
    ({"away": "400", "towards": "n"}, "The pin can be 250 metres from there at most."),
    ({"away": "40"}, "Choose a direction from the middle of the postcode."),
]


def test_a_mistake_is_said_beside_its_field_and_nothing_typed_is_lost(street: Street) -> None:
    path = f"/cameras/new/camera?{urlencode(QUERY)}"
    hidden = street.hidden(street.page(path))
    for changes, words in MISTAKES:
        answer = street.client.post(path, data={**hidden, **CAMERA, **changes})
        assert answer.status_code == 400, changes
        assert words in text_of(answer.text) and "There is a problem" in answer.text, changes
        assert "label" in changes or LABEL in answer.text


@pytest.mark.slow
def test_the_pin_moves_by_buttons_alone(street: Street) -> None:
    path = f"/cameras/new/camera?{urlencode(QUERY)}"
    data = {**street.hidden(street.page(path)), **CAMERA}
    answer = street.client.post(path, data={**data, "move": "n"})
    assert (answer.status_code, "10 metres north of the middle" in text_of(answer.text)) == (200, True)
    data |= street.hidden(answer.text)
    answer = street.client.post(path, data={**data, "move": "e"})
    assert "14 metres north-east of the middle" in text_of(answer.text) and LABEL in answer.text
    answer = street.client.post(path, data={**data, "move": "set", "away": "40", "towards": "sw"})
    assert "40 metres south-west of the middle" in text_of(answer.text)
    answer = street.client.post(path, data={**data, **street.hidden(answer.text), "move": "middle"})
    assert "The pin is in the middle" in text_of(answer.text)
    answer = street.client.post(path, data={**data, "east": "1e9", "north": "nan", "move": "look"})
    assert "The pin is in the middle" in text_of(answer.text)
    assert street.reg.rows("SELECT count(*) FROM signups")[0][0] == 0, "none of it changed anything"
    # Typed and not pressed: it counts all the same.
    street.opt_in(away="30", towards="w")
    assert street.reg.rows("SELECT facts->>'east' FROM camera_drafts")[0][0] == "504970.0"


@pytest.mark.slow
def test_a_postcode_that_leads_nowhere_is_said_so(street: Street) -> None:
    for typed, words in (("SW1A 1AA", "London"), ("x", "postcode"), ("", "Enter the postcode")):
        answer = street.client.get(f"/cameras/new?{urlencode({'kind': 'fixed', 'postcode': typed})}")
        assert (answer.status_code, words in text_of(answer.text)) == (400, True), typed
        away = street.client.get(f"/cameras/new/camera?{urlencode({'kind': 'fixed', 'postcode': typed})}")
        assert away.status_code == 303
    assert street.client.get("/cameras/new/camera?kind=telescope").status_code == 303
    street.reg.change("UPDATE organisations SET competent_authority = false")
    answer = street.client.get(f"/cameras/new?{urlencode(QUERY)}")
    assert "There is no register of cameras for this postcode yet." in text_of(answer.text)


@pytest.mark.slow
def test_the_owners_page_changes_everything_there_is(street: Street) -> None:
    page = street.owner()
    change = re.search(r"/cameras/camera/[0-9a-f-]+/change", page)
    assert change is not None
    form = street.page(change[0])
    answer = street.post(change[0], form, **{**CAMERA, "bearing": "95", "days_kept": "4"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/cameras/mine?done=changed")
    assert "East (95°)" in text_of(street.page("/cameras/mine"))
    assert 'value="95"' in street.page(change[0])
    moved = street.page(f"{change[0]}?{urlencode({'kind': 'fixed', 'postcode': THERE})}")
    assert "Fixed camera at UB8 3PH" in text_of(moved)
    assert street.client.get(f"{change[0]}?kind=telescope").status_code == 404
    assert street.client.get(f"{change[0]}?postcode=x").status_code == 400

    add = re.search(r"/cameras/mine/add\?owner=[0-9a-f-]+", page)
    assert add is not None
    assert "What kind of camera" in street.page(add[0])
    path = f"{add[0]}&{urlencode({'kind': 'ptz', 'postcode': THERE})}"
    ptz = {key: value for key, value in CAMERA.items() if key != "facing"} | {"field": "360", "label": ""}
    assert street.post(path, street.page(path), **ptz).headers["Location"] == "/cameras/mine?done=added"
    page = street.page("/cameras/mine")
    assert "Camera that turns, UB8 3PH" in page and "All round" in page
    assert street.reg.live() == 2

    assert street.press(page, "camera/[0-9a-f-]+/pause").status_code == 303
    assert street.reg.live() == 1
    page = street.page("/cameras/mine")
    assert street.press(page, "camera/[0-9a-f-]+/resume").status_code == 303
    assert street.press(page, "/remove").headers["Location"] == "/cameras/mine?done=removed"
    contact = re.search(r"/cameras/mine/[0-9a-f-]+/contact", page)
    assert contact is not None and NAME in street.page(contact[0])
    changed = {**OWNER, "name": "Ada Lovelace", "reach_when": "weekend"}
    assert street.submit(contact[0], changed).status_code == 303
    assert street.submit(contact[0], {**changed, "name": ""}).status_code == 400
    page = street.page("/cameras/mine")
    assert "Ada Lovelace" in page and "At weekends" in page
    assert street.press(page, "/renew").headers["Location"] == "/cameras/mine?done=renewed"


def test_pausing_until_a_day_and_leaving_with_one_tap(street: Street) -> None:
    page = street.owner()
    pause = re.search(r'href="(/cameras/mine/[0-9a-f-]+/pause)"', page)
    assert pause is not None
    for day, month, year in (("31", "2", "2027"), ("1", "1", "2020"), ("x", "1", "2027"), ("1", "1", "9999")):
        answer = street.submit(pause[1], {"day": day, "month": month, "year": year})
        assert (answer.status_code, "There is a problem" in answer.text) == (400, True)
    until = utc_now() + timedelta(days=40)
    answer = street.submit(
        pause[1], {"day": str(until.day), "month": str(until.month), "year": str(until.year)}
    )
    assert (answer.status_code, street.reg.live()) == (303, 0)
    page = street.page("/cameras/mine")
    assert "Paused until" in page
    assert street.press(page, "/resume").status_code == 303
    assert street.reg.live() == 1

    answer = street.press(street.page("/cameras/mine"), "/leave")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/cameras/left")
    assert "You have left the register" in street.page("/cameras/left")
    assert street.reg.rows("SELECT count(*) FROM camera_owners")[0][0] == 0
    assert street.client.get("/cameras/mine").headers["Location"] == "/manage?to=cameras"


@pytest.mark.slow
def test_an_owner_comes_back_by_a_code_to_their_cameras(street: Street) -> None:
    street.owner()
    street.client.delete_cookie("__Host-wardlink")
    away = street.client.get("/cameras/mine")
    assert away.headers["Location"] == "/manage?to=cameras"
    check = street.submit("/manage?to=cameras", {"address": MAIL}).headers["Location"]
    assert check.endswith("?to=cameras")
    answer = street.submit(check, {"code": street.code()})
    assert answer.headers["Location"] == "/cameras/mine"
    assert LABEL in street.page("/cameras/mine")
    assert "/cameras/mine" in street.page("/my")


@pytest.mark.slow
def test_what_is_another_s_is_not_found(street: Street) -> None:
    page = street.owner()
    paths = set(re.findall(r'(?:href|action)="(/cameras/(?:mine|camera)/[0-9a-f-]{36}/[a-z]+)"', page))
    assert len(paths) == 7
    with street.registry.sessions.begin() as session:
        bob = Makes(session).contact("bob@people.example").id
    street.enter(contact_id=bob)
    token = street.fields(street.page("/my"))
    for path in sorted(paths):
        for answer in (street.client.get(path), street.client.post(path, data={**token, **CAMERA, **OWNER})):
            assert answer.status_code in {404, 405, 200} and NAME not in answer.text, path
            if answer.status_code == 200:
                assert path.endswith("/pause"), "a page that asks for a day shows nothing of anybody"
    assert "No camera is on the register" in street.page("/cameras/mine")
    assert street.reg.live() == 1


@pytest.mark.slow
def test_the_link_of_a_reminder_is_answered_by_a_button(street: Street, committed: Database) -> None:
    street.owner()
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        renewal.remind(
            session,
            street.registry.signer,
            public_url="https://wardlink.example",
            now=utc_now() + timedelta(days=340),
        )
    worker.engine.dispose()
    (row,) = street.reg.rows("SELECT id, contact_id FROM camera_owners")
    link = street.registry.signer.batch(KEEP, row[0], utc_now() + timedelta(days=9))(row[1])
    assert "Do you still have your camera?" in street.page(link)
    assert street.client.post(link, data={}).status_code == 400
    assert street.reg.rows("SELECT reminded FROM camera_owners")[0][0] == 1
    assert "for another year" in street.client.post(link, data={"answer": "yes"}).text
    assert street.reg.rows("SELECT reminded FROM camera_owners")[0][0] == 0
    assert "You have left the register" in street.client.post(link, data={"answer": "no"}).text
    assert street.reg.rows("SELECT count(*) FROM cameras")[0][0] == 0
    assert "You have left the register" in street.client.post(link, data={"answer": "no"}).text, (
        "twice is once"
    )
    assert street.client.post(link, data={"answer": "yes"}).status_code == 404
    late = street.registry.signer.batch(KEEP, row[0], utc_now() - timedelta(days=1))(row[1])
    assert street.client.get(late).status_code == 410
    assert street.client.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404


# -- at the door
def door(street: Street, role: Role = Role.OFFICER) -> str:
    """An officer types it in and waits; the address of the page that waits."""
    with street.registry.sessions.begin() as session:
        officer = Makes(session, street.reg.numbers).officer(street.reg.town.police, role=role)
    street.enter(staff=officer)
    path = f"/staff/cameras/door?{urlencode(QUERY)}"
    page = street.page(path)
    assert "What an investigation was given after I answered" in page, "what is agreed to is there to be read"
    bad = street.post(path, page, **{**CAMERA, **OWNER, "name": "", "facing": ""})
    assert bad.status_code == 400 and "Enter your name." in bad.text and "Choose which way" in bad.text
    answer = street.post(path, page, **{**CAMERA, **OWNER, "email": "", "mobile": MOBILE})
    assert answer.status_code == 303, text_of(answer.text)
    return str(answer.headers["Location"])


def test_at_the_door_the_owner_confirms_on_their_own_phone(street: Street) -> None:
    waiting = door(street)
    assert "Waiting for the owner" in street.page(waiting) and street.reg.live() == 0
    with street.registry.sessions() as session:
        letter = letters(session, MOBILE)[-1]
    phone = Street(street.client.application.test_client(), street.registry)
    link = f"/confirm/{letter.link}"
    shown = text_of(phone.page(link))
    assert "What you agree to" in shown and "What an investigation was given after I answered" in shown
    answer = phone.submit(link, {})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/cameras/mine?done=added")
    assert street.reg.live() == 1 and LABEL in phone.page("/cameras/mine")
    assert "The camera is on the register" in street.page(waiting)
    assert phone.client.get(link).headers["Location"] == "/cameras/mine", "twice is once"


@pytest.mark.slow
def test_at_the_door_the_owner_may_type_the_code_on_the_officers_device(street: Street) -> None:
    waiting = door(street, Role.STEWARD)
    assert street.submit(waiting, {"code": other_than(street.code(MOBILE))}).status_code == 400
    assert street.submit(f"{waiting}/again", page=waiting).status_code == 303
    answer = street.submit(waiting, {"code": street.code(MOBILE)})
    assert (answer.status_code, street.reg.live()) == (303, 1)
    assert "The camera is on the register" in street.page(waiting)
    assert street.client.get("/cameras/mine").status_code == 302, "the officer is not signed in as the owner"
    assert street.client.get("/staff/account").status_code == 200


@pytest.mark.slow
def test_a_door_outside_ones_area_is_closed(street: Street) -> None:
    waiting = door(street)
    with street.registry.sessions.begin() as session:
        makes = Makes(session, street.reg.numbers)
        council = makes.organisation("Test Council")
        other = makes.officer(council)
    street.enter(staff=other)
    answer = street.client.get(f"/staff/cameras/door?{urlencode(QUERY)}")
    assert answer.status_code == 400 and "Your organisation has no register" in text_of(answer.text)
    assert street.client.get(waiting).status_code == 404
    assert street.client.post(waiting, data={"code": street.code(MOBILE)}).status_code in {400, 404}
    with street.registry.sessions.begin() as session:
        makes = Makes(session, street.reg.numbers)
        reader = makes.officer(street.reg.town.police, role=Role.AUDITOR)
    street.enter(staff=reader)
    assert street.client.get("/staff/cameras/door").status_code == 404
    assert street.reg.live() == 0


@pytest.mark.slow
def test_the_pages_that_explain_are_there_for_everybody(street: Street) -> None:
    meaning = text_of(street.page("/cameras/what-this-means"))
    for words in (
        "Who sees what",
        "What stays when you leave",
        "Neighbours' land",
        "Sound",
        "A sign",
        "Days kept",
    ):
        assert words in meaning, words
    assert "You came from" not in street.page("/cameras?from=WL-BCDFGHJ")
    assert street.client.get("/cameras?" + urlencode({"from": "x" * 500})).status_code == 200
