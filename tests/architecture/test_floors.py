"""The shape of the house: floors, roots, queues, jobs, and models that equal their migrations."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command

from app import migrate
from app.db import make_engine
from config.queues import Queue
from tests.conftest import PROJECT, Database

ROOTS = ("app", "workers", "messaging", "geo", "config", "migrations")


def sources() -> list[Path]:
    return [path for root in ROOTS for path in (PROJECT / root).rglob("*.py")]


def fresh(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter that has imported nothing of ours."""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )


def test_imports_only_go_down() -> None:
    done = fresh(
        "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "0 broken" in done.stdout


def test_package_roots_are_empty_or_a_docstring() -> None:
    roots = [path for path in sources() if path.name == "__init__.py"]
    assert len(roots) > 10
    for path in roots:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert not body or (len(body) == 1 and ast.get_docstring(ast.Module(body, []))), path


def test_no_module_is_named_after_nothing() -> None:
    assert not [path for path in sources() if path.name in {"utils.py", "helpers.py", "common.py"}]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("workers.main", "flask"),
        ("workers.main", "werkzeug"),
        ("app.cli.main", "flask"),
        ("app.factory", "twilio.rest"),
    ],
)
def test_a_process_does_not_carry_what_it_does_not_need(module: str, absent: str) -> None:
    done = fresh(f"import sys, {module}; sys.exit({absent!r} in sys.modules)")
    assert done.returncode == 0, f"{module} imports {absent}\n{done.stderr}"


def test_every_queue_is_consumed_by_some_worker() -> None:
    from workers.main import LISTENS, POLLS

    assert {queue for queues in LISTENS.values() for queue in queues} == set(Queue)
    assert set(POLLS) == set(LISTENS)
    procfile = (PROJECT / "Procfile").read_text(encoding="utf-8")
    for kind in LISTENS:
        assert f"python -m workers.main {kind}\n" in procfile


def jobs_rung() -> dict[str, Path]:
    """Every dotted name that some module rings, and where."""
    found = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {"ring", "ring_now"}:
                texts = [
                    a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                ]
                found.update({text: path for text in texts if "." in text})
    return found


def test_every_job_that_is_rung_can_be_called() -> None:
    rung = jobs_rung()
    assert {"workers.send.drain", "workers.receipts.merge"} <= set(rung)
    for job, path in rung.items():
        module, _, name = job.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name, None)), f"{path} rings {job}"


def test_models_equal_migrations(committed: Database) -> None:
    engine = make_engine(committed.environ()["OWNER_DATABASE_URL"])
    try:
        with engine.connect() as connection:
            command.check(migrate.configuration(connection))
    finally:
        engine.dispose()
