"""The gate of the register: who asks, what goes on the record, tickets, and how a used one stays used.

Functions of the schema ``register`` whose names begin with _ are the gate's own: only other functions of it call them.
Whatever opens something private does so in two steps. The first checks, puts an entry on the record and makes a ticket;
it must be committed. The second, in another transaction, takes the ticket and gives the answer.

A ROLLBACK undoes rows but no sequence: that a ticket was used is kept in sequences. Tickets are numbered by one; each
belongs to one of ``SLOTS`` others (its number modulo), whose value is the number that was used last in that slot. A
ticket remembers what that value was when it was opened (``saw``) and can be used only while it is still the same. So
every used number but the last of its slot stands in the ``saw`` of the ticket that was used after it, and that ticket's
row was committed: whether a ticket was used can be told for ever, whatever was rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrations.ground_sql import WORKER
from migrations.register_sql import GATE

__all__ = ["GATE", "as_gate", "drop", "function", "functions", "opened", "sequences"]

SLOTS = 64
TICKET_LIVES = "60 seconds"
# A ticket that was not used this long after its opening never will be.
SETTLES = "2 minutes"
# Tickets that are no searches are not kept for longer.
KEPT = "1 day"
# As `app.services.sessions` and `app.access` have it; a little longer than the page asks, for whoever fills in a form.
IDLE, FRESH = "1 hour", "15 minutes"
LONGEST_TOKEN = 100
_LOCK = "hashtext('wardlink.register')"
# Nothing of a caller's search path is ever asked, and nothing of a temporary schema before the catalogue.
_PATH = "SET search_path = pg_catalog, pg_temp"
# Snapshots of other levels are old: caps would be counted, and roles looked up, in the past.
_FRESH_SNAPSHOT = """
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the register answers in READ COMMITTED only' USING ERRCODE = 'WR001';
    END IF;
"""


def function(signature: str, returns: str, body: str, *, kind: str = "VOLATILE") -> str:
    """CREATE FUNCTION in PL/pgSQL, as the gate's role. ``signature``: ``name(argument type, …)`` without the schema."""
    return (
        f"CREATE FUNCTION register.{signature} RETURNS {returns} "
        f"LANGUAGE plpgsql {kind} SECURITY DEFINER {_PATH} AS $body${body}$body$"
    )


def as_gate(statements: Iterable[str]) -> list[str]:
    """These statements by the gate's role, so that what they make is its own; PUBLIC may call none of it."""
    return [
        f"SET LOCAL ROLE {GATE}",
        *statements,
        "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA register FROM PUBLIC",
        "RESET ROLE",
    ]


def opened(signature: str, *roles: str) -> str:
    """GRANT of one function by its argument types; run it as the gate."""
    return f"GRANT EXECUTE ON FUNCTION register.{signature} TO {', '.join(roles)}"


# Whose session it is by its token alone: an id could be anybody's. Every refusal reads the same.
_WHO = f"""
    DECLARE
        moment timestamptz := clock_timestamp();
        shown timestamptz;
    BEGIN
        {_FRESH_SNAPSHOT}
        SELECT t.id, t.organisation_id, s.stepped_up_at INTO staff_id, organisation_id, shown
        FROM public.web_sessions s
        JOIN public.staff t ON t.id = s.staff_id
        JOIN public.organisations o ON o.id = t.organisation_id
        WHERE s.digest = sha256(convert_to('wardlink.session' || token, 'UTF8')) AND length(token) <= {LONGEST_TOKEN}
            AND NOT s.half AND s.expires_at > moment AND s.seen_at > moment - interval '{IDLE}'
            AND t.state = 'active' AND o.ended_at IS NULL AND o.competent_authority;
        IF staff_id IS NOT NULL THEN
            SELECT bool_or(g.area_id IS NULL AND g.team_id IS NULL),
                coalesce(array_agg(g.area_id) FILTER (WHERE g.area_id IS NOT NULL), '{{}}'),
                coalesce(array_agg(g.team_id) FILTER (WHERE g.team_id IS NOT NULL), '{{}}')
            INTO everywhere, areas, teams
            FROM public.role_grants g
            WHERE g.staff_id = _who.staff_id AND g.organisation_id = _who.organisation_id
                AND g.role = ANY (wanted_roles) AND g.starts_at <= moment AND g.ends_at > moment AND g.taken_at IS NULL;
        END IF;
        IF everywhere IS NULL THEN
            RAISE EXCEPTION 'nobody who may do this' USING ERRCODE = 'WR001';
        END IF;
        IF step_up AND (shown IS NULL OR shown <= moment - interval '{FRESH}' OR shown > moment + interval '1 minute') THEN
            RAISE EXCEPTION 'a factor must be shown again' USING ERRCODE = 'WR011';
        END IF;
        RETURN NEXT;
    END
"""

