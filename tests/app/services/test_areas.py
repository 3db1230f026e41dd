"""Areas: London loads once, and a postcode leads to its ward or to a clear answer."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid
from app.models.areas import Area, Postcode
from app.models.consent import Consent
from app.models.people import Place, PlaceArea, Subscription
from app.services import areas, consent, people
from geo import releases
from geo.area_codes import AreaKind
from geo.postcode import PostcodeError
from messaging.types import Channel
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes

LONDON = "SW1A 1AA"


@pytest.fixture(scope="module")
def opened(london: Database):
    registry = london.open()
    yield registry
    registry.engine.dispose()


@pytest.fixture
def session(opened):
    """In the database that holds London; leaves nothing behind."""
    with opened.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        outer.rollback()


def counts(session: Session) -> tuple[dict[str, int], int, int]:
    kinds = dict(session.execute(sa.select(Area.kind, sa.func.count()).group_by(Area.kind)).all())
    live = session.scalar(sa.select(sa.func.count()).where(Postcode.live)) or 0
    ended = session.scalar(sa.select(sa.func.count()).where(~Postcode.live)) or 0
    return kinds, live, ended


def test_london_is_all_there_and_a_second_load_changes_nothing(session: Session) -> None:
    kinds, live, ended = counts(session)
    assert (kinds["ward"], kinds["borough"], kinds["bcu"], live) == (704, 33, 12, 180_792)
    assert ended > 0
    before = session.execute(sa.select(Area.code, Area.id, Area.name).order_by(Area.code)).all()
    loaded = areas.loaded_release(session)
    assert areas.load_london(session, actor=audit.SYSTEM) == loaded == releases.release().id
    assert session.execute(sa.select(Area.code, Area.id, Area.name).order_by(Area.code)).all() == before
    assert counts(session) == (kinds, live, ended)


def test_the_city_of_london_has_25_wards_no_bcu_and_its_own_force(session: Session) -> None:
    city = areas.line(session, "E09000001", AreaKind.BOROUGH)
    assert city is not None
    assert len(areas.wards_of(session, city.area.area_id)) == 25
    assert [one.kind for one in city.above] == ["force"]


def test_a_ward_lies_below_its_borough_its_bcu_and_its_force(session: Session) -> None:
    ward = areas.find_ward(session, LONDON)
    line = areas.line(session, ward.code, AreaKind.WARD)
    assert line is not None
    assert [one.kind for one in line.above] == ["borough", "bcu", "force"]
    assert line.ids[0] == ward.area_id and line.codes[1] == ward.borough_code
    assert line.release == ward.release
    names = [one.name for one in areas.boroughs(session)]
    assert (len(names), names) == (33, sorted(names))


@pytest.mark.parametrize("typed", ["SW1A 1AA", "sw1a1aa", "  Sw1a   1aA "])
def test_a_postcode_is_found_however_it_is_typed(session: Session, typed: str) -> None:
    ward = areas.find_ward(session, typed)
    assert (ward.postcode, ward.borough_name) == (LONDON, "Westminster")
    assert ward.code.startswith("E05")


def test_a_postcode_that_leads_nowhere_gets_the_answer_that_fits(session: Session) -> None:
    ended = session.scalars(sa.select(Postcode.postcode).where(~Postcode.live).limit(1)).one()
    for typed, code in (
        ("nonsense", "malformed"),
        ("", "malformed"),
        ("SW1A", "outward-only"),
        ("M1 1AE", "not-london"),
        (ended, "terminated"),
    ):
        with pytest.raises(PostcodeError) as refused:
            areas.find_ward(session, typed)
        assert refused.value.code == code, typed
        assert len(refused.value.message) > 10


def test_an_area_of_another_kind_is_no_ward(session: Session) -> None:
    assert areas.line(session, "E09000033", AreaKind.WARD) is None
    assert areas.line(session, "E05999999", AreaKind.WARD) is None


def test_subscribing_by_postcode_makes_consent_a_place_and_its_topics_once(session: Session) -> None:
    makes = Makes(session)
    police = makes.organisation()
    makes.wording()
    contact = makes.contact()
    for _ in range(2):
        place = people.subscribe(
            session, contact, police.id, postcode="sw1a1aa", topics=[TOPIC, "events"], how="page", actor=ACTOR
        )
    assert place.postcode == LONDON
    assert session.scalar(sa.select(sa.func.count()).select_from(Place)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Subscription)) == 2
    assert session.scalar(sa.select(sa.func.count()).select_from(Consent)) == 1
    lies_in = session.scalars(sa.select(PlaceArea)).one()
    assert lies_in.area_id == areas.find_ward(session, LONDON).area_id
    assert lies_in.release_id == areas.loaded_release(session)


def test_nothing_is_half_written_when_a_postcode_or_a_topic_is_wrong(session: Session) -> None:
    makes = Makes(session)
    police = makes.organisation()
    makes.wording()
    contact = makes.contact(channel=Channel.SMS)
    values = {"how": "page", "actor": ACTOR}
    with pytest.raises(PostcodeError):
        people.subscribe(session, contact, police.id, postcode="M1 1AE", topics=[TOPIC], **values)
    for topics in ([], ["gossip"]):
        with pytest.raises(Invalid):
            people.subscribe(session, contact, police.id, postcode=LONDON, topics=topics, **values)
    assert session.scalar(sa.select(sa.func.count()).select_from(Consent)) == 0
    assert session.scalar(sa.select(sa.func.count()).select_from(Place)) == 0
    assert consent.current_wording(session).version == 1
