"""What Twilio's refusals mean for one message (design §5: what happened decides what may follow).

Twilio splits its codes finer from time to time, so only those that change what we do are
named; the rest go by class.
"""

from __future__ import annotations

import orjson

from messaging.providers.connection import Response
from messaging.providers.http import retry_after
from messaging.types import Outcome, SendResult

OPTED_OUT = 21610
# Our account, sender or settings are at fault, not this recipient: nothing was taken, and once
# somebody has put it right the same message may go.
_ACCOUNT = frozenset({21212, 21267, 21603, 21606, 21609, 21659, 21660, 21661, 30002})
# Too many at once from this sender, or from this account: later.
_SENDER_BUSY = frozenset({14107, 21611, 30001})
_ACCOUNT_BUSY = frozenset({20429, 63038})


def classify(response: Response) -> SendResult:
    """The result for any answer but 2xx."""
    status = response.status
    code = _code(response.body)
    if status >= 500 or status < 400:
        # A 3xx is not followed and was not promised: what became of the message is unknown.
        return SendResult(Outcome.IN_DOUBT, reason=str(status), retryable=False)
    if status == 429 or code in _SENDER_BUSY or code in _ACCOUNT_BUSY:
        return SendResult(
            Outcome.NOT_TAKEN,
            reason=str(code or status),
            retry_after=retry_after(response.headers),
            busy="sender" if code in _SENDER_BUSY else "account",
        )
    if code == OPTED_OUT:
        return SendResult(Outcome.REFUSED, reason=str(code), retryable=False, opted_out=True)
    if status in (401, 403, 404) or code in _ACCOUNT or 20_000 <= code < 21_000:
        return SendResult(Outcome.NOT_TAKEN, reason="account")
    if 21_000 <= code < 22_000 or 30_000 <= code < 31_000:
        return SendResult(Outcome.REFUSED, reason=str(code), retryable=False)
    return SendResult(Outcome.NOT_TAKEN, reason=str(code or status))


def _code(body: bytes) -> int:
    """Twilio's error code, 0 if there is none to be read."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else 0
