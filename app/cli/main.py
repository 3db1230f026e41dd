"""``wardlink …``: every command of the service."""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata

import click

from app.cli import (
    alarms,
    alert,
    areas,
    audit,
    brake,
    db,
    dispatch,
    erasure,
    identity,
    keys,
    ledger,
    london,
    organisation,
    preferences,
    provider,
    register,
    retention,
    role,
    sandbox,
    services,
    settings,
    staff,
    team,
    ward,
)
from app.cli.plain import PlainGroup
from app.permissions import COMMANDS


class Commands(PlainGroup):
    """The commands; the demo is imported when it is asked for, for it brings much with it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "demo"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "demo" and "demo" in COMMANDS:
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
    areas.areas,
    audit.audit,
    brake.brake,
    db.db,
    dispatch.dispatch,
    erasure.erasure,
    identity.identity,
    keys.keys,
    ledger.ledger,
    london.london,
    organisation.organisation,
    preferences.preferences,
    provider.provider,
    register.register,
    retention.retention,
    role.role,
    sandbox.sandbox,
    services.services,
    settings.settings,
    staff.staff,
    team.team,
    ward.ward,
):
    main.add_command(command)


def serve_known(group: click.Group, commands: Collection[str], *before: str) -> None:
    """Take every command out of a group that the table of permissions does not name."""
    for name, command in list(group.commands.items()):
        path = (*before, name)
        if isinstance(command, click.Group):
            serve_known(command, commands, *path)
        elif " ".join(path) not in commands:
            del group.commands[name]


serve_known(main, COMMANDS)
