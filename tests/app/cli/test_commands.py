"""The commands do what they say, and what is wrong they say in plain English."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.cli.main import main
from app.embedded import client
from app.roles import Role
from config.settings import SPECS
from geo import agreement
from tests.app.cli.conftest import Run, environ_of
from tests.conftest import PROJECT, Database
from tests.factories import Makes
from tests.record import Record


def made(database: Database) -> tuple[str, str]:
    """An organisation that can send to one resident of one ward: (its short name, the ward's code)."""
    opened = database.open()
    with opened.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        makes.resident(police, ward)
        found = police.slug, ward.code
    opened.engine.dispose()
    return found


def drafted(run: Run, slug: str, ward: str) -> str:
    result = run(
        *("alert", "draft", "--organisation", slug, "--headline", "Bicycles stolen"),
        *("--body", "Lock yours indoors.", "--area", ward),
    )
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_an_alert_is_drafted_sent_checked_and_stopped(run: Run, committed: Database) -> None:
    reference = drafted(run, *made(committed))
    assert run("ledger", "check", reference).output == f"{reference} has not been sent to anybody.\n"
    sent = run("alert", "send", reference, "--token", "a token of mine")
    assert f"{reference} is on its way: 1 recipients in 1 batches" in sent.output
    again = run("alert", "send", reference.lower(), "--token", "a token of mine")
    assert "already sent with this token" in again.output
    checked = run("ledger", "check", reference)
    assert checked.exit_code == 0
    assert "The ledger balances" in checked.output
    table = {
        line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in checked.output.splitlines() if line
    }
    assert (table["recipients"], table["waiting"], table["unaccounted"]) == ("1", "1", "0")
    assert "1 sendings stopped" in run("alert", "stop", reference, "--why", "sent by mistake").output


def test_a_ledger_that_does_not_balance_ends_with_status_1(run: Run, committed: Database) -> None:
    reference = drafted(run, *made(committed))
    run("alert", "send", reference)
    owner = sa.create_engine(committed.environ()["OWNER_DATABASE_URL"])
    with owner.begin() as connection:
        connection.execute(sa.text("UPDATE batches SET delivered = 1"))
    owner.dispose()
    result = run("ledger", "check", reference)
    assert result.exit_code == 1
    assert "PROBLEM  email: the counters say" in result.output
    assert "does not balance" in result.output


def test_a_dispatch_is_paused_goes_on_and_is_stopped_by_its_id_or_its_alert(
    run: Run, committed: Database
) -> None:
    reference = drafted(run, *made(committed))
    sent = run("alert", "send", reference).output.split()[-1]
    assert run("dispatch", "pause", reference, "--why", "wait").output == f"dispatch {sent}: paused\n"
    assert run("dispatch", "resume", sent).output == f"dispatch {sent}: running\n"
    assert "Missing option '--why'" in run("dispatch", "stop", sent).output
    assert run("dispatch", "stop", sent, "--why", "wrong").output == f"dispatch {sent}: stopped\n"
    late = run("dispatch", "resume", reference)
    assert late.exit_code == 1
    assert f"dispatch {sent}: This dispatch was stopped." in late.output
    assert "There was nothing to do." in late.output
    for which in ("WL-2222222", "0192f0c4-0000-7000-8000-000000000000"):
        unknown = run("dispatch", "pause", which, "--why", "x")
        assert (unknown.exit_code, unknown.output.count("\n")) == (1, 1)


def test_limits_are_shown_set_and_taken_away_and_what_is_over_is_refused(
    run: Run, committed: Database
) -> None:
    slug, ward = made(committed)
    assert run("organisation", "limits", slug).output == f"{slug} has no limits.\n"
    assert "emails: " not in run("organisation", "limits", slug, "--emails-per-day", "0").output
    reference = drafted(run, slug, ward)
    refused = run("alert", "send", reference)
    assert refused.exit_code == 1
    assert "This alert needs 1 e-mail. Your organisation may send 0 e-mails on" in refused.output
    run("organisation", "limits", slug, "--emails-per-day", "none", "--emails-per-month", "10")
    assert run("alert", "send", reference).exit_code == 0
    shown = run("organisation", "limits", slug, "--pence-per-month", "5000", "--sms-per-day", "1")
    assert [line.partition(":")[0] for line in shown.output.splitlines()] == [
        "1 text segment a day", "10 e-mails a month", "£50.00 a month",
    ]  # fmt: skip
    assert "10 e-mails a month: 1 e-mail taken in " in shown.output
    for wrong in ("-1", "1.5", "many", "9" * 14):
        assert run("organisation", "limits", slug, "--sms-per-day", wrong).exit_code == 2
    assert run("organisation", "limits", "nobody").exit_code == 1


def test_a_reference_that_is_none_is_named(run: Run) -> None:
    for words in (("ledger", "check"), ("alert", "send"), ("alert", "stop", "--why", "x")):
        result = run(*words, "WL-0000000")
        assert (result.exit_code, result.output) == (1, "Error: There is no alert with this reference.\n")


def test_the_record_is_verified_and_tampering_ends_with_status_1(committed: Database, tmp_path: Path) -> None:
    record = Record(committed, tmp_path, Ed25519PrivateKey.generate())
    record.add(3)
    record.seal()
    environ = environ_of(committed) | {
        "SEAL_PUBLIC_KEY": base64.b64encode(record.key.public_key().public_bytes_raw()).decode(),
        "HEADS_DIR": str(tmp_path),
    }
    good = CliRunner().invoke(main, ["audit", "verify", "--wait", "0"], env=environ)
    assert (good.exit_code, good.output.startswith("The record is whole. 3 chained")) == (0, True)
    record.tamper("UPDATE audit_entries SET actor_id = 'forged'")
    bad = CliRunner().invoke(main, ["audit", "verify", "--heads", str(tmp_path), "--wait", "0"], env=environ)
    assert bad.exit_code == 1
    assert "TAMPERED" in bad.output
    nowhere = CliRunner().invoke(main, ["audit", "verify", "--heads", str(tmp_path / "none")], env=environ)
    assert (nowhere.exit_code, "does not exist" in nowhere.output) == (2, True)


def test_a_postcode_leads_to_its_ward(london: Database) -> None:
    for words in (["SW1A1AA"], ["sw1a", "1aa"]):
        result = CliRunner().invoke(main, ["ward", *words], env=environ_of(london))
        assert result.exit_code == 0
        assert result.output.startswith("SW1A 1AA is in St James's ward (E05013806), Westminster\n")
    wrong = CliRunner().invoke(main, ["ward", "SW1A"], env=environ_of(london))
    assert (wrong.exit_code, "first part" in wrong.output) == (1, True)


def test_london_is_loaded_once(run: Run, committed: Database) -> None:
    assert "tables     ok\nLondon     not loaded" in run("db", "check").output
    assert "loaded in" in run("london", "load").output
    assert "already loaded" in run("london", "load").output
    check = run("db", "check")
    assert check.exit_code == 0, check.output
    assert "London     ok" in check.output


def test_the_postcodes_where_boundary_and_table_differ_are_listed(run: Run) -> None:
    lines = run("london", "disagreements").output.splitlines()
    found = agreement.disagreements()
    assert [line.split("  ")[0].strip() for line in lines[1:-1]] == [one.postcode for one in found]
    assert lines[-1].startswith(f"{len(found):,} of 180,792 postcodes disagree: 0.")


def test_partitions_are_made_ahead_and_listed(run: Run) -> None:
    before = run("ledger", "partitions").output
    assert "deliveries_default" in before
    assert "\n1 made, " in run("ledger", "partitions", "--months", "4").output


def test_migrations_run_again_change_nothing(run: Run) -> None:
    assert run("db", "upgrade").output == "the database is up to date\n"


def test_before_the_migrations_the_message_says_what_to_do(cluster, run: Run) -> None:
    empty = cluster.database_url
    bare = run("ward", "SW1A1AA", DATABASE_URL=empty)
    assert bare.exit_code == 1
    assert "wardlink db upgrade" in bare.output


def test_a_database_that_is_away_is_said_in_one_line(run: Run) -> None:
    away = "postgresql+psycopg://wardlink_app:secret@127.0.0.1:1/none"
    for words in (
        ("ward", "SW1A1AA"),
        ("db", "check"),
        ("london", "load"),
        ("ledger", "check", "WL-BCDFGHJ"),
    ):
        result = run(*words, DATABASE_URL=away)
        assert result.exit_code == 1
        assert "The database does not answer" in result.output
        assert "secret" not in result.output


def test_wrong_settings_are_named(run: Run) -> None:
    result = run("ward", "SW1A1AA", LEASE_SECONDS="soon", WEB_PORT="x")
    assert result.exit_code == 1
    assert "LEASE_SECONDS must be" in result.output
    assert "WEB_PORT must be" in result.output


def test_every_setting_is_printed(run: Run) -> None:
    output = run("settings").output
    assert all(f"| `{spec.name}` |" in output for spec in SPECS.values())


def test_where_servers_are_set_there_are_no_embedded_ones(run: Run) -> None:
    for word in ("status", "stop"):
        result = run("services", word)
        assert (result.exit_code, "Servers of your own" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://somebody:x@127.0.0.1/wardlink"),
        ("SEALER_DATABASE_URL", "postgresql://wardlink_sealer@127.0.0.1/wardlink"),
    ],
)
def test_roles_are_not_made_from_urls_that_name_others(run: Run, name: str, value: str) -> None:
    result = run("db", "roles", **{name: value})
    assert result.exit_code == 1
    assert f"{name} must name the user" in result.output


