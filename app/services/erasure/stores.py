"""The one table of what erasure does, store by store: printed in the administrator guide, run by ``engine``.

A table that holds anything about a person must stand here (a test compares it with the database). A new one is one
line: with a foreign key that cascades from the contact point or the person, nothing else; otherwise with SQL, in which
``:contacts`` are the ids of the addresses to erase. The lines run in the order of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["STORES", "Fate", "Store", "printed"]


class Fate(StrEnum):
    """What becomes of what a store holds about somebody."""

    DELETED = "deleted"
    GOES_WITH = "goes with another"  # a foreign key that cascades
    CHANGED = "changed"  # the row stays and no longer says whom it is about
    EXPIRES = "goes in its time"  # cannot be found by the person: the retention clock removes it
    STAYS = "stays"
    STAFF = "not about residents"  # of staff, who have accounts and are not erased by this


@dataclass(frozen=True, slots=True)
class Store:
    """One table. ``what``: what happens there and why; ``sql``: what erasing addresses runs."""

    table: str
    fate: Fate
    what: str
    sql: str = ""


_D, _W, _C, _E, _S, _O = (
    Fate.DELETED, Fate.GOES_WITH, Fate.CHANGED, Fate.EXPIRES, Fate.STAYS, Fate.STAFF,
)  # fmt: skip
_ADDRESSES = (
    "(SELECT p.channel, p.digest FROM contact_points p WHERE p.id = ANY(CAST(:contacts AS bigint[])))"
)
_THESE = "ANY(CAST(:contacts AS bigint[]))"
# People whom these addresses reach and no other does.
_ALONE = f"""
    SELECT r.person_id FROM person_contact_points r WHERE r.contact_id = {_THESE}
    AND NOT EXISTS (
        SELECT 1 FROM person_contact_points o
        WHERE o.person_id = r.person_id AND o.contact_id <> ALL(CAST(:contacts AS bigint[])))
