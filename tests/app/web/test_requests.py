"""Asking, answering, the board and the schedule in a browser; and to nobody whose they are not."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.db import utc_now
from app.errors import Conflict
from app.models.staff import Staff
from app.registry import Registry
from app.services.register import board, requests, settings
from app.web.two_steps import two_steps
from messaging.links import CAMERA, REPLY
from tests.app.web.conftest import Site
from tests.conftest import Database
from tests.factories import ACTOR
from tests.register_asking import LOOK_FOR, Force, force


@dataclass
class Desk:
    """An investigator at their desk, with one owner of a camera in reach of their search."""

    site: Site
    police: Force
    worker: Registry
    contact: int
    search: UUID

    def enter(self, staff: Staff) -> None:
        self.site.enter(staff=staff)

    def ask(self, **changes: object) -> tuple[int, str]:
        path = f"/staff/register/searches/{self.search}/request"
        answer = self.site.submit(path, {"look_for": LOOK_FOR, "days": "7"} | changes)
        return answer.status_code, answer.text if answer.status_code != 303 else answer.headers["Location"]

    def asked(self) -> tuple[UUID, str]:
        """A question that was sent: its id, and the path of the owner's link."""
        request = self.police.ask(self.search)
        self.police.send(self.worker, request)
        dispatch = self.police.request(request).dispatch_id
        assert dispatch is not None
        sign = self.site.registry.signer.batch(CAMERA, dispatch, utc_now() + timedelta(days=1))
        return request, sign(self.contact)

    @property
    def case(self) -> str:
        return f"/staff/register/cases/{self.police.case()}"


@pytest.fixture
def desk(site: Site, committed: Database, worker: Registry) -> Iterator[Desk]:
    police = force(committed, site.registry)
    contact = police.owner(name="Ann <Owner>").id
    found = Desk(site, police, worker, contact, police.search())
    found.enter(police.investigator)
    yield found


# -- asking
def test_a_question_is_asked_once_however_often_it_is_pressed(desk: Desk) -> None:
    path = f"/staff/register/searches/{desk.search}/request"
    page = desk.site.client.get(path).text
    assert "All owners whose cameras may have seen it" in page and "1234567/26" in page
    data = desk.site.fields(page) | {"look_for": LOOK_FOR, "days": "7"}
    for _ in range(2):
        answer = desk.site.client.post(path, data=data)
        assert answer.status_code == 303 and answer.headers["Location"].endswith(f"{desk.case}?done=asked")
    assert desk.police.events().count("request:open") == 1
    board = desk.site.client.get(f"{desk.case}?done=asked").text
    assert "on its way" in board and LOOK_FOR in board and "It is being sent" in board


@pytest.mark.slow
def test_what_is_wrong_with_it_stands_beside_its_field_and_nothing_is_lost(desk: Desk) -> None:
    status, page = desk.ask(look_for="John Smith in a red coat", days="7", cell=["11", "x"])
    assert status == 400
    assert (
        "Take out “John Smith”" in page
        and "There is a problem" in page
        and "John Smith in a red coat" in page
    )
    assert 'name="cell" value="11"' in page and 'value="x"' not in page and "1 part of the map" in page
    assert desk.ask(look_for="", days="99")[0] == 400
    assert desk.ask(cell=["99"])[0] == 400
    assert "request:open" not in desk.police.events()


@pytest.mark.slow
def test_chosen_parts_go_along(desk: Desk) -> None:
    assert desk.ask(cell=["11", "12"])[0] == 303
    (row,) = desk.police.run("SELECT cells FROM camera_requests")
    assert row.cells == [11, 12]


@pytest.mark.slow
def test_leave_of_a_supervisor_is_offered_where_there_is_some(desk: Desk) -> None:
    assert "a third time" not in desk.site.client.get(f"/staff/register/searches/{desk.search}/request").text
    lift = desk.police.lift()
    assert desk.ask(lift="yes")[0] == 303
    (row,) = desk.police.run("SELECT lift_id FROM camera_requests")
    assert row.lift_id == lift


@pytest.mark.slow
def test_nobody_asks_by_anothers_search_or_an_old_one(desk: Desk) -> None:
    paths = [f"/staff/register/searches/{one}/request" for one in
             (desk.police.search(desk.police.colleague), desk.police.search(ago=timedelta(hours=25)))]  # fmt: skip
    assert [desk.site.client.get(path).status_code for path in paths] == [404, 404]


