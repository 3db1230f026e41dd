"""``wardlink …``: every command of the service."""

from __future__ import annotations

from importlib import metadata

import click

from app.cli import (
    alarms,
    alert,
    audit,
    brake,
    db,
    dispatch,
    identity,
    keys,
    ledger,
    london,
    organisation,
    preferences,
    provider,
    sandbox,
    services,
    settings,
    staff,
    team,
    ward,
)
from app.cli.plain import PlainGroup


class Commands(PlainGroup):
    """The commands; the demo is imported when it is asked for, for it brings much with it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "demo"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "demo":
            from app.cli.demo.command import demo

            return demo
        return super().get_command(ctx, cmd_name)


def _version() -> str:
    try:
        return metadata.version("wardlink")
    except metadata.PackageNotFoundError:  # run from its folder
        return "not installed"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="wardlink")
def main() -> None:
    """Ward-based alerts for London. Settings come from the environment: see `wardlink settings`."""


for command in (
    alarms.alarms_,
    alert.alert,
    audit.audit,
    brake.brake,
    db.db,
    dispatch.dispatch,
    identity.identity,
    keys.keys,
    ledger.ledger,
    london.london,
    organisation.organisation,
    preferences.preferences,
    provider.provider,
    sandbox.sandbox,
    services.services,
    settings.settings,
    staff.staff,
    team.team,
    ward.ward,
):
    main.add_command(command)
