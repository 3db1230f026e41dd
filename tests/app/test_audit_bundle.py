"""What is taken off the machine proves itself there: heads, key, checker and an exported record, and one byte is enough."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.orm import Session

from app.audit import bundle
from app.audit.checker import check
from app.cli.main import main
from app.db import make_engine
from app.embedded.state import Endpoints
from app.permissions import Role
from app.services import roles
from app.services.record_search import whole
from tests import conftest
from tests.app.cli.conftest import environ_of
from tests.app.web.conftest import open_site
from tests.conftest import Database
from tests.factories import Makes
from tests.record import Record


@pytest.fixture(scope="module")
def record(
    cluster: Endpoints, template: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Record]:
    """Twelve entries: heads after 4 and 10, two more beyond the last head, and one that is not sealed."""
    made = Record(
        conftest._copy(cluster, template, f"test_{worker_id}_bundle"), tmp_path_factory.mktemp("heads")
    )
    for count, head in ((4, True), (6, True), (2, False)):
        made.add(count)
        made.seal(head=head)
    yield made
    conftest._drop(cluster, made.database.name)


@pytest.fixture(scope="module")
def away(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on another machine: the archive unpacked, and the record as JSON lines."""
    folder = tmp_path_factory.mktemp("away")
    key = record.key.public_key().public_bytes_raw()
    (folder / "heads.zip").write_bytes(b"".join(bundle.stream(record.heads_dir, key)))
    with zipfile.ZipFile(folder / "heads.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    engine = make_engine(record.url())
    with Session(engine) as session:
        (folder / "record.jsonl").write_text("".join(text for text, _ in whole.lines(session)), "utf-8")
    engine.dispose()
    return folder


@pytest.fixture
def copied(away: Path, tmp_path: Path) -> Path:
    for name in ("record.jsonl", "heads.jsonl", "public-key.txt"):
        (tmp_path / name).write_bytes((away / name).read_bytes())
    return tmp_path


def checked(folder: Path) -> tuple[list[str], bool]:
    return check(*(folder / name for name in ("record.jsonl", "heads.jsonl", "public-key.txt")))


def test_the_archive_holds_what_a_stranger_needs(away: Path, record: Record) -> None:
    names = {"README.txt", "public-key.txt", "check_record.py", "heads.jsonl"}
    assert names <= {p.name for p in away.iterdir()}
    assert (away / "heads.jsonl").read_bytes() == (record.heads_dir / "heads.jsonl").read_bytes()
    assert "check_record.py record.jsonl heads.jsonl public-key.txt" in (away / "README.txt").read_text()


def test_the_checker_stands_alone_and_proves_an_exported_record(away: Path, tmp_path: Path) -> None:
    """Run from its folder, by a Python that sees nothing of ours but its packages."""
    done = subprocess.run(
        [sys.executable, "-P", "check_record.py", "record.jsonl", "heads.jsonl", "public-key.txt"],
        cwd=away, env={"PYTHONPATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("12 entries, 2 signed heads of key ")
    assert done.stdout.splitlines()[1:] == [
        "10 entries are proved by a signed head.",
        (
            "2 agree with themselves, but no head is reached from them without a gap: check an export of the whole "
            "record, with later heads."
        ),
        "Nothing was found to be wrong.",
    ]
    assert "import app" not in (away / "check_record.py").read_text()
    for arguments, status in (((), 2), (("nothing", "heads.jsonl", "public-key.txt"), 2)):
        again = subprocess.run(
            [sys.executable, "check_record.py", *arguments], cwd=away, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert again.returncode == status


@pytest.mark.parametrize("name", ["record.jsonl", "heads.jsonl"])
def test_one_byte_that_differs_is_found_wherever_it_is(copied: Path, name: str) -> None:
    """Every byte of a line in the middle, and of the last one under a head."""
    path = copied / name
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    chosen = (4, 9) if name == "record.jsonl" else (0, 1)
    tried = 0
    for n in chosen:
        start = sum(map(len, lines[:n]))
        for offset in range(0, len(lines[n]) - 1, 1 if name == "heads.jsonl" else 3):
            bad = bytearray(good)
            bad[start + offset] ^= 1
            path.write_bytes(bytes(bad))
            found, whole_ = checked(copied)
            assert not whole_, bytes(bad)[start : start + len(lines[n])]
            assert any(one.startswith("WRONG: ") for one in found)
            tried += 1
    assert tried > 200


def test_entries_left_out_moved_or_written_anew_are_found_or_not_proved(copied: Path) -> None:
    path = copied / "record.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)

    def proved() -> tuple[int, bool]:
        found, good = checked(copied)
        return int(found[1].split()[0]), good

    path.write_text("".join(lines[:5] + lines[6:]), "utf-8")  # a gap: what leads to no head is not proved
    assert proved() == (8, True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]), "utf-8")
    assert proved()[0] < 10
    path.write_text("".join(reversed(lines)), "utf-8")  # newest first, as a search exports it
    assert proved() == (10, True)
    entry = json.loads(lines[5])
    entry["hash"] = entry["hash"][::-1]
    path.write_text("".join([*lines[:5], json.dumps(entry) + "\n", *lines[6:]]), "utf-8")
    assert proved()[1] is False


def test_a_chain_written_anew_under_the_old_heads_is_found(copied: Path) -> None:
    """Whoever can rewrite the record can make every hash right, and no head."""
    path = copied / "record.jsonl"
    previous, anew = bytes(32), []
    for line in path.read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["seq"] == 6:
            entry["why"] = "Another reason"
        values = json.loads(entry["canonical"])
        values[10] = entry["why"]
        entry["canonical"] = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        entry["prev"] = previous.hex()
        previous = sha256(previous + entry["canonical"].encode()).digest()
        entry["hash"] = previous.hex()
        anew.append(json.dumps(entry, ensure_ascii=False))
    path.write_text("\n".join(anew) + "\n", "utf-8")
    found, good = checked(copied)
    assert not good
    assert found[-1] == (
        "WRONG: line 10 of the record, link 10, is not the one that a signed head vouches for."
    )


def test_heads_of_another_key_are_not_believed(copied: Path) -> None:
    (copied / "public-key.txt").write_text("11" * 32)
    found, good = checked(copied)
    assert not good and found[1].startswith("0 entries are proved")


def test_the_archive_grows_with_the_heads_and_not_in_memory(tmp_path: Path) -> None:
    """What is handed on at once stays small, and a line that is being written is left out."""
    line = b'{"seq":1,"hash":"' + b"0" * 64 + b'"}\n'
    (tmp_path / "heads.jsonl").write_bytes(line * 100_000 + b'{"seq":2')
    pieces = list(bundle.stream(tmp_path, bytes(32)))
    assert len(pieces) > 5 and max(map(len, pieces)) < 3 << 20
    (tmp_path / "out.zip").write_bytes(b"".join(pieces))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("heads.jsonl") == line * 100_000


def test_the_operator_exports_record_and_heads_to_new_files_and_that_is_on_the_record(
    committed: Database, tmp_path: Path
) -> None:
    record = Record(committed, tmp_path / "heads")
    environ = {
        **environ_of(committed),
        "HEADS_DIR": str(tmp_path / "heads"),
        "SEAL_PUBLIC_KEY": base64.b64encode(record.key.public_key().public_bytes_raw()).decode(),
    }
    run = CliRunner()
    early = run.invoke(main, ["audit", "heads", "export", str(tmp_path / "early.zip")], env=environ)
    assert (early.exit_code, "no signed heads" in early.output) == (1, True), early.output
    record.add(3)
    record.seal()
    out, archive = tmp_path / "record.jsonl", tmp_path / "heads.zip"
    for words, path in (
        (["audit", "export", "--why", "The yearly audit"], out),
        (["audit", "heads", "export"], archive),
    ):
        done = run.invoke(main, [*words, str(path)], env=environ)
        assert done.exit_code == 0, done.output
        assert path.stat().st_mode & 0o077 == 0
        again = run.invoke(main, [*words, str(path)], env=environ)
        assert (again.exit_code, "There is such a file already" in again.output) == (1, True)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    found, good = check(out, tmp_path / "heads.jsonl", tmp_path / "public-key.txt")
    assert good and found[1] == "3 entries are proved by a signed head."
    entries = record.fetch(
        "SELECT subject, actor_kind, why, s62 FROM audit_entries WHERE event = 'record:export'"
    )
    assert ("record:all", "operator", "The yearly audit", "disclosure") in entries
    assert ("heads:all", "operator", None, None) in entries
    assert record.fetch("SELECT count(*) FROM audit_entries WHERE event = 'record:verify'") == [(0,)]
    verified = run.invoke(main, ["audit", "verify", "--wait", "0"], env=environ)
    assert verified.exit_code == 1  # nobody has sealed what the exports put there
    record.seal()
    verified = run.invoke(main, ["audit", "verify", "--wait", "0"], env=environ)
    assert verified.exit_code == 0, verified.output
    details = record.fetch("SELECT detail FROM audit_entries WHERE event = 'record:verify' ORDER BY id")
    assert [json.loads(str(one[0]))["findings"] for one in details] == [len(entries), 0]


def test_an_auditor_downloads_the_heads_and_an_export_of_theirs_agrees_with_them(
    committed: Database, tmp_path: Path
) -> None:
    record = Record(committed, tmp_path / "heads")
    public = base64.b64encode(record.key.public_key().public_bytes_raw()).decode()
    site = open_site(committed, HEADS_DIR=str(tmp_path / "heads"), SEAL_PUBLIC_KEY=public)
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        auditor = makes.officer(makes.organisation(), role=Role.AUDITOR, place=roles.EVERYWHERE)
    record.add(5)
    record.seal()
    site.enter(staff=auditor)
    page = site.client.get("/staff/record/heads").text
    assert record.key.public_key().public_bytes_raw().hex() in page
    taken = site.submit("/staff/record/heads")
    assert (taken.status_code, taken.mimetype) == (200, "application/zip")
    (tmp_path / "heads.zip").write_bytes(taken.data)
    where = site.submit("/staff/record", {"why": "The yearly audit"}).headers["Location"]
    export = site.submit(f"{where}/export", {"file": "jsonl"}, page=where)
    (tmp_path / "record.jsonl").write_bytes(export.data)
    with zipfile.ZipFile(tmp_path / "heads.zip") as archive:
        archive.extractall(tmp_path)
    found, good = checked(tmp_path)
    assert good, found
    assert int(found[1].split()[0]) >= 5 and "1 were not chained yet" in "\n".join(found)
    with site.registry.sessions() as session:
        subjects = session.scalars(sa.text("SELECT subject FROM audit_entries WHERE event = 'record:export'"))
        assert set(subjects) >= {"heads:all"}
    site.registry.engine.dispose()