# -- answering
def test_opening_the_link_changes_nothing_and_shows_the_question(desk: Desk) -> None:
    request, link = desk.asked()
    before = desk.police.events()
    for _ in range(2):
        page = desk.site.client.get(link)
        assert page.status_code == 200 and LOOK_FOR in page.text and "Met Police" in page.text
        assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert "1234567/26" not in page.text
    assert desk.police.events() == before
    assert desk.police.asked(request)[desk.contact].answer is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "words"),
    [("have-it", "will write to you or call you"), ("call-me", "will get in touch"), ("have-not", "helps to know"),
     ("overwritten", "helps to know"), ("not-again", "Nobody asks you about this case")],
)  # fmt: skip
def test_each_answer_says_what_follows(desk: Desk, answer: str, words: str) -> None:
    request, link = desk.asked()
    page = desk.site.client.post(link, data={"answer": answer, "note": "At nine."})
    assert page.status_code == 200 and words in page.text
    assert ("now knows your name" in page.text) is (answer in {"have-it", "call-me"})
    one = desk.police.asked(request)[desk.contact]
    assert (one.answer, one.note) == (answer, "At nine.")


@pytest.mark.slow
def test_the_portal_of_the_force_is_a_link_with_the_case_in_it(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        portal = ("Axon", "https://axon.police.example/{reference}/{request}")
        settings.alter(session, desk.police.organisation.id, portal=portal, actor=ACTOR)
    request, link = desk.asked()
    page = desk.site.client.post(link, data={"answer": "have-it"}).text
    assert f'href="https://axon.police.example/1234567%2F26/{requests.reference(request)}"' in page


@pytest.mark.slow
def test_a_wrong_answer_a_wrong_link_and_a_closed_question_answer_in_plain_words(desk: Desk) -> None:
    request, link = desk.asked()
    wrong = desk.site.client.post(link, data={"answer": "maybe", "note": "x" * 501})
    assert wrong.status_code == 400 and "Choose an answer." in wrong.text and "500 characters" in wrong.text
    assert desk.site.client.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404
    sign = desk.site.registry.signer.batch(REPLY, UUID(int=1), utc_now() + timedelta(days=1))
    assert desk.site.client.get(sign(desk.contact).replace("/r/", "/c/")).status_code == 404
    with desk.site.registry.sessions.begin() as session:
        requests.close(session, desk.police.token, request, why="Found", outcome="All is well again.")
    for answer in (desk.site.client.get(link), desk.site.client.post(link, data={"answer": "have-it"})):
        assert answer.status_code == 200 and "closed" in answer.text and "All is well again." in answer.text
    desk.police.run("DELETE FROM contact_points WHERE id = :c", c=desk.contact)
    assert desk.site.client.get(link).status_code == 410


# -- the board
def test_the_board_shows_who_answered_so_escaped_and_counts_the_rest_in_bands(desk: Desk) -> None:
    _, link = desk.asked()
    desk.site.client.post(link, data={"answer": "have-not", "note": "<b>no</b>"})
    page = desk.site.client.get(desk.case).text
    assert "Nobody has answered yet" in page and "Ann" not in page and "fewer than 3 owners" in page
    assert "Make the schedule" not in page
    desk.site.client.post(link, data={"answer": "have-it", "note": "<b>two files</b>"})
    page = desk.site.client.get(desk.case).text
    assert (
        "Ann &lt;Owner&gt;" in page and "&lt;b&gt;two files&lt;/b&gt;" in page and "@people.example" in page
    )
    assert "Video doorbell at UB8 1UW" in page
    cases = desk.site.client.get("/staff/register/cases").text
    assert "1234567/26" in cases and "1 open request" in cases


@pytest.mark.slow
def test_the_board_is_not_for_colleagues_who_did_not_search_nor_for_officers(desk: Desk) -> None:
    desk.asked()
    request = str(desk.police.run("SELECT id FROM camera_requests")[0].id)
    paths = [desk.case, f"/staff/register/requests/{request}/close"]
    desk.enter(desk.police.supervisor)
    assert [desk.site.client.get(path).status_code for path in paths] == [200, 200]
    desk.enter(desk.police.colleague)
    assert [desk.site.client.get(path).status_code for path in paths] == [404, 404]
    assert "1234567/26" not in desk.site.client.get("/staff/register/cases").text
    assert desk.police.events().count("board:read") == 1
    desk.police.run("UPDATE role_grants SET role = 'officer'")
    assert desk.site.client.get("/staff/register/cases").status_code == 404


@pytest.mark.slow
def test_every_page_asks_for_a_factor_that_was_shown_just_now(desk: Desk) -> None:
    request, _ = desk.asked()
    desk.police.run("UPDATE web_sessions SET stepped_up_at = now() - interval '11 minutes'")
    for path in (desk.case, "/staff/register/cases", f"/staff/register/searches/{desk.search}/request",
                 f"/staff/register/requests/{request}/close"):  # fmt: skip
        answer = desk.site.client.get(path)
        assert answer.status_code == 303 and "/staff/step-up" in answer.headers["Location"]


@pytest.mark.slow
def test_a_question_is_closed_once_and_stays(desk: Desk) -> None:
    request, _ = desk.asked()
    path = f"/staff/register/requests/{request}/close"
    wrong = desk.site.submit(path, {"why": "", "outcome": "John Smith was found."})
    assert wrong.status_code == 400 and "Say why it is closed." in wrong.text
    wrong = desk.site.submit(path, {"why": "Found.", "outcome": "John Smith was found."})
    assert wrong.status_code == 400 and "Take out" in wrong.text
    done = desk.site.submit(path, {"why": "Found.", "outcome": "Somebody was found."})
    assert done.status_code == 303
    assert desk.site.client.get(path).status_code == 303
    page = desk.site.client.get(desk.case).text
    assert (
        "Somebody was found." in page
        and "Closed" in page
        and f"Close request {requests.reference(request)}" not in page
    )


@pytest.mark.slow
def test_who_is_overtaken_between_the_two_steps_takes_them_again_and_thrice_is_enough(desk: Desk) -> None:
    case, tries = desk.police.case(), []

    def open_it(session: Session) -> UUID:
        return board.begin(session, desk.police.token, case)

    def overtaken(times: int) -> Callable[[Session, UUID], board.Board]:
        def run(session: Session, ticket: UUID) -> board.Board:
            tries.append(ticket)
            if len(tries) <= times:
                desk.police.run(
                    "SELECT setval(register._slot(number), number + 6400) FROM register_tickets WHERE id = :t",
                    t=ticket,
                )
            return board.show(session, desk.police.token, ticket, case)

        return run

    with desk.site.client.application.app_context():
        assert two_steps(open_it, overtaken(1)).case == "1234567/26"
        assert len(set(tries)) == 2
        tries.clear()
        with pytest.raises(Conflict):
            two_steps(open_it, overtaken(9))
        assert len(set(tries)) == 3


# -- the schedule
def test_a_schedule_comes_as_a_page_a_table_and_a_map_each_marked_and_on_the_record(desk: Desk) -> None:
    _, link = desk.asked()
    desk.site.client.post(link, data={"answer": "have-it", "note": "Two files."})
    path = f"{desk.case}/schedule"
    page = desk.site.submit(path, {"format": "print"}, page=desk.case)
    assert page.status_code == 200 and 'media="print"' in page.text and "Ann &lt;Owner&gt;" in page.text
    assert re.search(r"Case 1234567/26 · taken out by Sam Officer, .* · entry \d+ of the record", page.text)
    table = desk.site.submit(path, {"format": "csv"}, page=desk.case)
    assert table.headers["Content-Disposition"].startswith('attachment; filename="schedule-1234567-26-')
    (row,) = csv.DictReader(io.StringIO(table.data.decode("utf-8-sig")))
    assert (row["Name"], row["Case"], row["Note"]) == ("Ann <Owner>", "1234567/26", "Two files.")
    shape = desk.site.submit(path, {"format": "geojson"}, page=desk.case)
    assert json.loads(shape.data)["features"][0]["properties"]["name"] == "Ann <Owner>"
    wrong = desk.site.submit(path, {"format": "xml"}, page=desk.case)
    assert wrong.status_code == 400 and "Choose a format." in wrong.text
    assert desk.police.events().count("schedule:export") == 3
    desk.enter(desk.police.colleague)
    token = desk.site.fields(desk.site.client.get("/staff/misuse/report").text)
    assert desk.site.client.post(path, data=token | {"format": "csv"}).status_code == 404
    assert desk.police.events().count("schedule:export") == 3