_RESIDENT = f"""
    DECLARE
        found bigint;
    BEGIN
        {_FRESH_SNAPSHOT}
        SELECT s.contact_id INTO found FROM public.web_sessions s
        WHERE s.digest = sha256(convert_to('wardlink.session' || token, 'UTF8')) AND length(token) <= {LONGEST_TOKEN}
            AND NOT s.half AND s.expires_at > clock_timestamp();
        IF found IS NULL THEN
            RAISE EXCEPTION 'nobody who may do this' USING ERRCODE = 'WR001';
        END IF;
        RETURN found;
    END
"""

_RECORD = """
    DECLARE
        entry bigint;
    BEGIN
        INSERT INTO public.audit_entries
            (actor_kind, actor_id, organisation_id, area_code, subject, event, s62, why, origin, detail)
        VALUES (actor_kind, actor_id, organisation, area, subject, event, s62, why, left(origin, 200), detail)
        RETURNING id INTO entry;
        RETURN entry;
    END
"""

# The number of a new ticket, and what was used last in its slot.
_NUMBER = """
    BEGIN
        number := nextval('register.numbers');
        saw := register._last(number);
        RETURN NEXT;
    END
"""
_SLOT = f"RETURN CAST('register.used_' || number % {SLOTS} AS regclass);"
_LAST = "RETURN coalesce(pg_sequence_last_value(register._slot(number)), 0);"

_TICKET = """
    DECLARE
        made uuid := gen_random_uuid();
        given record;
    BEGIN
        SELECT * INTO given FROM register._number();
        INSERT INTO public.register_tickets
            (id, act, entry_id, staff_id, contact_id, subject_id, number, saw, opened_xid, opened_at)
        VALUES (made, act, entry, staff, contact, subject, given.number, given.saw, pg_current_xact_id(),
            clock_timestamp());
        RETURN made;
    END
"""

# The one place where a ticket becomes a used one. Its row is locked by the caller, its slot here: of two that saw the
# same value, the second finds another. A crash may forget the last of the sequences, so no ticket outlives one: after
# a restart PostgreSQL has another start, after a crash of one process its statistics begin anew.
_USE = f"""
    DECLARE
        moment timestamptz;
    BEGIN
        PERFORM pg_advisory_xact_lock({_LOCK}, CAST(number % {SLOTS} AS integer));
        moment := clock_timestamp();
        IF opened_xid = pg_current_xact_id() THEN
            RAISE EXCEPTION 'the ticket must be committed first' USING ERRCODE = 'WR002';
        ELSIF opened_at <= moment - interval '{TICKET_LIVES}'
            OR opened_at <= greatest(pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())
        THEN
            RAISE EXCEPTION 'the ticket is too old' USING ERRCODE = 'WR002';
        ELSIF settled OR register._last(number) <> saw THEN
            RAISE EXCEPTION 'the ticket was used, or another took its turn' USING ERRCODE = 'WR002';
        END IF;
        PERFORM setval(register._slot(number), number);
    END
"""

_REDEEM = """
    DECLARE
        found public.register_tickets;
    BEGIN
        SELECT * INTO found FROM public.register_tickets t WHERE t.id = ticket FOR UPDATE;
        IF found.id IS NULL OR found.act IS DISTINCT FROM _redeem.act
            OR found.staff_id IS DISTINCT FROM staff OR found.contact_id IS DISTINCT FROM contact
        THEN
            RAISE EXCEPTION 'no such ticket' USING ERRCODE = 'WR002';
        END IF;
        PERFORM register._use(found.number, found.saw, found.opened_at, found.opened_xid, found.settled);
        RETURN found.subject_id;
    END
"""

# What was used last is read before the look for a later ticket that saw it, each with a snapshot of its own: whoever
# took the slot meanwhile had been committed before.
_WAS_USED = """
    BEGIN
        IF register._last(wanted) = wanted THEN
            RETURN true;
        END IF;
        RETURN EXISTS (SELECT FROM public.register_searches s WHERE s.saw = wanted)
            OR EXISTS (SELECT FROM public.register_tickets t WHERE t.saw = wanted);
    END
"""


