"""What adapters share that send one message a recipient: values put in here, and results told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from messaging.types import Outcome, SendResult


def filler(tags: Iterable[str]) -> Callable[[str, Mapping[str, str]], str]:
    """Puts a person's values in the place of their tags, all at once: what a value brings in is not looked at."""
    known = sorted(tags, key=len, reverse=True)
    if not known:
        return lambda text, _: text
    pattern = re.compile("|".join(map(re.escape, known)))

    def fill(text: str, values: Mapping[str, str]) -> str:
        return pattern.sub(lambda found: values.get(found[0], ""), text)

    return fill


def together(each: Mapping[int, SendResult]) -> SendResult:
    """The call's result from those of its messages: the worst of them, and the first reason there is.

    Nobody come to: nothing was taken, for the time was over.
    """
    for outcome in (Outcome.IN_DOUBT, Outcome.TAKEN, Outcome.REFUSED):
        if any(r.outcome is outcome for r in each.values()):
            break
    else:
        outcome = Outcome.NOT_TAKEN
    reason = next((r.reason for r in each.values() if r.outcome is not Outcome.TAKEN), "")
    waits = [r.retry_after for r in each.values() if r.retry_after is not None]
    return SendResult(
        outcome,
        reason=reason or ("" if each else "deadline"),
        retry_after=max(waits, default=None),
        each=each,
    )
