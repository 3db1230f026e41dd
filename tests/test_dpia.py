"""The impact assessment of the register names measures: every test and file that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from config.fields import PROJECT

TEXT = (PROJECT / "docs/dpia.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
FILES = sorted(set(re.findall(r"`((?:app|migrations|tests)/[\w/]+\.(?:py|md))`", TEXT)))
MEASURES = dict(re.findall(r"^\| (M\d+) (.+) \|$", TEXT, re.MULTILINE))
RISKS = dict(re.findall(r"^\| (R\d+) \| (.+) \|$", TEXT, re.MULTILINE))


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_every_test_that_it_names_is_there(path: str, name: str) -> None:
    assert name in functions(path), f"docs/dpia.md names {path}::{name}"


@pytest.mark.parametrize("path", FILES)
def test_every_file_that_it_names_is_there(path: str) -> None:
    assert (PROJECT / path).is_file()


def test_every_measure_is_kept_by_a_test_and_every_risk_has_measures_that_are_there() -> None:
    assert len(MEASURES) >= 15 and len(RISKS) >= 11
    for name, row in MEASURES.items():
        assert re.search(r"`tests/[\w/]+\.py::\w+`", row), name
    named = set()
    for name, row in RISKS.items():
        *_, before, measures, after = row.split(" | ")
        wanted = set(re.findall(r"M\d+", measures))
        assert wanted and wanted <= set(MEASURES), name
        named |= wanted
        assert _weight(after) < _weight(before), name
        assert _weight(after) <= 3, name
    assert named == set(MEASURES), "a measure against no risk"


def _weight(text: str) -> int:
    likelihood, severity = map(int, re.findall(r"\d", text))
    return likelihood * severity


def test_it_speaks_of_every_section_and_principle_that_it_must() -> None:
    for section in (*range(35, 41), 62, 64):
        assert re.search(rf"s\. {section}\b", TEXT), section
    code = TEXT.partition("## 5.")[2].partition("## 6.")[0]
    assert re.findall(r"^\| (\d+) \|", code, re.MULTILINE) == [str(n) for n in range(1, 13)]
    for part in ("Nature", "Scope", "Context", "Purposes"):
        assert f"**{part}.**" in TEXT
    assert "Next review" in TEXT
