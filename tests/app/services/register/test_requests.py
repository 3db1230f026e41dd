"""Whom a request goes to, who may ask, and that asking tells nobody anything."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from app.db import Pt, new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.ledger import Batch, Dispatch
from app.registry import Registry
from app.services.register import requests, sending
from messaging.linter.identifying import findings
from messaging.types import Channel
from tests.conftest import Database
from tests.register_asking import LOOK_FOR, SPOT, Force, force


@pytest.fixture
def police(committed: Database, app: Registry, worker: Registry) -> Force:
    return force(committed, app)


def near(metres: float) -> Pt:
    return Pt(SPOT.easting + metres, SPOT.northing)


# -- whom it goes to
def test_those_within_the_exact_shape_are_asked_and_nobody_else(police: Force, worker: Registry) -> None:
    inside = {police.owner(near(d)).id for d in (0, 50, 99.9)}
    police.owner(near(100.1))
    police.owner(near(10), state="paused")
    police.owner(near(10), days_kept=0)  # its footage of the window has gone
    other = force(police.database, police.registry, name="Other Police")
    police.owner(near(10), controller=other.organisation.id)
    request = police.ask()
    assert police.send(worker, request) == 3
    assert set(police.asked(request)) == inside
    assert police.request(request).asked_band == "3 to 5"


@pytest.mark.slow
def test_a_view_goes_to_those_who_see_the_spot_and_a_route_to_those_beside_it(
    police: Force, worker: Registry
) -> None:
    seeing = police.owner(Pt(SPOT.easting, SPOT.northing - 30), bearing=0).id
    police.owner(Pt(SPOT.easting, SPOT.northing - 30), bearing=180)
    police.owner(Pt(SPOT.easting, SPOT.northing - 60), bearing=0)
    request = police.ask(police.search(kind="view", radius=None))
    police.send(worker, request)
    assert set(police.asked(request)) == {seeing}

    crossing = [Pt(SPOT.easting - 5, SPOT.northing - 5), Pt(SPOT.easting + 5, SPOT.northing - 5),
                Pt(SPOT.easting, SPOT.northing + 5)]  # fmt: skip
    request = police.ask(
        police.search(kind="view", centre=None, radius=None, outline=crossing, reference="OTHER-1")
    )
    police.send(worker, request)
    assert seeing in police.asked(request)

    way = [Pt(SPOT.easting - 200, SPOT.northing - 30), Pt(SPOT.easting + 200, SPOT.northing - 30)]
    request = police.ask(
        police.search(kind="route", centre=None, radius=10.0, route=way, reference="OTHER-2")
    )
    police.send(worker, request)
    assert len(police.asked(request)) == 2


@pytest.mark.slow
def test_chosen_cells_narrow_it_and_cells_that_were_not_searched_are_refused(
    police: Force, worker: Registry
) -> None:
    chosen = police.owner(cell=11).id
    police.owner(cell=12)
    request = police.ask(cells=[11])
    police.send(worker, request)
    assert set(police.asked(request)) == {chosen}
    with pytest.raises(Invalid):
        police.ask(cells=[11, 99])
    with pytest.raises(Invalid):
        police.ask(cells=[])


@pytest.mark.slow
def test_an_owner_is_asked_twice_for_a_case_and_a_third_time_only_by_leave(
    police: Force, worker: Registry
) -> None:
    police.owner()
    sent = [police.send(worker, police.ask()) for _ in range(3)]
    assert sent == [1, 1, 0]
    assert police.send(worker, police.ask(police.search(reference="OTHER-1"))) == 1
    leave = police.lift()
    assert police.send(worker, police.ask(lift_id=leave)) == 1
    with pytest.raises(Conflict):
        police.ask(lift_id=leave)  # used
    for wrong in (police.lift(police.colleague), police.lift(cap="area"),
                  police.lift(expires_at=utc_now() - timedelta(minutes=1))):  # fmt: skip
        with pytest.raises(Conflict):
            police.ask(lift_id=wrong)


@pytest.mark.slow
def test_not_again_holds_for_the_case(police: Force, worker: Registry) -> None:
    police.owner()
    police.send(worker, police.ask())
    police.run("UPDATE request_recipients SET answer = 'not-again', answered_at = now()")
    assert police.send(worker, police.ask()) == 0
    assert police.send(worker, police.ask(police.search(reference="OTHER-1"))) == 1


@pytest.mark.slow
def test_one_owner_with_many_cameras_is_asked_once_and_told_of_the_first_that_is_overwritten(
    police: Force, worker: Registry
) -> None:
    contact = police.owner(cameras=3, days_kept=2).id
    request = police.ask()
    assert police.send(worker, request) == 1
    one = police.asked(request)[contact]
    assert len(one.camera_ids) == 3
    assert one.overwritten_at == police.request(request).window_from + timedelta(days=2)


# -- who may ask
def test_only_the_searcher_asks_within_a_day_with_a_factor_just_shown(police: Force) -> None:
    search = police.search()
    with pytest.raises(Missing):
        police.ask(search, token="x" * 43)
    with pytest.raises(Conflict, match="Search again"):
        police.ask(search, token=police.colleague_token)
    with pytest.raises(Conflict, match="Search again"):
        police.ask(search, token=police.supervisor_token)
    with pytest.raises(Conflict, match="Search again"):
        police.ask(police.search(ago=timedelta(hours=24, minutes=1)))
    police.run("UPDATE web_sessions SET stepped_up_at = now() - interval '16 minutes'")
    with pytest.raises(Conflict, match="Show again"):
        police.ask(search)
    police.run("UPDATE web_sessions SET stepped_up_at = now()")
    police.run("UPDATE investigations SET closed_at = now()")
    with pytest.raises(Conflict, match="closed"):
        police.ask(search)
    assert "request:open" not in police.events()


@pytest.mark.slow
def test_a_double_click_is_one_request_and_another_id_is_not_taken_over(police: Force) -> None:
    search, id = police.search(), new_id()
    assert police.ask(search, id=id) == police.ask(search, id=id) == id
    assert police.events().count("request:open") == 1
    with pytest.raises(Conflict):
        police.ask(police.search(police.colleague), id=id, token=police.colleague_token)


@pytest.mark.parametrize("days", [0, 1, 15, -1])
def test_a_request_is_open_for_one_of_three_times(session: sa.orm.Session, days: int) -> None:
    with pytest.raises(Invalid, match="how long"):
        requests.ask(
            session,
            "",
            new_id(),
            new_id(),
            look_for=LOOK_FOR,
            cells=None,
            days=days,
            lift_id=None,
            now=utc_now(),
        )


def test_the_app_learns_nothing_by_asking_and_taking_it_back(police: Force) -> None:
    police.owner()
    with police.registry.sessions() as session:
        requests.ask(
            session, police.token, new_id(), police.search(), look_for=LOOK_FOR, cells=None, days=3, lift_id=None,
            now=utc_now(),
        )  # fmt: skip
        bands = session.execute(sa.text("SELECT asked_band, dispatch_id FROM camera_requests")).all()
        assert bands == [("", None)]
        session.rollback()
    for statement in ("SELECT register.pick(gen_random_uuid(), gen_random_uuid())", "SELECT register.thank(now())",
                      "SELECT register.remind(now(), 5)", "SELECT register.expire(now())",
                      "SELECT * FROM request_recipients", "SELECT * FROM disclosures",
                      "INSERT INTO camera_requests (id) VALUES (gen_random_uuid())",
                      "UPDATE camera_requests SET state = 'asking'", "DELETE FROM camera_requests"):  # fmt: skip
        with (
            police.registry.sessions() as session,
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        ):
            session.execute(sa.text(statement))


def test_nobody_and_two_read_alike(police: Force, worker: Registry) -> None:
    nobody = police.ask(police.search(centre=near(5_000)))
    police.owner()
    police.owner()
    two = police.ask()
    for request in (nobody, two):
        police.send(worker, request)
    bands = {police.request(one).asked_band for one in (nobody, two)}
    assert bands == {"fewer than 3"}


# -- sending and ending
@pytest.mark.slow
def test_a_request_goes_once_to_each_by_the_ledger(police: Force, worker: Registry) -> None:
    contacts = {police.owner(channel=channel).id for channel in (Channel.EMAIL, Channel.EMAIL, Channel.SMS)}
    request = police.ask()
    assert police.send(worker, request) == 3
    assert police.send(worker, request) == 0
    with police.superuser() as session:
        (made,) = session.scalars(sa.select(Dispatch))
        frozen = [c for batch in session.scalars(sa.select(Batch)) for c in batch.contact_ids]
    assert (made.alert_id, made.topic, made.recipients) == (None, sending.TOPIC, 3)
    assert set(frozen) == contacts and len(frozen) == 3
    assert police.request(request).dispatch_id == made.id
    assert police.events().count("request:send") == 1


@pytest.mark.slow
def test_what_cannot_be_sent_leaves_nothing_behind_and_is_tried_again(
    police: Force, worker: Registry
) -> None:
    police.owner()
    request = police.ask()
    police.run("UPDATE senders SET active = false")
    with pytest.raises(Invalid):
        police.send(worker, request)
    assert police.asked(request) == {} and police.request(request).asked_band == ""
    with worker.sessions() as session:
        assert sending.pending(session, now=utc_now()) == [request]
    police.run("UPDATE senders SET active = true")
    assert police.send(worker, request) == 1
    with worker.sessions() as session:
        assert sending.pending(session, now=utc_now()) == []


@pytest.mark.slow
def test_a_request_expires_on_the_record_and_is_sent_to_nobody_then(police: Force, worker: Registry) -> None:
    police.owner()
    request = police.ask()
    with worker.sessions.begin() as session:
        assert sending.expire(session, now=utc_now()) == 0
        assert sending.expire(session, now=utc_now() + timedelta(days=7)) == 1
    assert police.request(request).state == "expired"
    assert police.events()[-1] == "request:expire"
    assert police.send(worker, request) == 0


@pytest.mark.slow
def test_the_case_closes_it_once_and_a_stranger_does_not(police: Force) -> None:
    request = police.ask()

    def close(token: str) -> bool:
        with police.registry.sessions.begin() as session:
            return requests.close(
                session, token, request, why="Somebody was found.", outcome="Thank you all."
            )

    with pytest.raises(Missing):
        close(police.colleague_token)
    assert close(police.supervisor_token)
    assert not close(police.token)
    found = police.request(request)
    assert (found.state, found.closed_why, found.outcome) == (
        "closed",
        "Somebody was found.",
        "Thank you all.",
    )
    assert police.events().count("request:close") == 1


# -- words
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("John Smith in a red coat was there.", "name"),
        ("Mr Patel in a red coat was there.", "name"),
        ("Somebody known as Tiny was there.", "name"),
        ("Sarah O’Connor ran to the station.", "name"),
        ("A Ford Transit, AB12 CDE, drove off.", "plate"),
        ("A van, ab12cde, drove off to the west.", "plate"),
        ("Call 07700 900123 if you saw it all.", "phone"),
        ("Write to me at a.b@police.example now.", "email"),
        ("A woman, born 1 May 1980, in a coat.", "birth"),
        ("A man with DOB 01/02/1990 in a coat.", "birth"),
        ("Look at www.evil.example for a photo.", "link"),
    ],
)  # fmt: skip
def test_words_that_say_who_somebody_is_are_refused(words: str, kind: str) -> None:
    assert [one.kind for one in findings(words)] == [kind]
    with pytest.raises(Invalid, match="Take out"):
        requests.checked(words)


@pytest.mark.parametrize(
    "words",
    [
        LOOK_FOR,
        "A black Ford Transit in Victoria Road between 18:30 and 19:00 on 01/02/2026.",
        "Two people, one with a PC World bag, walked along the A40 towards St James Park.",
        "A silver VW Golf came from UB8 1UW, and turned into Charles Street at about 23:15.",
        "Somebody of about 30 in a grey JD Sports tracksuit; bus U4; route 607.",
    ],
)
def test_words_that_describe_pass(words: str) -> None:
    assert findings(words) == []
    assert requests.checked(words) == words


@pytest.mark.parametrize("words", ["", "Too short", "x" * 601, "A person in a red coat \x00 here"])
def test_words_that_cannot_be_kept_are_refused(words: str) -> None:
    with pytest.raises(Invalid):
        requests.checked(words)
