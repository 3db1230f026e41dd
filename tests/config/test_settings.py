from __future__ import annotations

import base64
import os
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import fields, reference
from config.fields import PROJECT, Part
from config.settings import SPECS, Settings, SettingsError

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()
PRODUCTION = {
    "WARDLINK_ENV": "production",
    "PUBLIC_URL": "https://wards.example",
    "PROXIES": "1",
    "DATABASE_URL": "postgresql://app:pw-app@db.example/wardlink",
    "OWNER_DATABASE_URL": "postgresql://owner:pw-owner@db.example/wardlink",
    "WORKER_DATABASE_URL": "postgresql://worker:pw-worker@db.example/wardlink",
    "SEALER_DATABASE_URL": "postgresql://sealer:pw-sealer@db.example/wardlink",
    "REDIS_URL": "redis://:pw-redis@queue.example/0",
    "VALUE_KEYS": f"1:{KEY},2:{OTHER}",
    "INDEX_KEY": f"1:{KEY}",
    "LINK_KEYS": f"1:{KEY}",
    "SEAL_KEY": KEY,
    "SEAL_PUBLIC_KEY": OTHER,
    "HEADS_DIR": "/srv/heads",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "twilio-token",
    "SENDGRID_API_KEY": "SG.secret",
    "SENDGRID_WEBHOOK_KEY": OTHER,
    "EMAIL_FROM": "alerts@wards.example",
    "SECURITY_CONTACT": "security@wards.example",
}


def test_with_nothing_set_the_services_are_the_embedded_ones() -> None:
    settings = Settings.load({})
    assert settings.embedded
    assert settings.local_dir == PROJECT / ".local"


@pytest.mark.parametrize("part", Part)
def test_production_with_everything_set_is_accepted_for_every_part(part: Part) -> None:
    settings = Settings.load(PRODUCTION, part)
    assert not settings.embedded
    assert settings.database_url == "postgresql+psycopg://app:pw-app@db.example/wardlink"
    assert settings.value_keys is not None
    assert settings.value_keys.current == 2


def test_every_wrong_and_missing_setting_is_named_at_once() -> None:
    wrong = {
        "WARDLINK_ENV": "production",
        "WEB_PORT": "70000",
        "WEB_THREADS": "8",
        "LOG_LEVEL": "loud",
        "VALUE_KEYS": "1:short",
        "DATABASE_URL": "mysql://x/y",
        "EMAIL_FROM": "nobody",
        "SMS_REGIONS": "GBR",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.load(wrong)
    missing = {"REDIS_URL", "INDEX_KEY", "LINK_KEYS", "SEAL_PUBLIC_KEY", "PUBLIC_URL", "TWILIO_ACCOUNT_SID"}
    assert (set(wrong) - {"WARDLINK_ENV"}) | missing <= set(caught.value.problems)
    lines = str(caught.value).splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(caught.value.problems)
    assert all(re.fullmatch(r"[A-Z_]+ (is missing|must .+|has .+)\.", line) for line in lines)


@pytest.mark.parametrize("name", [n for n in PRODUCTION if n not in {"WARDLINK_ENV"}])
def test_each_setting_that_production_needs_is_missed_by_some_part(name: str) -> None:
    environ = {key: value for key, value in PRODUCTION.items() if key != name}
    missed = False
    for part in Part:
        try:
            Settings.load(environ, part)
        except SettingsError as error:
            assert error.problems == {name: "is missing"}
            missed = True
    assert missed


def test_production_without_servers_does_not_fall_back_on_the_embedded_ones() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is missing"):
        Settings.load({"WARDLINK_ENV": "production"})


def test_one_server_named_means_all_are_needed() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"REDIS_URL": "redis://queue.example/0"})
    assert "DATABASE_URL" in caught.value.problems


def test_production_refuses_two_equal_database_addresses() -> None:
    with pytest.raises(SettingsError, match="WORKER_DATABASE_URL must not be the same as DATABASE_URL"):
        Settings.load(PRODUCTION | {"WORKER_DATABASE_URL": PRODUCTION["DATABASE_URL"] + "?sslmode=require"})


def test_production_wants_https_and_the_sandbox_must_be_on_loopback() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(
            PRODUCTION | {"PUBLIC_URL": "http://wards.example", "TWILIO_BASE_URL": "http://127.0.0.1:1"}
        )
    assert set(caught.value.problems) == {"PUBLIC_URL", "TWILIO_BASE_URL"}
    assert (
        Settings.load({"TWILIO_BASE_URL": "http://127.0.0.1:8010"}).twilio_base_url == "http://127.0.0.1:8010"
    )
    with pytest.raises(SettingsError, match="SENDGRID_BASE_URL must begin with https"):
        Settings.load({"SENDGRID_BASE_URL": "http://elsewhere.example"})


def test_the_provider_timeout_stays_well_below_the_lease() -> None:
    with pytest.raises(SettingsError, match="PROVIDER_TIMEOUT_SECONDS must be at most half"):
        Settings.load({"LEASE_SECONDS": "19"})


