"""Why a provider, or whoever comes from it, is turned away: codes for the record, words for whoever reads the page."""

from __future__ import annotations

WORDS = {
    "away": "Your organisation’s sign-in does not answer. Wait a minute, then try again.",
    "setting": "Your organisation’s sign-in is not set up as it should be. Tell your administrator.",
    "expired": "You came back too late, in another browser, or twice. Start again.",
    "cancelled": "Your organisation’s sign-in did not let you in, or you stopped there. Nobody was signed in.",
    "token": "What your organisation’s sign-in said of you could not be believed. Nobody was signed in. "
    "Try again; if it happens again, tell your administrator.",
    "factor": "Your organisation’s sign-in did not say that you showed a second factor, such as a code or a key. "
    "Set one up there, then try again. If you did show one, tell your administrator.",
    "stale": "You were not asked to show your factors again. Try again; if it happens again, tell your administrator.",
    "somebody-else": "You are signed in there as somebody else than here. Sign out there, then try again.",
    "groups": "You are in more groups than your organisation’s sign-in passes on. "
    "Ask your administrator to pass on only those of this service.",
    "email": "Your organisation’s sign-in did not pass on a work e-mail address of yours that this service knows. "
    "Tell your administrator.",
    "unverified": "Your organisation’s sign-in does not say that your e-mail address is verified. "
    "Tell your administrator.",
    "password": "You have a password here: sign in with that. To change over, ask your administrator to let you "
    "leave and to invite you again.",
    "left": "Your account here has ended. If you should have one, ask your administrator to invite you.",
    "elsewhere": "Your e-mail address belongs to somebody else’s account here. Tell your administrator.",
    "no-role": "You are signed in at your organisation, but you have no role here. Ask your administrator.",
}


class Refused(Exception):
    """``code`` is one of WORDS; ``why`` a word for the log, never anything that was sent."""

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.why = why

    @property
    def words(self) -> str:
        return WORDS[self.code]
