"""``wardlink areas …``: changes are planned, looked at, applied and undone from a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.registry import Registry
from tests.app.cli.conftest import Run
from tests.app.services.area_changes.test_importing import table, written
from tests.app.services.area_changes.town import EAST, NORTH, Town, build
from tests.conftest import Database
from tests.factories import Makes


@pytest.fixture
def town(committed: Database) -> Town:
    opened: Registry = committed.open()
    with opened.sessions.begin() as session:
        made = build(Makes(session))
        made.place("postcode", 0, 0)
        made.place("pin", 0, 3)
    opened.engine.dispose()
    return made


def plan_of(output: str) -> str:
    found = re.search(r"^plan (\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_a_split_is_planned_previewed_applied_listed_and_reversed(
    run: Run, town: Town, tmp_path: Path
) -> None:
    code = town.wards[0].code
    lines = [f"{town.postcode(0, q)},{'E05000902' if q == 3 else 'E05000901'}" for q in range(4)]
    (tmp_path / "table.csv").write_text("\n".join(["postcode,ward", *lines]))
    words = ("--into", "E05000901", "West", "--into", "E05000902", "East", "--on", "2026-01-01")
    made = run("areas", "plan", "split", code, *words, "--postcodes", str(tmp_path / "table.csv"))
    plan = plan_of(made.output)
    assert (
        f"{code} ends; it goes to E05000901 75%, E05000902 25%" in run("areas", "plan", "show", plan).output
    )
    shown = run("areas", "plan", "preview", plan).output
    assert "2 places move" in shown and "2 areas begin, 1 end" in shown
    assert f"{plan}  2026-01-01  draft  Split {code}" in run("areas", "plan", "list").output
    assert "applied: 2 places moved" in run("areas", "plan", "apply", plan).output
    assert run("areas", "plan", "apply", plan).exit_code == 1
    assert "reversed: 2 places moved back" in run("areas", "plan", "reverse", plan).output
    assert "reversed" in run("areas", "plan", "list").output


def test_what_is_for_later_waits_and_can_be_stopped(run: Run, town: Town) -> None:
    plan = plan_of(run("areas", "plan", "rename", town.wards[0].code, "Weavers", "--on", "2099-05-01").output)
    assert "on 01 May 2099" in run("areas", "plan", "apply", plan).output
    assert run("areas", "plan", "stop", plan).output == "stopped: nothing was changed\n"
    assert run("areas", "plan", "apply", plan).exit_code == 1


def test_areas_are_merged_moved_recoded_drawn_and_ended(run: Run, town: Town, tmp_path: Path) -> None:
    ring = [[EAST, NORTH], [EAST + 50, NORTH], [EAST + 50, NORTH + 100], [EAST, NORTH + 100], [EAST, NORTH]]
    drawn = tmp_path / "patch.json"
    drawn.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    bcus = [one.code for one in town.bcus]
    for words, said in (
        (("shape", "add", str(drawn), "--code", "PATCH:west", "--name", "West", "--grid"), "0 places moved"),
        (("shape", "end", "PATCH:west"), "0 places moved"),
        (("plan", "merge", *bcus, "--into", "BCU:TX", "--name", "Command X"), "0 places moved"),
        (("plan", "recode", town.wards[0].code, "E05000904"), "2 places moved"),
        (("plan", "move", town.wards[1].code, "--to", town.boroughs[1].code), "0 places moved"),
    ):
        plan = plan_of(run("areas", *words).output)
        applied = run("areas", "plan", "apply", plan)
        assert said in applied.output, (words, applied.output)


def test_a_release_is_imported_and_a_broken_one_is_refused_by_line(
    run: Run, town: Town, tmp_path: Path, committed: Database
) -> None:
    opened = committed.open()
    with opened.sessions() as session:
        town.makes.session = session
        path = written(tmp_path / "next.csv", table(town))
    opened.engine.dispose()
    words = ("--id", "next", "--name", "The next", "--published", "2026-02-01")
    whole = path.read_text()
    path.write_text(whole + "broken\n")
    broken = run("areas", "import", str(path), *words)
    assert broken.exit_code == 1 and "next.csv, line 17: has 1 columns instead of 10" in broken.output
    path.write_text(whole)
    done = run("areas", "import", str(path), *words)
    assert "16 postcodes in use: 0 new, 0 in use no more, 0 in another ward" in done.output
    assert "0 places moved" in run("areas", "plan", "apply", plan_of(done.output)).output


def test_what_is_wrong_is_said_in_plain_english(run: Run, town: Town, tmp_path: Path) -> None:
    wrong = tmp_path / "x.json"
    wrong.write_text("nonsense")
    for words, said in (
        (("plan", "rename", "E05999999", "Nowhere"), "No area of today"),
        (("shape", "add", str(wrong), "--code", "PATCH:west"), "not GeoJSON"),
        (("plan", "boundaries", str(wrong), "--title", "New"), "not GeoJSON"),
        (("plan", "show", "00000000-0000-0000-0000-000000000000"), "no such plan"),
    ):
        result = run("areas", *words)
        assert (result.exit_code, said in result.output) == (1, True), result.output
