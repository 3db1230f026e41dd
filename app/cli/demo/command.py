"""``wardlink demo``: the main job on one machine, with a table that balances."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import click
from rich.console import Console

from app.cli.demo.show import Show, verdict


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the table instead of keeping the site up.")
@click.option("--site-only", is_flag=True, help="Start the site and send nothing.")
def demo(leave: bool, site_only: bool) -> None:
    """Send real alerts to 10,000 synthetic people through the provider sandbox, and account for each."""
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
            f"Site: {show.site}  (try postcode UB8 1UW)\n"
            f"Sandbox inbox: {show.sandbox.url if show.sandbox else ''}\n"
            f"Ready after {time.monotonic() - began:.1f} s"
        )
        good = True
        if not site_only:
            show.settle()
            show.open_workers()
            show.play()
            good = verdict(console, show.account()) and show.seal()
            console.print(f"{time.monotonic() - began:.0f} seconds in all.")
        if not leave:
            console.print("The site stays up. Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
    except KeyboardInterrupt:
        console.print("Ending.")
        raise SystemExit(130) from None
    finally:
        show.stack.stop()
        show.registry.engine.dispose()
    if not good:
        raise SystemExit(1)


def _end(ended: threading.Event) -> None:
    """The first signal lets a waiting demo end well; before that it breaks off what is under way."""
    if ended.is_set():
        return
    ended.set()
    raise KeyboardInterrupt
