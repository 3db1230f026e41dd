"""Owners: nothing is live before they prove an address and agree, and whatever they do is complete at once."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from app.db import Pt, new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.audit import AuditEntry
from app.models.consent import Consent, Suppression
from app.models.people import ContactPoint
from app.registry import Registry
from app.roles import libpq
from app.services import consent, people, sessions
from app.services.confirmations import links, signups
from app.services.confirmations.entering import Entered
from app.services.register import cameras, opting, owners
from app.services.register.opting import Owner
from messaging.types import Channel
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.owning import HERE, LABEL, MAIL, MIDDLE, MOBILE, NAME, THERE, WEB, Register, facts, register
from tests.residents import TERMS, address, letters, other_than


@pytest.fixture
def reg(committed: Database, app: Registry) -> Register:
    return register(committed, app)


def consents(reg: Register, purpose: str = "register") -> list[tuple[str, bool]]:
    with reg.registry.sessions() as session:
        found = session.scalars(sa.select(Consent).where(Consent.purpose == purpose).order_by(Consent.id))
        return [(one.channel, one.withdrawn_at is None) for one in found]


def test_nothing_is_live_before_the_code_and_everything_after_it(reg: Register) -> None:
    page = reg.begin()
    assert reg.rows("SELECT count(*) FROM camera_owners")[0][0] == 0
    assert reg.live() == 0
    assert consents(reg) == []
    with reg.registry.sessions() as session:
        assert people.find_contact(session, address(MAIL)) is None, "an address is proved first"
    assert reg.enter(page, other_than(reg.code(MAIL))) is None
    assert reg.live() == 0

    token = reg.enter(page, reg.code(MAIL))
    assert token is not None
    assert reg.live() == 1
    assert consents(reg) == [("email", True)]
    assert consents(reg, "alerts") == [], "alerts are another matter"
    (mine,) = reg.page(token).mine
    assert (mine.owner.name, mine.state, mine.organisation) == (NAME, "active", "Test Police")
    (camera,) = mine.cameras
    assert (camera.facts, camera.centre, camera.live) == (facts(), MIDDLE, True)
    assert timedelta(days=364) < mine.renew_by - utc_now() < timedelta(days=367)
    assert reg.events("camera:%") == ["camera:draft", "camera:add", "camera:own-page"]
    assert reg.enter(page, reg.code(MAIL)) is None, "twice is once"
    assert reg.live() == 1


@pytest.mark.slow
def test_the_link_of_the_message_does_the_same_and_twice_is_once(reg: Register) -> None:
    reg.begin(MOBILE, staff_token=officer(reg))
    with reg.registry.sessions() as session:
        letter = letters(session, MOBILE)[-1]
    assert letter.link, "at the door a text holds the link as well"
    with reg.registry.sessions.begin() as session:
        seen = links.look(session, letter.link, now=utc_now())
        assert seen.signup is not None and seen.signup.purpose == signups.REGISTER
        token = opting.press(session, letter.link, actor=WEB, now=utc_now())
    assert token is not None and len(reg.page(token).mine[0].cameras) == 1
    with reg.registry.sessions.begin() as session:
        assert opting.press(session, letter.link, actor=WEB, now=utc_now()) is None
    assert reg.live() == 1
    assert reg.rows("SELECT count(added_by) FROM camera_owners")[0][0] == 1, "who stood at the door is known"


def officer(reg: Register) -> str:
    with reg.registry.sessions.begin() as session:
        return sessions.begin(
            session, staff=Makes(session).officer(reg.town.police, role=None), now=utc_now()
        )


@pytest.mark.slow
def test_at_the_door_the_owner_s_code_signs_nobody_in(reg: Register) -> None:
    reg.begin(staff_token=officer(reg))
    assert reg.signup is not None
    before = reg.rows("SELECT count(*) FROM web_sessions")[0][0]
    with reg.registry.sessions.begin() as session:
        result = opting.enter_for(session, reg.signup, reg.code(MAIL), TERMS, actor=WEB, now=utc_now())
    assert result is Entered.RIGHT
    assert reg.live() == 1
    assert reg.rows("SELECT count(*) FROM web_sessions")[0][0] == before


@pytest.mark.slow
def test_a_door_without_a_session_of_staff_is_no_door(reg: Register) -> None:
    with pytest.raises(Missing):
        reg.begin(staff_token="nobody's")
    assert reg.rows("SELECT count(*) FROM signups")[0][0] == 0


@pytest.mark.slow
def test_two_addresses_are_one_owner_who_is_reached_both_ways(reg: Register) -> None:
    token = reg.opt_in(MAIL, MOBILE)
    (mine,) = reg.page(token).mine
    assert mine.two_ways and len(mine.cameras) == 1
    assert [one.id for one in reg.page(reg.session_of(MAIL)).mine] == [mine.id], "either opens the page"
    assert sorted(consents(reg)) == [("email", True), ("sms", True)]


@pytest.mark.slow
def test_who_opts_in_again_adds_a_camera(reg: Register) -> None:
    reg.opt_in()
    token = reg.opt_in(facts=facts(postcode=THERE, label="Second"))
    (mine,) = reg.page(token).mine
    assert [camera.name for camera in mine.cameras] == [LABEL, "Second"]


@pytest.mark.slow
def test_what_was_agreed_to_must_be_what_is_shown_now(reg: Register) -> None:
    with reg.registry.sessions.begin() as session:
        consent.add_wording(session, "Something else.", purpose=consent.REGISTER)
    with pytest.raises(Conflict):
        reg.begin()
    with pytest.raises(Invalid):
        reg.begin(controller=new_id())
    with pytest.raises(Invalid):
        reg.begin(addresses=[])


@pytest.mark.slow
def test_a_camera_without_consent_is_never_live(reg: Register) -> None:
    """The database itself refuses to take a draft over when nobody agreed."""
    page = reg.begin()
    with reg.registry.sessions.begin() as session:
        _, proved = signups.entered(
            session, page, reg.code(MAIL), TERMS, purpose=signups.REGISTER, actor=WEB, now=utc_now()
        )
        assert proved is not None and proved.contact_id is not None
        contact, signup = proved.contact_id, proved.signup_id
        consent.withdraw(
            session, contact, reg.town.police.id, purpose=consent.REGISTER, how="test", actor=ACTOR
        )
        token = sessions.begin(session, contact_id=contact, now=utc_now())
    with psycopg.connect(reg_url(reg)) as as_app, pytest.raises(psycopg.Error) as error:
        as_app.execute("SELECT register.accept_draft(%s, %s, %s, %s)", (token, signup, new_id(), new_id()))
    assert error.value.sqlstate == "WR001"
    assert reg.live() == 0


def reg_url(reg: Register) -> str:
    return libpq(reg.registry.settings.database_url)


@pytest.mark.slow
def test_change_pause_and_remove_are_complete_at_once(reg: Register) -> None:
    token = reg.opt_in()
    (mine,) = reg.page(token).mine
    first = mine.cameras[0].id
    with reg.registry.sessions.begin() as session:
        second = cameras.add(session, token, mine.id, facts(kind="ptz", field=360, label=""), actor=WEB)
        new = facts(bearing=90, days_kept=3, covers="shared", label="Front")
        cameras.change(session, token, first, new, actor=WEB)
    page = reg.page(token)
    assert page.camera(first)[1].facts == new
    assert page.camera(second)[1].name == f"Camera that turns, {HERE}"
    assert reg.rows("SELECT count(*) FROM cameras WHERE box(sector) @> at")[0][0] == 2, "a sector is drawn"

    with reg.registry.sessions.begin() as session:
        cameras.pause(session, token, first, True, actor=WEB)
    assert reg.live() == 1
    with reg.registry.sessions.begin() as session:
        owners.pause(session, token, mine.id, None, actor=WEB, now=utc_now())
    assert reg.live() == 0
    with reg.registry.sessions.begin() as session:
        owners.resume(session, token, mine.id, actor=WEB)
    assert reg.live() == 1, "what was paused by itself stays so"
    with reg.registry.sessions.begin() as session:
        cameras.pause(session, token, first, False, actor=WEB)
        cameras.remove(session, token, second, actor=WEB)
        owners.change(session, token, mine.id, Owner("Ada", "business", "phone", "evening"), actor=WEB)
        owners.renew(session, token, mine.id, actor=WEB)
    (mine,) = reg.page(token).mine
    assert ([one.id for one in mine.cameras], mine.owner.reach_when) == ([first], "evening")
    assert set(reg.events("camera:%")) == {
        "camera:draft", "camera:add", "camera:own-page", "camera:alter", "camera:remove",
    }  # fmt: skip
    assert reg.events("owner:%") == ["owner:pause", "owner:resume", "owner:alter", "owner:renew"]
    assert reg.live() == 1


def test_leaving_deletes_everything_but_the_evidence(reg: Register) -> None:
    token = reg.opt_in(MAIL, MOBILE)
    (mine,) = reg.page(token).mine
    with reg.registry.sessions.begin() as session:
        owners.leave(session, token, mine.id, actor=WEB)
    for table in ("camera_owners", "cameras", "camera_drafts"):
        assert reg.rows(f"SELECT count(*) FROM {table}")[0][0] == 0, table
    assert consents(reg) == [("email", False), ("sms", False)]
    with reg.registry.sessions() as session:
        assert session.scalars(sa.select(Suppression)).all() == [], "alerts are another matter"
        assert session.scalars(sa.select(ContactPoint)).all() == [], "the addresses were given for it alone"
        assert {one.pseudonym is None for one in session.scalars(sa.select(Consent))} == {False}
    assert reg.events("contact:erase") == ["contact:erase"] * 2
    assert reg.events("owner:%") == ["owner:leave"]
    with pytest.raises(Missing), reg.registry.sessions.begin() as session:
        owners.leave(session, token, mine.id, actor=WEB)


@pytest.mark.slow
def test_alerts_and_the_register_never_mix(reg: Register) -> None:
    """Leaving alerts leaves the register alone, joining it lifts no stop, and leaving it stops no alert."""
    with reg.registry.sessions.begin() as session:
        makes = Makes(session)
        contact = makes.resident(reg.town.police, reg.town.wards[0], address=MAIL)
        consent.leave(session, contact.id, reg.town.police.id, how="link", actor=ACTOR)
    token = reg.opt_in()
    assert consents(reg, "alerts") == [("email", False)]
    with reg.registry.sessions.begin() as session:
        assert consent.suppression_of(session, contact, reg.town.police.id) == "left"
        consent.leave(session, contact.id, reg.town.police.id, how="link", actor=ACTOR)
    assert (len(reg.page(token).mine), reg.live()) == (1, 1)


@pytest.mark.slow
def test_it_was_not_me_takes_the_camera_out_again(reg: Register) -> None:
    reg.opt_in()
    with reg.registry.sessions.begin() as session:
        links.refuse(session, letters(session, MAIL)[-1].not_me, actor=WEB, now=utc_now())
    assert reg.live() == 0
    assert reg.rows("SELECT count(*) FROM camera_owners")[0][0] == 0
    assert consents(reg) == [("email", False)]


def test_one_owner_cannot_touch_what_is_another_s(reg: Register) -> None:
    mine = reg.page(reg.opt_in()).mine[0]
    other = reg.opt_in("bob@people.example")
    camera = mine.cameras[0].id
    acts = [
        lambda s: cameras.add(s, other, mine.id, facts(), actor=WEB),
        lambda s: cameras.change(s, other, camera, facts(label="Bob's"), actor=WEB),
        lambda s: cameras.pause(s, other, camera, True, actor=WEB),
        lambda s: cameras.remove(s, other, camera, actor=WEB),
        lambda s: owners.change(s, other, mine.id, Owner("Bob"), actor=WEB),
        lambda s: owners.pause(s, other, mine.id, None, actor=WEB, now=utc_now()),
        lambda s: owners.resume(s, other, mine.id, actor=WEB),
        lambda s: owners.renew(s, other, mine.id, actor=WEB),
        lambda s: owners.leave(s, other, mine.id, actor=WEB),
        lambda s: cameras.pause(s, "no session", camera, True, actor=WEB),
    ]
    for act in acts:
        with pytest.raises(Missing), reg.registry.sessions.begin() as session:
            act(session)
    with psycopg.connect(reg_url(reg)) as as_app, pytest.raises(psycopg.Error) as error:
        # An id of another's camera, as if it were a new one of one's own.
        own = reg.page(other).mine[0].id
        as_app.execute(
            "SELECT register.add_camera(%s, %s, %s, %s, NULL)", (other, own, camera, facts().values)
        )
    assert error.value.sqlstate == "WR007"
    assert reg.live() == 2


def test_the_app_cannot_read_or_write_owners_but_by_the_functions(reg: Register) -> None:
    token = reg.opt_in()
    with psycopg.connect(reg_url(reg), autocommit=True) as as_app:
        for statement in (
            "SELECT 1 FROM camera_owners", "SELECT 1 FROM cameras", "SELECT 1 FROM camera_drafts",
            "UPDATE cameras SET live = false", "DELETE FROM camera_owners", "INSERT INTO camera_drafts DEFAULT VALUES",
            "SELECT register._owned('x', gen_random_uuid())", "SELECT register._settle(gen_random_uuid())",
            "SELECT register._facts(gen_random_uuid(), '{}', NULL, gen_random_uuid())",
            "SELECT register.lapse_owners(now() + interval '9 years', 1)", "SELECT register.wake_owners(now(), 1)",
            "SELECT register.remind_owners(now() + interval '9 years', 1, 1, 1)",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_app.execute(statement.encode())
        # Both steps in one transaction: the record could be rolled back with what was read.
        with pytest.raises(psycopg.Error) as error, as_app.transaction():
            row = as_app.execute("SELECT register.open_own(%s, 'test')", (token,)).fetchone()
            as_app.execute("SELECT register.run_own(%s, %s, NULL)", (row and row[0], token))
        assert error.value.sqlstate == "WR002"
        row = as_app.execute("SELECT register.open_own(%s, 'test')", (token,)).fetchone()
        other = reg.opt_in("bob@people.example")
        with pytest.raises(psycopg.Error):
            as_app.execute("SELECT register.run_own(%s, %s, NULL)", (row and row[0], other))
        as_app.execute("SELECT register.run_own(%s, %s, NULL)", (row and row[0], token))
        with pytest.raises(psycopg.Error) as error:
            as_app.execute("SELECT register.run_own(%s, %s, NULL)", (row and row[0], token))
        assert error.value.sqlstate == "WR002", "a used ticket"


@pytest.mark.slow
def test_the_page_is_on_the_record_and_nobody_without_a_camera_is(reg: Register) -> None:
    token = reg.opt_in()
    reg.page(token)
    with reg.registry.sessions() as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "camera:own-page")).one()
        contact = people.find_contact(session, address(MAIL))
        assert contact is not None
        assert (entry.actor_kind, entry.actor_id, entry.subject, entry.s62, entry.origin) == (
            "resident", str(contact.id), f"contact:{contact.id}", "consultation", "192.0.2.0/24",
        )  # fmt: skip
        assert entry.organisation_id == reg.town.police.id
    with reg.registry.sessions.begin() as session:
        nobody = sessions.begin(
            session, contact_id=Makes(session).contact("none@people.example").id, now=utc_now()
        )
    assert reg.page(nobody) == owners.NOTHING
    assert reg.events("camera:own-page") == ["camera:own-page"]


@pytest.mark.slow
def test_a_pin_near_the_postcode_and_no_further(reg: Register) -> None:
    token = reg.opt_in()
    (mine,) = reg.page(token).mine
    for at in (Pt(MIDDLE[0] + 251, MIDDLE[1]), Pt(float("nan"), MIDDLE[1])):
        with pytest.raises((Invalid, ValueError)), reg.registry.sessions.begin() as session:
            cameras.add(session, token, mine.id, facts(at=at), actor=WEB)
    with psycopg.connect(reg_url(reg), autocommit=True) as as_app:
        for broken in (
            {"east": "NaN"}, {"north": None}, {"kind": "telescope"}, {"reach": 5_000}, {"field": 0}, {"days_kept": -1},
            {"postcode": "ZZ1 1ZZ"}, {"bearing": "x"}, {"covers": None},
        ):  # fmt: skip
            values = psycopg.types.json.Jsonb(json.loads(facts().values) | broken)
            with pytest.raises(psycopg.Error) as error:
                as_app.execute(
                    "SELECT register.add_camera(%s, %s, %s, %s, NULL)", (token, mine.id, new_id(), values)
                )
            assert error.value.sqlstate == "WR003", broken
    assert reg.live() == 1


@pytest.mark.slow
def test_a_postcode_without_a_cell_is_refused_in_words(committed: Database, app: Registry) -> None:
    reg = register(committed, app)
    reg.change("DELETE FROM register_cells")
    page = reg.begin()
    with pytest.raises(Invalid, match="cannot be put on the register yet"):
        reg.enter(page, reg.code(MAIL))
    assert reg.live() == 0
    assert consents(reg) == [], "all or nothing"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "telescope"}, "kind"), ({"covers": ""}, "covers"), ({"bearing": 360}, "bearing"),
        ({"field": 0}, "field"), ({"reach": 301}, "reach"), ({"days_kept": 367}, "days_kept"),
        ({"height": 31.0}, "height"), ({"height": float("nan")}, "height"), ({"label": "x" * 61}, "label"),
        ({"label": "a\nb"}, "label"), ({"at": Pt(float("inf"), 0.0)}, "at"),
    ],
)  # fmt: skip
def test_what_no_camera_is_is_refused_beside_its_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as error:
        facts(**changes)
    assert error.value.field == field


@given(st.floats(0, 200), st.sampled_from(sorted(cameras.WINDS)))
def test_a_pin_moved_somewhere_is_described_as_there(metres: float, towards: str) -> None:
    found, wind = cameras.away(MIDDLE, cameras.move(MIDDLE, metres, towards))
    assert abs(found - metres) < 1.2
    assert metres < 5 or wind == towards


# -- the log of searches
@pytest.mark.slow
def test_searches_are_shown_after_their_time_unless_withheld(reg: Register) -> None:
    token = reg.opt_in()
    reg.change("UPDATE cameras SET created_at = now() - interval '90 days'")
    now = utc_now()
    old, fresh = reg.searched(now - timedelta(days=40)), reg.searched(now - timedelta(days=3))
    before = reg.searched(now - timedelta(days=100))
    elsewhere = reg.searched(now - timedelta(days=41), cells=[-1])
    assert len({old, fresh, before, elsewhere}) == 4
    (match,) = reg.page(token).searches
    assert (match.purpose, match.organisation) == ("investigation", "Test Police")
    assert abs(match.at - (now - timedelta(days=40))) < timedelta(seconds=1)
    assert match.cameras == (reg.page(token).mine[0].cameras[0].id,)

    reg.change(
        "INSERT INTO search_withholdings (search_id, given_by, reason, until) "
        "SELECT id, staff_id, 'still under way', now() + interval '1 day' FROM register_searches WHERE id = %s", old
    )  # fmt: skip
    assert reg.page(token).searches == ()
    reg.change("UPDATE search_withholdings SET until = now() - interval '1 minute'")
    assert len(reg.page(token).searches) == 1
    reg.change("UPDATE register_settings SET show_after = interval '1 day'")
    assert len(reg.page(token).searches) == 2
    reg.change("UPDATE register_searches SET lapsed_at = now() WHERE id = %s", old)
    assert len(reg.page(token).searches) == 1, "nobody took that answer"


@pytest.mark.slow
def test_the_log_is_paged(reg: Register) -> None:
    token = reg.opt_in()
    reg.change("UPDATE cameras SET created_at = now() - interval '300 days'")
    now = utc_now()
    for n in range(23):
        reg.searched(now - timedelta(days=40 + n))
    first = reg.page(token)
    assert (len(first.searches), first.earlier) == (20, True)
    second = reg.page(token, before=first.searches[-1].at)
    assert (len(second.searches), second.earlier) == (3, False)
    assert not {one.at for one in first.searches} & {one.at for one in second.searches}


@pytest.mark.slow
def test_a_camera_that_moved_to_another_cell_is_told_of_that_one_alone(
    committed: Database, app: Registry
) -> None:
    reg = register(committed, app, split=True)
    west, east = (row[0] for row in reg.rows("SELECT id FROM register_cells ORDER BY west"))
    token = reg.opt_in()
    reg.change("UPDATE cameras SET created_at = now() - interval '90 days'")
    camera = reg.page(token).mine[0].cameras[0].id
    reg.searched(utc_now() - timedelta(days=40), cells=[east])
    reg.searched(utc_now() - timedelta(days=41), cells=[west])
    assert len(reg.page(token).searches) == 1
    with reg.registry.sessions.begin() as session:
        cameras.change(session, token, camera, facts(at=Pt(MIDDLE[0] + 150, MIDDLE[1])), actor=WEB)
    assert reg.rows("SELECT cell_id FROM cameras")[0][0] == east
    assert reg.page(token).searches == (), "what came near the new place before says nothing of this camera"


# -- addresses
@pytest.mark.slow
def test_who_leaves_the_register_and_has_alerts_keeps_the_address(reg: Register) -> None:
    with reg.registry.sessions.begin() as session:
        contact = Makes(session).resident(reg.town.police, reg.town.wards[0], address=MAIL).id
    token = reg.opt_in()
    with reg.registry.sessions.begin() as session:
        owners.leave(session, token, reg.page(token).mine[0].id, actor=WEB)
    assert reg.page(token) == owners.NOTHING
    with reg.registry.sessions() as session:
        assert session.get_one(ContactPoint, contact).address == MAIL
    assert consents(reg, "alerts") == [("email", True)]
    with psycopg.connect(reg_url(reg)) as as_app:
        row = as_app.execute(
            "SELECT count(*) FROM forget_addresses(%s, %s, now())", ([contact], [b"x"])
        ).fetchone()
    assert row == (0,), "not even for whoever asks the database"


@pytest.mark.slow
def test_an_owner_by_text_alone(reg: Register) -> None:
    token = reg.opt_in(MOBILE)
    with reg.registry.sessions() as session:
        contact = people.find_contact(session, address(MOBILE))
        assert contact is not None and contact.channel == Channel.SMS
    assert reg.page(token).mine[0].id == UUID(str(reg.rows("SELECT id FROM camera_owners")[0][0]))
