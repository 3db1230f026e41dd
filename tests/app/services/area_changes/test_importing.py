"""A newer release of postcodes: read as a whole or not at all, and applied like any other change."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.errors import Conflict, Invalid
from app.models.area_changes import AreaPlan, AreaPlanPostcode
from app.models.audit import AuditEntry
from app.services import areas
from app.services.area_changes import importing, plans
from app.services.area_changes.importing import Report
from geo.postcode import PostcodeError
from tests.app.services.area_changes.town import Town, build
from tests.factories import ACTOR, Makes
from tests.geo.test_postcode_files import CODE_POINT


@pytest.fixture
def town(makes: Makes) -> Town:
    return build(makes)


def table(town: Town) -> dict[str, tuple[float, float, str, str]]:
    """The town's postcodes as they are: place, borough, ward."""
    rows = town.session.execute(
        sa.text(
            "SELECT p.postcode, p.at[0], p.at[1], b.code, p.ward_code FROM postcodes p "
            "JOIN areas w ON w.code = p.ward_code AND w.valid_to IS NULL JOIN areas b ON b.id = w.parent_id"
        )
    )
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def written(path: Path, rows: dict[str, tuple[float, float, str, str]]) -> Path:
    path.write_text(
        "".join(
            CODE_POINT.format(pcds=code, east=int(east), north=int(north), lad=lad, ward=ward)
            for code, (east, north, lad, ward) in rows.items()
        )
    )
    return path


def read(town: Town, path: Path, **more: object) -> Report:
    with town.transaction() as session:
        return importing.read(
            session,
            path,
            release=("next", "The next release", date(2026, 2, 1)),
            applies_on=date(2026, 3, 1),
            actor=ACTOR,
            **more,  # type: ignore[arg-type]
        )


def test_a_release_says_what_it_changes_and_sends_everybody_to_their_new_ward(
    town: Town, tmp_path: Path
) -> None:
    rows = table(town)
    first, second = town.wards[0].code, town.wards[1].code
    people = {q: town.place("postcode", 0, q) for q in range(4)}
    pin, ward, beside = town.place("pin", 0, 3), town.place("ward", 0), town.place("postcode", 1, 0)
    before = town.where()
    for quarter in range(4):  # the first ward ends: most of it is a new one, a part goes to the second
        east, north, lad, _ = rows[town.postcode(0, quarter)]
        rows[town.postcode(0, quarter)] = (east, north, lad, second if quarter == 3 else "E05000901")
    del rows[town.postcode(0, 1)]  # in use no more, and somebody lives there
    rows["N9 9ZZ"] = (530_305, 180_050, town.boroughs[1].code, town.wards[3].code)
    report = read(town, written(tmp_path / "next.csv", rows), names={"E05000901": "Newly Made"})
    assert (report.new, report.gone, report.moved) == (1, 1, 3)
    assert (report.begun, report.ended) == (("E05000901",), (first,))
    assert town.where() == before
    assert town.session.scalars(
        sa.select(AuditEntry.event).where(AuditEntry.event == "postcode:import")
    ).all()
    plans.schedule(town.session, report.plan_id, actor=ACTOR)
    town.carry_out(report.plan_id)
    after = town.where()
    assert [after[people[q]] for q in range(4)] == [["E05000901"], ["E05000901"], ["E05000901"], [second]]
    assert [after[place] for place in (pin, ward, beside)] == [[second], ["E05000901"], [second]]
    assert areas.loaded_release(town.session) == "next"
    assert areas.find_ward(town.session, "N9 9ZZ").release == "next"
    assert town.area("E05000901").name == "Newly Made"
    with pytest.raises(PostcodeError) as ended:
        areas.find_ward(town.session, town.postcode(0, 1))
    assert ended.value.code == "terminated"
    town.reverse(report.plan_id)
    assert town.where() == before
    assert areas.loaded_release(town.session) == "test"
    assert areas.find_ward(town.session, town.postcode(0, 1)).code == first
    with pytest.raises(PostcodeError) as unknown:
        areas.find_ward(town.session, "N9 9ZZ")
    assert unknown.value.code == "not-london"


def test_a_release_that_ends_nothing_moves_only_who_changed_ward(town: Town, tmp_path: Path) -> None:
    rows = table(town)
    mover, other = town.place("postcode", 0, 3), town.place("postcode", 0, 0)
    east, north, lad, _ = rows[town.postcode(0, 3)]
    rows[town.postcode(0, 3)] = (east, north, lad, town.wards[1].code)
    report = read(town, written(tmp_path / "next.csv", rows))
    assert (report.begun, report.ended, report.moved) == ((), (), 1)
    plans.schedule(town.session, report.plan_id, actor=ACTOR)
    town.carry_out(report.plan_id)
    late = town.place("postcode", 0, 3, ward=town.wards[1].code)
    assert (town.where()[mover], town.where()[other]) == ([town.wards[1].code], [town.wards[0].code])
    town.reverse(report.plan_id)
    assert {tuple(town.where()[one]) for one in (mover, other, late)} == {(town.wards[0].code,)}


def test_nothing_of_a_file_is_kept_when_a_line_cannot_be_read(town: Town, tmp_path: Path) -> None:
    path = written(tmp_path / "next.csv", table(town))
    path.write_text(path.read_text() + "broken\r\n" + path.read_text().splitlines()[0] + "\r\n")
    with pytest.raises(importing.RefusedError) as refused:
        read(town, path)
    assert [fault.reason for fault in refused.value.faults] == [
        "has 1 columns instead of 10",
        "has a postcode that stands twice",
    ]
    assert town.session.scalar(sa.select(sa.func.count()).select_from(AreaPlanPostcode)) == 0
    assert town.session.scalar(sa.select(sa.func.count()).select_from(AreaPlan)) == 0


def test_a_part_of_a_release_another_table_and_a_ward_without_a_name_are_refused(
    town: Town, tmp_path: Path
) -> None:
    rows = table(town)
    half = dict(list(rows.items())[:8])
    with pytest.raises(Invalid, match="not a whole release"):
        read(town, written(tmp_path / "half.csv", half))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Invalid, match="neither"):
        read(town, tmp_path / "other.csv")
    nameless = {
        code: (*row[:3], "E05000901") if row[3] == town.wards[0].code else row for code, row in rows.items()
    }
    with pytest.raises(Invalid, match="No name"):
        read(town, written(tmp_path / "nameless.csv", nameless))
    with pytest.raises(Conflict), town.transaction() as session:
        importing.read(
            session,
            tmp_path / "half.csv",
            release=("test", "Again", date(2026, 1, 1)),
            applies_on=date(2026, 3, 1),
            actor=ACTOR,
        )