def _lapsing(table: str, subject: str) -> str:
    return f"""
        FOR found IN
            SELECT t.* FROM public.{table} t
            WHERE NOT t.settled AND t.opened_at < clock_timestamp() - interval '{SETTLES}'
            ORDER BY t.opened_at LIMIT most FOR UPDATE SKIP LOCKED
        LOOP
            looked := looked + 1;
            IF register._was_used(found.number) THEN
                UPDATE public.{table} SET settled = true WHERE id = found.id;
            ELSE
                UPDATE public.{table} SET settled = true, lapsed_at = clock_timestamp() WHERE id = found.id;
                PERFORM register._record('register:lapse', '{subject}:' || found.id, 'system', NULL,
                    {"found.organisation_id" if table == "register_searches" else "NULL"}, NULL, NULL, NULL, NULL,
                    format('{{"entry":%s}}', found.entry_id));
            END IF;
        END LOOP;
    """


_LAPSE = f"""
    DECLARE
        found record;
        looked integer := 0;
        before timestamptz;
    BEGIN
        {_FRESH_SNAPSHOT}
        {_lapsing("register_searches", "search")}
        {_lapsing("register_tickets", "ticket")}
        -- One that another may still have to be told by stays.
        SELECT least(min(s.opened_at), clock_timestamp() - interval '{KEPT}') INTO before
        FROM (SELECT opened_at FROM public.register_searches WHERE NOT settled
            UNION ALL SELECT opened_at FROM public.register_tickets WHERE NOT settled) s;
        DELETE FROM public.register_tickets t WHERE t.id IN (
            SELECT o.id FROM public.register_tickets o WHERE o.opened_at < before ORDER BY o.opened_at LIMIT most);
        RETURN looked;
    END
"""


def sequences() -> list[str]:
    """The numbers of tickets, and the slots. None of them is granted to anybody."""
    return [
        "CREATE SEQUENCE register.numbers CACHE 1",
        *(f"CREATE SEQUENCE register.used_{slot} CACHE 1" for slot in range(SLOTS)),
    ]


def functions() -> list[str]:
    """What every part of the register rests on. Only ``lapse`` is anybody's to call: the worker's."""
    return [
        function(
            "_who(token text, wanted_roles text[], step_up boolean)",
            "TABLE (staff_id uuid, organisation_id uuid, everywhere boolean, areas integer[], teams uuid[])",
            _WHO,
        ),
        function("_resident(token text)", "bigint", _RESIDENT),
        function(
            "_record(event text, subject text, actor_kind text, actor_id text, organisation uuid, area text, "
            "s62 text, why text, origin text, detail text)",
            "bigint",
            _RECORD,
        ),
        function("_slot(number bigint)", "regclass", f"BEGIN {_SLOT} END"),
        function("_last(number bigint)", "bigint", f"BEGIN {_LAST} END"),
        function("_number()", "TABLE (number bigint, saw bigint)", _NUMBER),
        function(
            "_ticket(act text, entry bigint, staff uuid, contact bigint, subject uuid)", "uuid", _TICKET
        ),
        function(
            "_use(number bigint, saw bigint, opened_at timestamptz, opened_xid xid8, settled boolean)",
            "void",
            _USE,
        ),
        function("_redeem(ticket uuid, act text, staff uuid, contact bigint)", "uuid", _REDEEM),
        function("_was_used(wanted bigint)", "boolean", _WAS_USED),
        function("lapse(most integer)", "integer", _LAPSE),
        opened("lapse(integer)", WORKER),
    ]


def drop() -> list[str]:
    """The way back: every function of the schema, whatever rests on it, and the sequences."""
    every = "SELECT oid FROM pg_proc WHERE pronamespace = 'register'::regnamespace"
    each = "EXECUTE 'DROP FUNCTION IF EXISTS ' || one || ' CASCADE';"
    return [
        f"DO $$ DECLARE one regprocedure; BEGIN FOR one IN {every} LOOP {each} END LOOP; END $$",
        "DROP SEQUENCE register.numbers",
        *(f"DROP SEQUENCE register.used_{slot}" for slot in range(SLOTS)),
    ]
