"""``wardlink demo``: the main job on one machine, with a table that balances."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import click
from rich.console import Console

from app.cli.demo.browser import PageError
from app.cli.demo.show import POSTCODE, Show, verdict
from app.cli.demo.walk import SignIn
from config.settings import Settings


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the table instead of keeping the site up.")
@click.option("--site-only", is_flag=True, help="Start the site and send nothing.")
@click.option(
    "--code", is_flag=True, help="Print the code that the demo's officer needs to sign in, and end."
)
def demo(leave: bool, site_only: bool, code: bool) -> None:
    """Send real alerts to 10,000 synthetic people through the provider sandbox, and account for each."""
    if code:
        click.echo(_code())
        return
    began = time.monotonic()
    # A terminal's width where there is one; in a log the whole table on one line each.
    console = Console(highlight=False, width=None if Console().is_terminal else 170)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _end(ended))
    show = Show.prepare(console)
    try:
        show.open_site()
        console.print(
            f"Site: {show.site}  (try postcode {POSTCODE})\n"
            f"Sandbox inbox: {show.sandbox.url if show.sandbox else ''}\n"
            f"Ready after {time.monotonic() - began:.1f} s"
        )
        good = True
        if not site_only:
            show.settle()
            show.open_workers()
            show.play()
            good = verdict(console, show.account())
            sign_in = show.walk()
            good = show.seal() and good
            console.print(
                f"Sign in as the officer at {show.site}/staff: {sign_in.email}, password {sign_in.password}\n"
                f"Its code changes every 30 seconds: now {sign_in.code()}, later by `wardlink demo --code`, or with "
                f"the key {sign_in.secret} in your own app"
            )
            console.print(f"{time.monotonic() - began:.0f} seconds in all.")
        if not leave:
            console.print("The site stays up. Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
    except KeyboardInterrupt:
        console.print("Ending.")
        raise SystemExit(130) from None
    except PageError as error:
        raise click.ClickException(str(error)) from None
    finally:
        show.stack.stop()
        show.registry.engine.dispose()
    if not good:
        raise SystemExit(1)


def _code() -> str:
    folder = Settings.load(os.environ).local_dir / "demo"
    known = SignIn.read(folder / "officer.json")
    if known is None:
        raise click.ClickException("The demo has no officer yet: run it first, without --code.")
    return known.code()


def _end(ended: threading.Event) -> None:
    """The first signal lets a waiting demo end well; before that it breaks off what is under way."""
    if ended.is_set():
        return
    ended.set()
    raise KeyboardInterrupt
