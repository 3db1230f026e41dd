"""The words that Twilio acts on by itself, so that we agree with it on what a reply means."""

from __future__ import annotations

import unicodedata

from messaging.types import Keyword

_WORDS = {
    **dict.fromkeys(
        ("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"), Keyword.STOP
    ),
    **dict.fromkeys(("start", "yes", "unstop"), Keyword.START),
    **dict.fromkeys(("help", "info"), Keyword.HELP),
}
_LONGEST = 200


def keyword(text: str) -> Keyword | None:
    """The keyword that the whole message is, or None.

    Case, spaces, punctuation and emoji are set aside ("Stop!", "STOP ALL"), any other word is
    not ("stop please" is a message for a person to read, as Twilio has it too).
    """
    if len(text) > _LONGEST:
        return None
    kept = [c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c)[0] in "LN"]
    return _WORDS.get("".join(kept).casefold())
