"""docs/security.md is true where it can be checked: its tests are there, its chapters and its figures too."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from app.factory import LARGEST_REQUEST
from app.services import receipts
from app.web import intake
from app.web.hooks import body
from app.web.officer import compose
from config.fields import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
CHAPTERS = (
    "Encoding and Sanitization", "Validation and Business Logic", "Web Frontend Security", "API and Web Service",
    "File Handling", "Authentication", "Session Management", "Authorization", "Self-contained Tokens", "OAuth and OIDC",
    "Cryptography", "Secure Communication", "Configuration", "Data Protection", "Secure Coding and Architecture",
    "Security Logging and Error Handling", "WebRTC",
)  # fmt: skip
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@cache
def defined_in(path: str) -> frozenset[str]:
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in tree.body if isinstance(node, found) and node.name.startswith("test_")
    )


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_the_page_names_is_a_real_test(path: str, name: str) -> None:
    assert name in defined_in(path)


def test_every_chapter_has_a_row_with_what_covers_it_and_a_test() -> None:
    rows = re.findall(r"^\| V(\d+) ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]*)\|$", PAGE, re.MULTILINE)
    assert [(int(number), name) for number, name, *_ in rows] == list(enumerate(CHAPTERS, 1))
    for number, _, covers, tests, _unmet in rows:
        assert len(covers) > 20, number
        assert "::test_" in tests, number
    assert len(NAMED) > 40


def test_every_attacker_is_stopped_by_something_or_told_and_something_remains() -> None:
    section = PAGE.partition("## Attackers\n")[2].partition("\n## ")[0]
    attackers = [part for part in section.split("\n\n") if part.strip().startswith("**")]
    assert len(attackers) >= 15
    for one in attackers:
        assert "*Remains:*" in one, one[:60]


def test_the_limits_are_those_of_the_code() -> None:
    gunicorn: dict[str, object] = {}
    text = (PROJECT / "config" / "gunicorn.py").read_text(encoding="utf-8")
    for name in ("limit_request_line", "limit_request_fields", "timeout"):
        found = re.search(rf"^{name} = (\d+)", text, re.MULTILINE)
        assert found is not None
        gunicorn[name] = int(found[1])
    kib, webhooks = 1024, f"{receipts.LONGEST_BODY:,} bytes"
    for words in (
        f"| request line | {gunicorn['limit_request_line']:,} bytes |",
        f"| headers | {gunicorn['limit_request_fields']} |",
        f"| body | {LARGEST_REQUEST // kib} KiB; forms of alerts {compose.LARGEST_FORM // kib} KiB; webhooks {webhooks} |",
        f"| fields of a form | {intake.MOST_FIELDS:,}; webhooks {body.MOST_FIELDS} |",
        f"| depth of JSON | {intake.DEEPEST} |",
        f"| time for a request as a whole | {gunicorn['timeout']} seconds |",
    ):
        assert words in PAGE, words
