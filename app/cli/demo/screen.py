"""What the demonstration shows in the terminal: progress while it runs, then the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from app.services.ledger.check import Balance
from app.services.reports import Progress


@dataclass(frozen=True, slots=True)
class Line:
    """One alert and channel: the ledger's balance, and what others say of it."""

    alert: str
    balance: Balance
    sandbox: int  # distinct recipients in the sandbox's own acceptance log
    twice: int
    seconds: float
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.balance.balances and not self.balance.waiting and not self.problems and not self.twice


def progress_table(names: dict[str, str], rows: Sequence[Progress], note: str) -> Table:
    """How far each alert is. ``names``: dispatch id → what it is called."""
    table = Table(title=note, title_justify="left", expand=False)
    table.add_column("Alert")
    table.add_column("Channel")
    for heading in ("Recipients", "Left", "Accepted", "Delivered", "Excluded", "In doubt"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            names[str(row.dispatch)],
            row.channel,
            *(
                f"{n:,}"
                for n in (row.recipients, row.left, row.accepted, row.delivered, row.excluded, row.in_doubt)
            ),
        )
    return table


def final_table(lines: Sequence[Line]) -> Table:
    """recipients = accepted (delivered, bounced, silent) + refused + stopped + erased + expired + doubt + waiting."""
    table = Table(title="Every recipient, each once", title_justify="left")
    table.add_column("Alert", no_wrap=True)
    table.add_column("Channel", no_wrap=True)
    headings = (
        "Recip-\nients", "Accept-\ned", "deliv-\nered", "boun-\nced", "silent", "Refu-\nsed", "Stop-\nped", "Era-\nsed",
        "Expi-\nred", "In\ndoubt", "Wait-\ning", "Unac-\ncounted", "Sand-\nbox", "Twice", "Sec-\nonds",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for line in lines:
        b = line.balance
        numbers = (
            b.recipients, b.accepted, b.delivered, b.bounced + b.complained, b.silent, b.refused, b.stopped,
            b.erased, b.expired, b.in_doubt, b.waiting, b.unaccounted, line.sandbox, line.twice,
        )  # fmt: skip
        style = None if line.good else "bold red"
        table.add_row(line.alert, b.channel, *(f"{n:,}" for n in numbers), f"{line.seconds:.1f}", style=style)
    return table