"""

STORES: tuple[Store, ...] = (
    Store(
        "consents", _C,
        "the contact point's id gives way to a pseudonym, and what stood is withdrawn: evidence, kept for its time",
        # The pseudonyms come with the ids: see engine.
        """
        UPDATE consents c SET pseudonym = e.pseudonym, contact_id = NULL,
            withdrawn_how = CASE WHEN c.withdrawn_at IS NULL THEN 'erased' ELSE c.withdrawn_how END,
            withdrawn_at = coalesce(c.withdrawn_at, now())
        FROM unnest(CAST(:contacts AS bigint[]), CAST(:pseudonyms AS bytea[])) AS e(contact_id, pseudonym)
        WHERE c.contact_id = e.contact_id
        """,
    ),
    Store(
        "signups", _D, "what was asked for with this address and with no other that is still to be proved",
        f"""
        DELETE FROM signups s USING confirmations c
        WHERE c.signup_id = s.id AND (c.channel, c.digest) IN {_ADDRESSES}
          AND NOT EXISTS (
              SELECT 1 FROM confirmations o WHERE o.signup_id = s.id AND (o.channel, o.digest) NOT IN {_ADDRESSES})
        """,
    ),
    Store(
        "confirmations", _D, "codes and links of this address, proved or not",
        f"DELETE FROM confirmations c WHERE (c.channel, c.digest) IN {_ADDRESSES}",
    ),
    Store(
        "places", _D,
        "a place at which nobody else is reached; another stays, as nobody's by name",
        f"""
        DELETE FROM places p WHERE p.id IN (SELECT s.place_id FROM subscriptions s WHERE s.contact_id = {_THESE})
          AND NOT EXISTS (
              SELECT 1 FROM subscriptions o
              WHERE o.place_id = p.id AND o.contact_id <> ALL(CAST(:contacts AS bigint[])))
        """,
    ),
    Store(
        "people", _D, "the name of somebody who is reached at no other address; shared addresses: see below",
        f"""
        WITH alone AS ({_ALONE}), unnamed AS (
            UPDATE places SET person_id = NULL WHERE person_id IN (SELECT person_id FROM alone)
              AND EXISTS (SELECT 1 FROM subscriptions s WHERE s.place_id = places.id)
        )
        DELETE FROM people WHERE id IN (SELECT person_id FROM alone)
        """,
    ),
    Store(
        "contact_points", _D, "address, name to greet by, digest",
        f"DELETE FROM contact_points WHERE id = {_THESE}",
    ),
    Store("person_contact_points", _W, "who reads at the address: with the address, or the person"),
    Store("subscriptions", _W, "with the address, or the place"),
    Store("place_areas", _W, "with the place"),
    Store("contact_preferences", _W, "quiet hours, limits and digests: with the address"),
    Store("contact_sends", _W, "what counted towards a weekly limit: with the address"),
    Store("replies", _W, "with the address; of a shared one, only the names when one of its readers is erased"),
    Store("reply_messages", _W, "with the thread, both sides of it"),
    Store("web_sessions", _W, "with the address: whoever is signed in by it is signed out"),
    Store(
        "service_messages",
        _W,
        "with the address; so do codes that wait for it; one that a worker has in hand loses its words and address as "
        "soon as its fate is known",
    ),
    Store(
        "deliveries", _C,
        "the provider's name for a message goes; the row stays, with an id that is random and never used again: "
        "everybody is still accounted for",
        # In the order in which receipts are merged, so that the two never wait for each other.
        f"""
        UPDATE deliveries d SET provider_ref = NULL FROM (
            SELECT dispatch_id, contact_id FROM deliveries
            WHERE contact_id = {_THESE} AND provider_ref IS NOT NULL
            ORDER BY dispatch_id, contact_id FOR UPDATE
        ) named
        WHERE d.dispatch_id = named.dispatch_id AND d.contact_id = named.contact_id
        """,
    ),
    Store(
        "batches", _S,
        "ids in frozen arrays; who was frozen and not yet sent to ends as *erased* when the batch is claimed",
    ),
    Store("digest_items", _S, "ids; what waits for a digest ends as *erased* when the digest is due"),
    Store("attempts", _S, "names calls to providers, not people; goes with its month of the ledger"),
    Store("early_receipts", _E, "a report that came before its row: no address, at most the message's id"),
    Store("raw_events", _E, "what providers called with, addresses and texts in it: 30 days at the latest"),
    Store(
        "suppressions", _S,
        "the digest of an address that must not be written to: the only way never to write there again",
    ),
    Store(
        "confirmation_refusals", _E,
        "a digest too, of a mailbox whose holder said “it was not me”: no code goes there until its time is over",
    ),
    Store("rate_counters", _E, "digests of digests, for a day at most"),
    Store("erasures", _S, "the journal: ids and times"),
    Store("audit_entries", _S, "ids; the record is never changed"),
    Store("camera_owners", _W, "with the address: whoever is erased has left the register, and every search"),
    Store("cameras", _W, "with their owner"),
    Store("camera_drafts", _W, "a camera whose owner has not proved their address: with the sign-up"),
    Store("request_recipients", _W, "with the owner: that they were asked, and what they answered"),
    Store(
        "disclosures", _S,
        "what an investigation was shown after the owner answered: the force keeps it as evidence, as owners are told",
    ),
    Store("register_searches", _O, "what an investigator looked for, and cells; no owner is named"),
    Store("register_tickets", _E, "ids of whoever opened a page of the register, for a day"),
    Store("camera_requests", _O, "what an investigator asked; no owner is named"),
    Store("register_lifts", _O, "a supervisor's leave"),
    Store("search_withholdings", _O, "why owners do not learn of a search yet"),
    Store("search_findings", _O, "searches of somebody of staff that a rule found unusual; for six years after the verdict"),
    Store("search_reviews", _O, "who reviewed a search, and the verdict; for six years after it"),
    Store("search_places", _O, "in which borough a search was made"),
    Store("staff_homes", _O, "the ward that somebody of staff lives in; with the account"),
    Store("investigations", _O, "references of cases"),
    Store("staff", _O, "name and address of an account"),
    Store("staff_invitations", _O, "digests"),
    Store("staff_passkeys", _O, "public keys"),
    Store("staff_recovery_codes", _O, "digests"),
    Store("staff_known_places", _O, "digests of networks and browsers that they signed in from"),
    Store("misuse_reports", _O, "what staff reported about staff, encrypted; for six years after it was closed"),
    Store("role_grants", _O, "who may do what, where, until when"),
    Store("identity_providers", _O, "an organisation's secret, encrypted"),
)  # fmt: skip


def printed() -> list[str]:
    """The table as the guide prints it, line by line."""
    heads = ["| Store | Fate | What happens, and why |", "|---|---|---|"]
    return heads + [f"| `{one.table}` | {one.fate} | {one.what} |" for one in STORES]


if __name__ == "__main__":
    print("\n".join(printed()))  # noqa: T201
