"""Every setting of Wardlink, read from the environment into one frozen object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from config import fields
from config.fields import LOOPBACK, KeySet, Need, Part, Spec, setting

_DATABASES = ("DATABASE_URL", "OWNER_DATABASE_URL", "WORKER_DATABASE_URL", "SEALER_DATABASE_URL")
_SERVERS = (*_DATABASES, "REDIS_URL")
_SENDERS = (Part.APP, Part.WORKER)


class SettingsError(ValueError):
    """Settings are missing or wrong; the message has one line for each, with its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("\n".join(f"{name} {problem}." for name, problem in problems.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a process was told. Secrets never show in repr; a part's unneeded settings may be empty."""

    part: Part
    embedded: bool  # no server was named, so Wardlink runs its own

    # Where it runs
    env: str = setting(
        "WARDLINK_ENV", "development, test or production; production uses only servers of your own",
        fields.one_of("development", "test", "production"), "development",
    )  # fmt: skip
    public_url: str = setting(
        "PUBLIC_URL", "Address of the site as residents see it, in links and callbacks (https in production)",
        fields.address("http", "https"), "http://127.0.0.1:8000", need=Need.PRODUCTION, parts=_SENDERS,
    )  # fmt: skip
    local_dir: Path = setting(
        "LOCAL_DIR", "Folder of the embedded servers and their keys; a relative one lies below the project",
        fields.folder, ".local",
    )  # fmt: skip

    # Servers
    database_url: str = setting(
        "DATABASE_URL", "PostgreSQL as the app's role; with all servers empty Wardlink runs its own",
        fields.database, need=Need.SERVERS, parts=(Part.APP,), secret=True,
    )  # fmt: skip
    owner_database_url: str = setting(
        "OWNER_DATABASE_URL", "PostgreSQL as the owner's role, for migrations",
        fields.database, need=Need.SERVERS, parts=(Part.OWNER,), secret=True,
    )  # fmt: skip
    worker_database_url: str = setting(
        "WORKER_DATABASE_URL", "PostgreSQL as the worker's role",
        fields.database, need=Need.SERVERS, parts=(Part.WORKER,), secret=True,
    )  # fmt: skip
    sealer_database_url: str = setting(
        "SEALER_DATABASE_URL", "PostgreSQL as the sealer's role, for the process that seals the record",
        fields.database, need=Need.SERVERS, parts=(Part.SEALER,), secret=True,
    )  # fmt: skip
    redis_url: str = setting(
        "REDIS_URL", "Redis 7 or Valkey, the doorbell between the processes",
        fields.address("redis", "rediss", "unix"), need=Need.SERVERS, parts=_SENDERS, secret=True,
    )  # fmt: skip

    # Keys
    value_keys: KeySet | None = setting(
        "VALUE_KEYS", "Keys that encrypt personal values, as 1:base64,2:base64; the last one is current",
        fields.key_set, need=Need.SERVERS, parts=_SENDERS, secret=True,
    )  # fmt: skip
    index_key: KeySet | None = setting(
        "INDEX_KEY", "The one key of the digests that find people, as 1:base64; never change it",
        fields.single_key, need=Need.SERVERS, parts=_SENDERS, secret=True,
    )  # fmt: skip
    link_keys: KeySet | None = setting(
        "LINK_KEYS", "Keys that sign links in messages, as 1:base64,2:base64; add, never remove",
        fields.key_set, need=Need.SERVERS, parts=_SENDERS, secret=True,
    )  # fmt: skip
    seal_key: bytes = setting(
        "SEAL_KEY", "Private Ed25519 key (32 bytes, base64) that signs the record; the sealer's alone",
        fields.raw_key, need=Need.SERVERS, parts=(Part.SEALER,), secret=True,
    )  # fmt: skip
    seal_public_key: bytes = setting(
        "SEAL_PUBLIC_KEY", "Public half of SEAL_KEY (32 bytes, base64), to check the heads",
        fields.raw_key, need=Need.SERVERS, parts=(Part.APP, Part.SEALER),
    )  # fmt: skip
    heads_dir: Path | None = setting(
        "HEADS_DIR", "Folder that signed heads of the record are appended to; best on another machine",
        fields.optional_folder, need=Need.SERVERS, parts=(Part.SEALER,),
    )  # fmt: skip

    # Providers
    twilio_account_sid: str = setting(
        "TWILIO_ACCOUNT_SID", "Twilio account, AC and 32 hex digits",
        fields.text, need=Need.PRODUCTION, parts=_SENDERS,
    )  # fmt: skip
    twilio_auth_token: str = setting(
        "TWILIO_AUTH_TOKEN", "Twilio's token: signs in, and proves that callbacks are Twilio's",
        fields.text, need=Need.PRODUCTION, parts=_SENDERS, secret=True,
    )  # fmt: skip
    twilio_base_url: str = setting(
        "TWILIO_BASE_URL", "Twilio's address, or the sandbox's",
        fields.address("https", "http"), "https://api.twilio.com", parts=_SENDERS,
    )  # fmt: skip
    twilio_2_account_sid: str = setting(
        "TWILIO_2_ACCOUNT_SID", "A second Twilio account, for when the first fails: AC and 32 hex digits",
        fields.text, parts=_SENDERS,
    )  # fmt: skip
    twilio_2_auth_token: str = setting(
        "TWILIO_2_AUTH_TOKEN", "The second account's token", fields.text, parts=_SENDERS, secret=True
    )
    sendgrid_api_key: str = setting(
        "SENDGRID_API_KEY", "SendGrid key with the right to send mail",
        fields.text, need=Need.PRODUCTION, parts=_SENDERS, secret=True,
    )  # fmt: skip
    sendgrid_base_url: str = setting(
        "SENDGRID_BASE_URL", "SendGrid's address (in the EU: https://api.eu.sendgrid.com), or the sandbox's",
        fields.address("https", "http"), "https://api.sendgrid.com", parts=_SENDERS,
    )  # fmt: skip
    sendgrid_webhook_key: str = setting(
        "SENDGRID_WEBHOOK_KEY", "SendGrid's public key of the signed event webhook, base64",
        fields.public_key, need=Need.PRODUCTION, parts=(Part.APP,),
    )  # fmt: skip
    smtp_url: str = setting(
        "SMTP_URL", "A mail server for when SendGrid fails: smtps://user:password@host:port, or smtp:// with STARTTLS",
        fields.address("smtps", "smtp"), parts=_SENDERS, secret=True,
    )  # fmt: skip
    notify_api_key: str = setting(
        "NOTIFY_API_KEY", "GOV.UK Notify key, for urgent messages when all others fail",
        fields.text, parts=_SENDERS, secret=True,
    )  # fmt: skip
    notify_base_url: str = setting(
        "NOTIFY_BASE_URL", "GOV.UK Notify's address, or the sandbox's",
        fields.address("https", "http"), "https://api.notifications.service.gov.uk", parts=_SENDERS,
    )  # fmt: skip
    notify_sms_template: str = setting(
        "NOTIFY_SMS_TEMPLATE", "Id of a Notify text template that holds ((body)) and nothing else",
        fields.optional_uuid, parts=_SENDERS,
    )  # fmt: skip
    notify_email_template: str = setting(
        "NOTIFY_EMAIL_TEMPLATE", "Id of a Notify e-mail template: subject ((subject)), message ((body))",
        fields.optional_uuid, parts=_SENDERS,
    )  # fmt: skip
    email_from: str = setting(
        "EMAIL_FROM", "Address that e-mail comes from",
        fields.mailbox, "alerts@wardlink.example", need=Need.PRODUCTION, parts=_SENDERS,
    )  # fmt: skip
    email_from_name: str = setting(
        "EMAIL_FROM_NAME", "Name that e-mail comes from", fields.text, "Wardlink", parts=_SENDERS
    )
    security_contact: str = setting(
        "SECURITY_CONTACT", "Where security holes are reported to: an e-mail address, or the https address of a page",
        fields.contact, "security@wardlink.example", need=Need.PRODUCTION, parts=(Part.APP,),
    )  # fmt: skip
    sms_regions: tuple[str, ...] = setting(
        "SMS_REGIONS", "Countries whose mobiles may be texted, two-letter codes with commas",
        fields.regions, "GB", parts=_SENDERS,
    )  # fmt: skip

    # Codes: what keeps strangers from filling inboxes and running up the bill
    codes_per_network: int = setting(
        "CODES_PER_NETWORK", "Most confirmation codes that one network (/24 or /48) may ask for in an hour",
        fields.whole(1, 100_000), "30", parts=_SENDERS,
    )  # fmt: skip
    codes_per_hour: int = setting(
        "CODES_PER_HOUR", "Most confirmation codes that everybody together may ask for in an hour",
        fields.whole(1, 1_000_000), "2000", parts=_SENDERS,
    )  # fmt: skip
    codes_pence_per_day: int = setting(
        "CODES_PENCE_PER_DAY", "Most pence spent in a day on texts that nobody has paid for by confirming: codes, help",
        fields.whole(0, 10_000_000), "5000", parts=_SENDERS,
    )  # fmt: skip
    sms_segment_pence: Decimal = setting(
        "SMS_SEGMENT_PENCE", "What one segment of a text costs, in pence: for the costs that officers see, and limits",
        fields.pence, "4", parts=_SENDERS,
    )  # fmt: skip
    email_pence: Decimal = setting(
        "EMAIL_PENCE", "What one e-mail costs, in pence such as 0.05; 0 counts nothing",
        fields.pence, "0", parts=_SENDERS,
    )  # fmt: skip

    # Sending
    twilio_segments_per_second: int = setting(
        "TWILIO_SEGMENTS_PER_SECOND", "Most segments of texts that each Twilio account is given in a second, by all "
        "workers together; 0: as many as its numbers may send",
        fields.whole(0, 100_000), "0",
    )  # fmt: skip
    sendgrid_calls_per_second: int = setting(
        "SENDGRID_CALLS_PER_SECOND", "Most calls of up to 1,000 e-mails that SendGrid is given in a second, by all "
        "workers together; 0: no limit of ours",
        fields.whole(0, 10_000), "0",
    )  # fmt: skip
    lease_seconds: int = setting(
        "LEASE_SECONDS", "How long a worker holds a batch, in seconds", fields.whole(5, 3600), "60"
    )
    provider_timeout_seconds: int = setting(
        "PROVIDER_TIMEOUT_SECONDS", "How long to wait for a provider, in seconds; at most half the lease",
        fields.whole(1, 600), "10",
    )  # fmt: skip
    ledger_months: int = setting(
        "LEDGER_MONTHS", "How many whole months the ledger keeps each delivery, besides the present one",
        fields.whole(3, 1_200), "13", parts=_SENDERS,
    )  # fmt: skip

    # Sight: how a human hears of an alarm, and who may read the metrics
    alarm_emails: tuple[str, ...] = setting(
        "ALARM_EMAILS", "E-mail addresses that alarms go to, with commas",
        fields.mailboxes, parts=_SENDERS, secret=True,
    )  # fmt: skip
    alarm_mobiles: tuple[str, ...] = setting(
        "ALARM_MOBILES", "Mobiles that alarms go to as texts, like +447700900123, with commas",
        fields.mobiles, parts=_SENDERS, secret=True,
    )  # fmt: skip
    alarm_webhook: str = setting(
        "ALARM_WEBHOOK", "Address that alarms are posted to as signed JSON",
        fields.address("https", "http"), parts=_SENDERS, secret=True,
    )  # fmt: skip
    alarm_webhook_key: str = setting(
        "ALARM_WEBHOOK_KEY", "Secret of 16 characters or more that signs the calls to ALARM_WEBHOOK",
        fields.shared_secret, parts=_SENDERS, secret=True,
    )  # fmt: skip
    alarm_again_minutes: int = setting(
        "ALARM_AGAIN_MINUTES", "An alarm that stays open is told again after so many minutes",
        fields.whole(1, 1440), "30", parts=_SENDERS,
    )  # fmt: skip
    metrics_token: str = setting(
        "METRICS_TOKEN", "Whoever brings this bearer token may read /metrics; empty: private networks, not in production",
        fields.shared_secret, parts=(Part.APP,), secret=True,
    )  # fmt: skip

    # Logs and the web server
    log_level: str = setting(
        "LOG_LEVEL",
        "debug, info, warning or error",
        fields.one_of("debug", "info", "warning", "error"),
        "info",
    )
    log_format: str = setting(
        "LOG_FORMAT", "text for people, json for machines", fields.one_of("text", "json"), "text"
    )
    web_host: str = setting("WEB_HOST", "Address that the site listens on", fields.text, "127.0.0.1")
    web_port: int = setting("WEB_PORT", "Port that the site listens on", fields.whole(1, 65535), "8000")
    proxies: int = setting(
        "PROXIES", "How many proxies of your own stand before the site: so many forwarded addresses are believed",
        fields.whole(0, 5), "0", need=Need.PRODUCTION, parts=(Part.APP,),
    )  # fmt: skip
    web_workers: int = setting("WEB_WORKERS", "Processes of the site", fields.whole(1, 64), "2")
    web_threads: int = setting(
        "WEB_THREADS", "Threads of each process; more than 4 make it slower", fields.whole(2, 4), "4"
    )
    sandbox_port: int = setting(
        "SANDBOX_PORT", "Port of `wardlink sandbox`, the stand-in for the providers; 0 takes a free one",
        fields.whole(0, 65535), "8010",
    )  # fmt: skip

    @classmethod
    def load(cls, environ: Mapping[str, str], part: Part = Part.APP) -> Self:
        """Read the settings that ``part`` needs. SettingsError names every wrong or missing one at once."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for attribute, spec in SPECS.items():
            given = environ.get(spec.name, "").strip() or spec.default
            try:
                values[attribute] = spec.parse(given)
            except ValueError as error:
                problems[spec.name] = str(error)
        given_names = {spec.name for spec in SPECS.values() if environ.get(spec.name, "").strip()}
        production = values.get("env") == "production"
        embedded = not production and not given_names.intersection(_SERVERS)
        for name in _missing(given_names, part, embedded=embedded, production=production):
            problems.setdefault(name, "is missing")
        for name, problem in _contradictions(values, given_names, production=production).items():
            problems.setdefault(name, problem)
        if problems:
            raise SettingsError(problems)
        return cls(part=part, embedded=embedded, **values)

    def with_embedded(self, found: Mapping[str, str]) -> Self:
        """These settings, completed by what the embedded services say (under the settings' own names).

        What the environment gave stays; an embedded service never takes the place of a named one.
        """
        changes: dict[str, Any] = {}
        for attribute, spec in SPECS.items():
            if spec.name in found and not getattr(self, attribute):
                changes[attribute] = spec.parse(found[spec.name])
        return dataclasses.replace(self, **changes)


SPECS: Mapping[str, Spec[Any]] = {
    field.name: field.metadata["setting"]
    for field in dataclasses.fields(Settings)
    if "setting" in field.metadata
}


def _missing(given: set[str], part: Part, *, embedded: bool, production: bool) -> list[str]:
    due = {Need.NEVER: False, Need.SERVERS: not embedded, Need.PRODUCTION: production}
    return [
        spec.name
        for spec in SPECS.values()
        if due[spec.need] and part in spec.parts and spec.name not in given
    ]


def _contradictions(values: Mapping[str, Any], given: set[str], *, production: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    lease, timeout = values.get("lease_seconds"), values.get("provider_timeout_seconds")
    if lease and timeout and timeout * 2 > lease:
        found["PROVIDER_TIMEOUT_SECONDS"] = f"must be at most half of LEASE_SECONDS ({lease})"
    if values.get("alarm_webhook") and not values.get("alarm_webhook_key"):
        found["ALARM_WEBHOOK_KEY"] = "must be set: calls to ALARM_WEBHOOK are signed with it"
    for one, other in (
        ("TWILIO_2_ACCOUNT_SID", "TWILIO_2_AUTH_TOKEN"),
        ("TWILIO_2_AUTH_TOKEN", "TWILIO_2_ACCOUNT_SID"),
    ):
        if one in given and other not in given:
            found[other] = f"is missing: {one} is set"
    if "NOTIFY_API_KEY" in given and not given & {"NOTIFY_SMS_TEMPLATE", "NOTIFY_EMAIL_TEMPLATE"}:
        found["NOTIFY_API_KEY"] = "needs NOTIFY_SMS_TEMPLATE, NOTIFY_EMAIL_TEMPLATE or both"
    for attribute in (
        "twilio_base_url",
        "sendgrid_base_url",
        "notify_base_url",
        "public_url",
        "alarm_webhook",
    ):
        url = urlsplit(values.get(attribute, "") if SPECS[attribute].name in given else "")
        if url.scheme == "http" and (
            production or (attribute != "public_url" and url.hostname not in LOOPBACK)
        ):
            found[SPECS[attribute].name] = "must begin with https://"
    if production:
        seen: dict[str, str] = {}
        for name in _DATABASES:
            # By their users: another host name or option does not make another role.
            user = urlsplit(values.get(name.lower()) or "").username
            if user and user in seen:
                found[name] = f"must not be the same as {seen[user]}: each role has its own rights"
            elif user:
                seen[user] = name
    return found