# Secrets that a site may do without, and what they do not come alone.
OPTIONAL = {
    "TWILIO_2_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_2_AUTH_TOKEN": "second-token",
    "SMTP_URL": "smtps://relay:pw-relay@mail.example:465",
    "NOTIFY_API_KEY": "wardlink-0198c0de-0000-7000-8000-000000000001-0198c0de-0000-7000-8000-000000000002",
    "NOTIFY_SMS_TEMPLATE": "0198c0de-0000-7000-8000-00000000000f",
    "ALARM_EMAILS": "duty@police.example",
    "ALARM_MOBILES": "+447700900123",
    "ALARM_WEBHOOK": "https://alarms.example/pw-path",
    "ALARM_WEBHOOK_KEY": "sixteen-or-more-characters",
    "METRICS_TOKEN": "another-sixteen-or-more",
}


def test_a_second_account_comes_whole_and_notify_with_a_template() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"TWILIO_2_ACCOUNT_SID": "AC" + "1" * 32, "NOTIFY_API_KEY": OPTIONAL["NOTIFY_API_KEY"]})
    assert set(caught.value.problems) == {"TWILIO_2_AUTH_TOKEN", "NOTIFY_API_KEY"}
    with pytest.raises(SettingsError, match="NOTIFY_SMS_TEMPLATE must be an id"):
        Settings.load({"NOTIFY_SMS_TEMPLATE": "the first one"})
    with pytest.raises(SettingsError, match="SMTP_URL must be an address like smtps"):
        Settings.load({"SMTP_URL": "mail.example"})


def test_no_secret_shows_in_repr_or_in_an_error() -> None:
    settings = Settings.load(PRODUCTION | OPTIONAL, Part.SEALER)
    secrets = [(PRODUCTION | OPTIONAL)[spec.name] for spec in SPECS.values() if spec.secret]
    shown = repr(settings) + repr(settings.value_keys)
    assert not [secret for secret in secrets if secret in shown]
    assert "pw-" not in shown
    assert repr(bytes(range(32))) not in shown
    with pytest.raises(SettingsError) as caught:
        Settings.load(PRODUCTION | {spec.name: "s3cr3t\n" * 2 for spec in SPECS.values() if spec.secret})
    assert "s3cr3t" not in str(caught.value)


def test_what_the_environment_gave_stays_when_the_embedded_services_complete_it() -> None:
    settings = Settings.load({"VALUE_KEYS": f"7:{KEY}"})
    full = settings.with_embedded({"VALUE_KEYS": f"1:{OTHER}", "REDIS_URL": "redis://127.0.0.1:1/0"})
    assert full.value_keys is not None
    assert full.value_keys.current == 7
    assert full.redis_url == "redis://127.0.0.1:1/0"
    assert full.embedded


@given(
    st.sampled_from([spec.name for spec in SPECS.values()]),
    st.text(alphabet=string.printable + "é\0€٣", max_size=40),
)
def test_hostile_text_in_any_setting_is_read_or_refused_by_name(name: str, text: str) -> None:
    try:
        Settings.load({name: text})
    except SettingsError as error:
        assert error.problems


@given(st.dictionaries(st.integers(1, 255), st.binary(min_size=32, max_size=32), min_size=1, max_size=5))
def test_keys_written_as_text_are_read_back(keys: dict[int, bytes]) -> None:
    written = ",".join(f"{number}:{base64.b64encode(key).decode()}" for number, key in keys.items())
    found = fields.key_set(written)
    assert found is not None
    assert found.keys == keys
    assert found.current == list(keys)[-1]


@pytest.mark.parametrize(
    "text", ["0:" + KEY, "256:" + KEY, KEY, "1:", "1:abc", f"1:{KEY},1:{OTHER}", f"1:{KEY},", "x"]
)
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|has"):
        fields.key_set(text)


def test_the_index_key_is_one_for_life() -> None:
    with pytest.raises(SettingsError, match="INDEX_KEY must be one key"):
        Settings.load({"INDEX_KEY": f"1:{KEY},2:{OTHER}"})


def test_the_example_file_is_the_settings() -> None:
    assert (PROJECT / ".env.example").read_text(encoding="utf-8") == reference.env_example()


def test_the_example_file_as_it_stands_is_accepted() -> None:
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert Settings.load({name: value.strip('"') for name, value in environ.items()}) == Settings.load({})


def test_the_table_in_the_documentation_is_the_settings() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8").endswith("\n\n" + reference.table())


def test_only_settings_reads_the_environment_for_settings() -> None:
    names = "|".join(spec.name for spec in SPECS.values())
    read = re.compile(rf"(environ(\.get)?|getenv)\s*[\[(]\s*[\"']({names})[\"']")
    folders = ("app", "config", "geo", "messaging", "workers")
    found = [
        str(path)
        for folder in folders
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if read.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_gunicorn_takes_its_values_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name in {spec.name for spec in SPECS.values()}]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WEB_PORT", "8123")
    from gunicorn.app.base import BaseApplication

    class Reads(BaseApplication):
        def load_config(self) -> None:
            values: dict[str, object] = {}
            exec(Path(PROJECT / "config" / "gunicorn.py").read_text(encoding="utf-8"), values)
            for name, value in values.items():
                if not name.startswith("_") and name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> None: ...

    cfg = Reads().cfg
    assert (
        cfg.bind == ["127.0.0.1:8123"] or cfg.bind == "127.0.0.1:8123" or cfg.address == [("127.0.0.1", 8123)]
    )
    assert cfg.control_socket_disable is True
    assert cfg.worker_class_str == "app.web.worker.Worker"
    assert 2 <= cfg.threads <= 4
