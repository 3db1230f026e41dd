"""What the second Twilio account tells us is signed with its own token."""

from __future__ import annotations

from tests.app.web.conftest import open_site
from tests.app.web.test_hooks import DELIVERED, INBOUND, STATUS, TEXT
from tests.conftest import Database

SECOND = "the token of the second account"
ACCOUNT = "AC" + "1" * 32


def test_calls_of_either_account_are_kept_and_those_of_nobody_refused(committed: Database) -> None:
    site = open_site(committed, TWILIO_2_ACCOUNT_SID=ACCOUNT, TWILIO_2_AUTH_TOKEN=SECOND)
    try:
        assert site.twilio(STATUS, DELIVERED, token=SECOND).status_code == 204
        assert site.twilio(INBOUND, TEXT, token=SECOND).status_code == 200
        assert site.twilio(STATUS, DELIVERED).status_code == 204
        assert len(site.events()) == 3
        for token in ("another", "", ACCOUNT):
            assert site.twilio(STATUS, DELIVERED, token=token).status_code == 403
        assert len(site.events()) == 3
    finally:
        site.registry.engine.dispose()


def test_without_a_second_account_an_empty_token_opens_nothing(site) -> None:
    assert site.twilio(INBOUND, TEXT, token="").status_code == 403
    assert site.twilio(INBOUND, TEXT, token=SECOND).status_code == 403
    assert site.events() == []
