"""An organisation's identity provider from a terminal: set once it answers, shown without its secret, ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from app.cli.main import main
from app.services.oidc import discovery, providers
from tests.app.cli.conftest import Run, environ_of
from tests.conftest import Database
from tests.factories import Makes
from tests.oidc.provider import CLIENT, SECRET, RealProvider, running

NOWHERE = "http://127.0.0.1:9"
SANDBOX = {"TWILIO_BASE_URL": NOWHERE, "SENDGRID_BASE_URL": NOWHERE}


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with running(["https://wardlink.example/staff/sign-in/org-1/back"]) as made:
        yield made


def ground(committed: Database) -> str:
    """An organisation with a team; the code of one of its areas."""
    discovery.forget()
    opened = committed.open()
    with opened.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        borough = makes.borough()[0]
        makes.team(police, [borough], name="Uxbridge")
        code = borough.code
    opened.engine.dispose()
    return code


def put(committed: Database, *words: str, secret: str = SECRET, **changes: str) -> tuple[int, str]:
    environ = environ_of(committed) | SANDBOX | changes
    result = CliRunner().invoke(
        main, ["identity", "set", "--organisation", "org-1", *words], env=environ, input=f"{secret}\n"
    )
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_a_provider_is_set_once_it_answers_shown_and_ended(
    run: Run, committed: Database, provider: RealProvider
) -> None:
    code = ground(committed)
    wanted = ("--issuer", provider.issuer, "--client-id", CLIENT, "--domain", "Police.Example")
    assert put(committed, "--issuer", NOWHERE, *wanted[2:]) == (
        1, "Error: The provider cannot be used (connection).\n",
    )  # fmt: skip
    status, said = put(committed, *wanted)
    assert status == 0, said
    assert "/staff/sign-in/org-1/back\n" in said
    assert "/hooks/identity/org-1\n" in said
    group = ("identity", "group", "--organisation", "org-1", "--group", "Wardlink officers")
    assert run(*group, "--role", "officer", "--team", "Uxbridge").output == "added\n"
    readers = run(*group, "--role", "approver", "--area", code)
    assert readers.exit_code == 1 and "Give officers and approvers a team" in readers.output
    assert run(*group, "--role", "coordinator-liaison", "--area", code).output == "added\n"
    assert run(*group, "--role", "auditor").output == "added\n"
    shown = run("identity", "show", "--organisation", "org-1").output
    for line in (
        f"issuer          {provider.issuer}",
        "domains         police.example",
        "second factor   mfa",
        "group Wardlink officers: officer, Uxbridge",
        "group Wardlink officers: auditor, everywhere",
        "3 groups have roles",
    ):
        assert f"{line}\n" in shown
    assert SECRET not in shown + said
    opened = committed.open()
    with opened.sessions() as session:
        assert providers.of_slug(session, "org-1").client_secret == SECRET
    opened.engine.dispose()
    assert run(*group, "--role", "auditor", "--remove").output == "removed\n"
    assert "2 groups" in run("identity", "show", "--organisation", "org-1").output
    assert "ended; 0 people" in run("identity", "end", "--organisation", "org-1").output
    again = run("identity", "end", "--organisation", "org-1")
    assert (again.exit_code, again.output) == (1, "Error: The organisation has no identity provider.\n")


def test_what_is_wrong_is_said_in_one_line(run: Run, committed: Database, provider: RealProvider) -> None:
    ground(committed)
    fine = ("--issuer", provider.issuer, "--client-id", CLIENT)
    for words, secret, said in (
        (("--issuer", "http://id.police.uk", "--client-id", "x"), SECRET, "(issuer)"),
        ((*fine, "--domain", "police"), SECRET, "domains like police.example"),
        ((*fine, "--factor", "a b"), SECRET, "second factor"),
        (("--issuer", provider.issuer, "--client-id", "a b"), SECRET, "no spaces"),
        (fine, "short", "8 to 500"),
    ):
        status, output = put(committed, *words, secret=secret)
        assert (status, len(output.splitlines())) == (1, 1), output
        assert said in output
    assert put(committed, *fine)[0] == 0
    group = ("identity", "group", "--organisation", "org-1", "--group")
    for words, said in (
        ((*group, "g", "--role", "officer", "--team", "Nowhere"), "no team"),
        ((*group, "g", "--role", "officer", "--area", "E09999999"), "no such area"),
        ((*group, "g", "--role", "investigator"), "competent authority"),
        ((*group, "g", "--role", "officer", "--remove"), "does not have this role"),
        ((*group, "", "--role", "officer"), "1 to 200 characters"),
        (("identity", "show", "--organisation", "org-9"), "no identity provider"),
    ):
        result = run(*words)
        assert (result.exit_code, len(result.output.splitlines())) == (1, 1), result.output
        assert said in result.output
    assert run(*group, "g", "--role", "officer").exit_code == 0
    assert "already" in run(*group, "g", "--role", "officer").output


def test_two_organisations_share_neither_an_issuer_nor_a_domain(
    committed: Database, provider: RealProvider
) -> None:
    ground(committed)
    opened = committed.open()
    with opened.sessions.begin() as session:
        Makes(session, iter(range(2, 9))).organisation("Test Council")  # type: ignore[arg-type]
        both = {"client_id": "x", "client_secret": "y" * 20, "sandbox": True, "actor": providers.audit.SYSTEM}
        providers.put(session, "org-1", issuer=f"{NOWHERE}/a", domains=["police.example"], **both)
        with pytest.raises(providers.Conflict, match="this issuer"):
            providers.put(session, "org-2", issuer=f"{NOWHERE}/a", **both)
        with pytest.raises(providers.Conflict, match="belongs to the sign-in of another"):
            providers.put(session, "org-2", issuer=f"{NOWHERE}/b", domains=["police.example"], **both)
    opened.engine.dispose()
