"""``wardlink sandbox``: the local stand-in for Twilio and SendGrid."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.plain import Folder, PlainText, Seconds
from config.settings import Settings


class Rate(PlainText):
    """SENDER=SEGMENTS_PER_SECOND."""

    name = "sender=rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text; a usage error if it is something else."""
        text = super().convert(value, param, ctx)
        sender, _, rate = text.rpartition("=")
        try:
            good = bool(sender) and 0 < float(rate) <= 1_000_000
        except ValueError:
            good = False
        if not good:
            self.fail("must be a sender and its segments per second, like +447700900001=40.", param, ctx)
        return text


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Where it listens; 0 takes a free one [SANDBOX_PORT]."
)
@click.option("--state", type=Folder(), help="Folder of its keys and its log.")
@click.option("--sender", type=Rate(200), multiple=True, help="SENDER=RATE in segments per second.")
@click.option("--delivery-delay", type=Seconds(0, 3600), default=0.2, show_default=True, help="Seconds.")
@click.option("--receipts/--no-receipts", default=True, help="Whether it reports what became of messages.")
@click.option(
    "--second", is_flag=True, help="With the second providers: Twilio account, mail server, Notify."
)
def sandbox(
    port: int | None,
    state: Path | None,
    sender: tuple[str, ...],
    delivery_delay: float,
    receipts: bool,
    second: bool,
) -> None:
    """Stand in for Twilio and SendGrid on this machine, with an inbox to look at, until Ctrl-C.

    Its credentials stand in sandbox.json in its folder: give them to the site and the workers.
    """
    settings = Settings.load(os.environ)
    if settings.env == "production":
        raise click.ClickException(
            "The sandbox is not for production: it would keep the providers' real keys."
        )
    words = [
        f"--port={settings.sandbox_port if port is None else port}",
        f"--state={state or settings.local_dir / 'sandbox'}",
        f"--events-url={settings.public_url}/hooks/sendgrid/events",
        f"--inbound-url={settings.public_url}/hooks/twilio/inbound",
        f"--delivery-delay={delivery_delay}",
        f"--receipts={'on' if receipts else 'off'}",
        *(f"--sender={one}" for one in sender),
        *["--second"] * second,
    ]
    for name, value in (
        ("account-sid", settings.twilio_account_sid),
        ("auth-token", settings.twilio_auth_token),
        ("sendgrid-key", settings.sendgrid_api_key),
    ):
        if value:
            words.append(f"--{name}={value}")
    # Here, not above: every other command would pay for its import.
    from messaging.sandbox.__main__ import main

    raise click.exceptions.Exit(main(words))