def test_roles_and_database_are_made_once_per_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    found = client.ensure(folder)
    try:
        address = found.admin_database_url.rpartition("@")[2].partition("/")[0]
        names = {
            "OWNER_DATABASE_URL": Role.OWNER,
            "DATABASE_URL": Role.APP,
            "WORKER_DATABASE_URL": Role.WORKER,
            "SEALER_DATABASE_URL": Role.SEALER,
        }
        environ = {n: f"postgresql+psycopg://{r}:p%40ss-{r}@{address}/fresh" for n, r in names.items()}
        environ |= {"REDIS_URL": found.redis_url}
        environ |= {"ADMIN_DATABASE_URL": found.admin_database_url}
        words = ["db", "roles"]
        for _ in range(2):
            result = CliRunner().invoke(main, words, env=environ)
            assert result.exit_code == 0, result.output
        seen = CliRunner().invoke(main, [*words, "--admin-url", found.admin_database_url], env=environ)
        assert seen.exit_code == 2
        assert "can be read by others" in seen.output
        assert CliRunner().invoke(main, ["db", "upgrade"], env=environ).exit_code == 0
    finally:
        client.stop(folder)


def test_the_console_script_and_the_module_are_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "--help"], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: wardlink [OPTIONS] COMMAND")
    for name in (
        "alert",
        "audit",
        "db",
        "demo",
        "ledger",
        "london",
        "sandbox",
        "services",
        "settings",
        "ward",
    ):
        assert f"\n  {name} " in done.stdout
