"""``wardlink alarms …``: what is wrong now, and whether a human would hear of it."""

from __future__ import annotations

import click

from app.cli import opened
from app.db import utc_now
from app.errors import Invalid
from app.services import alarm_routes, alarms
from app.services.alarm_routes import Routes

NO_ROUTE = "No route is set: nobody is told. Set ALARM_EMAILS, ALARM_MOBILES or ALARM_WEBHOOK."


@click.group(name="alarms", invoke_without_command=True)
@click.pass_context
def alarms_(context: click.Context) -> None:
    """The alarms that are open, the last ones that are over, and how the last day's were told."""
    if context.invoked_subcommand is not None:
        return
    with opened.registry() as registry:
        routes = Routes.of(registry.settings)
        with registry.sessions() as session:
            found, over = alarms.opened(session), alarms.latest(session, 10)
            fates = alarm_routes.fates(session)
    for alarm in found:
        figures = " ".join(f"{name}={value}" for name, value in sorted(alarm.detail.items()))
        click.echo(
            f"open  {alarm.raised_at:%Y-%m-%d %H:%M:%S}  {alarm.code}  {alarm.subject}  {figures}".rstrip()
        )
        click.echo(f"      {alarm.about.do}")
    for alarm in over:
        click.echo(f"over  {alarm.cleared_at:%Y-%m-%d %H:%M:%S}  {alarm.code}  {alarm.subject}")
    for route, state, why, n in fates:
        click.echo(f"told  {n} by {route}: {state.replace('_', ' ')}{f' ({why})' if why else ''}")
    click.echo(f"{len(found)} open. {told_by(routes)}")


@alarms_.command()
def test() -> None:
    """Send a test alarm by every route that is set. Workers carry it: see that it arrives."""
    with opened.registry() as registry:
        routes = Routes.of(registry.settings)
        if not routes.any:
            raise Invalid("routes", NO_ROUTE)
        now = utc_now()
        with registry.sessions.begin() as session:
            alarm = alarms.test(session, actor=opened.OPERATOR, now=now)
            sent = alarm_routes.say(session, routes, alarm, alarms.TEST, now=now)
    click.echo(f"On its way by {sent} of {routes.count}: see that each arrives. {told_by(routes)}")


def told_by(routes: Routes) -> str:
    """Where alarms go, in numbers: the addresses are nobody else's business."""
    if not routes.any:
        return NO_ROUTE
    webhook = ", the webhook" if routes.webhook else ""
    return f"Told by {len(routes.emails)} e-mail, {len(routes.mobiles)} text{webhook}."
