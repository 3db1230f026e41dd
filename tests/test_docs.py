"""The documents say what is there: commands, options, settings, events, files, words."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest

from app.audit.events import EVENTS
from app.cli.main import main
from app.permissions import printed
from config.fields import PROJECT
from config.settings import SPECS

OWN = ("README.md", "CHANGELOG.md", *(str(p.relative_to(PROJECT)) for p in (PROJECT / "docs").rglob("*.md")))
PAGES = sorted(set(OWN))
TOP = (
    "app/",
    "bench/",
    "config/",
    "docs/",
    "geo/",
    "messaging/",
    "migrations/",
    "requirements/",
    "tests/",
    "workers/",
)
# Design §3: the house's words, which the glossary keeps.
WORDS = (
    "Alert", "Audience", "Dispatch", "Batch", "Attempt", "Delivery", "Receipt", "Recipient", "Contact point",
    "Suppression", "Lane", "Controller", "Area", "GSS code", "Ward", "Borough", "BCU", "Scheme", "Coordinator",
    "Camera", "Owner", "Cell", "Search", "Ticket", "Request", "Disclosure",
)  # fmt: skip


@cache
def read(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


def spans(page: str) -> list[str]:
    """What stands in code: fenced lines (a trailing backslash joins them) and words in backticks."""
    fenced = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", read(page), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^ *```.*?^ *```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    return [*lines, *(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))]


def code_of(*roots: str) -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for root in roots
        for path in (PROJECT / root).rglob("*.py")
    }


@cache
def texts_in_code() -> frozenset[str]:
    """Every string constant of the service, but for the tables of events and of permissions."""
    return frozenset(
        node.value
        for path, tree in code_of("app", "workers").items()
        if path not in {PROJECT / "app/audit/events.py", PROJECT / "app/permissions.py"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def recorded_in_sql() -> frozenset[str]:
    """The events that functions of the register put on the record."""
    texts = [path.read_text("utf-8") for path in (PROJECT / "migrations").glob("register_*_sql.py")]
    return frozenset(re.findall(r"'([a-z][a-z-]*:[a-z-]+)'", "".join(texts)))


def make_targets() -> dict[str, str]:
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", read("Makefile"), re.MULTILINE))


def commands(span: str) -> list[list[str]]:
    """The words behind each ``wardlink`` in a piece of code."""
    found = re.findall(r"(?:^|(?<=\s))wardlink((?: [^#|;]*)?)(?=$|[#|;])", span)
    return [shlex.split(words.replace("…", "x")) for words in found]


def check_command(words: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        below = command.get_command(context, name)
        assert below is not None, f"there is no command {' '.join(words)!r}"
        command = below
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{' '.join(words)!r} has no option {word}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists(page: str) -> None:
    for span in spans(page):
        for words in commands(span):
            check_command(words)
        for target in re.findall(r"(?:^|(?<=\s))make ([a-z][a-z-]*)", span):
            assert target in make_targets(), f"there is no 'make {target}'"
        for module in re.findall(r"python -m ([a-z][\w.]*)", span):
            assert importlib.util.find_spec(module), f"there is no module {module}"


def test_a_command_that_is_not_there_would_be_found() -> None:
    for hostile in ("wardlink audit verfy", "wardlink db upgrade --now", "wardlink leger check WL-7K3F9QX"):
        with pytest.raises(AssertionError):
            check_command(commands(hostile)[0])


def test_every_command_of_make_is_explained() -> None:
    explained = {t for span in spans("docs/developer.md") for t in re.findall(r"^make ([a-z-]+)", span)}
    assert set(make_targets()) <= explained


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (PROJECT / page).parent / name if name else PROJECT / page
        assert found.exists(), f"{page} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    for span in spans(page):
        if span.startswith(TOP) and re.fullmatch(r"[\w./-]+", span):
            assert (PROJECT / span).exists(), f"{page} names {span}"


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    """Words in capitals with an underscore are settings, variables of make, or of a command's options."""
    known = {spec.name for spec in SPECS.values()}
    known |= set(re.findall(r"\$\(([A-Z_]+)\)", read("Makefile")))
    known |= set(re.findall(r"^([A-Z_]+) \?=", read("Makefile"), re.MULTILINE))
    known |= {str(p.envvar) for c in every_command(main) for p in c.params if isinstance(p, click.Option)}
    for span in spans(page):
        for name in re.findall(r"(?<![\w.])[A-Z]+(?:_[A-Z]+)+(?![\w.])", span):
            assert name in known, f"{page} names the setting {name}"


def every_command(group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found += [command, *(every_command(command) if isinstance(command, click.Group) else [])]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_event_that_a_page_names_exists(page: str) -> None:
    subjects = {event.partition(":")[0] for event in EVENTS}
    for span in spans(page):
        named = re.fullmatch(r"([a-z][a-z-]*):[a-z-]+", span)
        if named and span != "subject:verb":
            assert span in EVENTS or named[1] not in subjects, f"{page} names the event {span}"


def test_the_list_of_events_is_the_codes_own() -> None:
    """Each with its meaning, and whether anything writes it today."""
    rows = re.findall(
        r"^\| `([a-z][a-z-]*:[a-z-]+)` \| (.+?) \| (yes|not yet) \|$",
        read("docs/administrator-guide.md"),
        re.MULTILINE,
    )
    written = texts_in_code() | recorded_in_sql()
    expected = [
        (event, meaning, "yes" if event in written else "not yet") for event, meaning in EVENTS.items()
    ]
    assert rows == expected


def test_every_line_of_the_log_in_the_runbook_is_written_by_the_code() -> None:
    section = read("docs/runbook.md").partition("| Line | Meaning |")[2].partition("\n\n")[0]
    names = re.findall(r"^\| `([a-z_.]+)`", section, re.MULTILINE)
    assert len(names) > 10
    assert set(names) <= texts_in_code()


def test_every_process_of_the_procfile_is_in_the_runbook() -> None:
    processes = re.findall(r"^([a-z-]+): ", read("Procfile"), re.MULTILINE)
    assert len(processes) > 5
    for process in processes:
        assert f"| `{process}` |" in read("docs/runbook.md")


def test_every_webhook_is_in_the_runbook() -> None:
    for path, tree in code_of("app/web/hooks").items():
        prefixes = [k.value.value for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords
                    if k.arg == "url_prefix" and isinstance(k.value, ast.Constant)]  # fmt: skip
        rules = [n.args[0].value for n in ast.walk(tree) if isinstance(n, ast.Call)
                 and getattr(n.func, "attr", "") == "post" and isinstance(n.args[0], ast.Constant)]  # fmt: skip
        for rule in rules:
            assert f"`{prefixes[0]}{rule}`" in read("docs/runbook.md"), path


@pytest.mark.parametrize("listed", ["base", "dev"])
def test_every_dependency_has_its_reason(listed: str) -> None:
    packages = re.findall(r"^([a-z][\w-]*(?:\[\w+\])?)", read(f"requirements/{listed}.in"), re.MULTILINE)
    reasons = re.findall(r"^\| ([a-z][^ ]*) \| \S", read("docs/decisions/0002-dependencies.md"), re.MULTILINE)
    assert len(packages) > 10
    assert set(packages) <= set(reasons)


def test_the_glossary_keeps_every_word() -> None:
    kept = set(re.findall(r"\*\*([^*]+)\*\*", read("docs/glossary.md")))
    assert set(WORDS) <= kept


def test_every_decision_is_listed_and_has_its_three_parts() -> None:
    records = sorted((PROJECT / "docs/decisions").glob("0*.md"))
    assert [p.name[:4] for p in records] == [f"{n:04d}" for n in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), path
        assert f"]({path.name})" in read("docs/decisions/README.md")


def test_python_in_the_documents_can_be_read_and_imports_what_is_there() -> None:
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", read(page), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    for alias in node.names:
                        assert hasattr(module, alias.name) or importlib.util.find_spec(
                            f"{node.module}.{alias.name}"
                        )


def test_the_table_of_permissions_in_the_guide_is_the_codes_own() -> None:
    shown = read("docs/administrator-guide.md").partition(
        "<!-- permissions: python -m app.permissions -->\n"
    )[2]
    assert shown.partition("<!-- /permissions -->")[0].strip() == printed()
