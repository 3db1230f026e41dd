"""The SQL of requests to owners: functions of the schema `register`, and who may call them.

Nothing here tells the app whom a request goes to. It asks (`ask`), and commits; a worker picks the owners by exact
geometry (`pick`) and sends (decision 0039). What they answer is in `register_disclosures_sql`.

Names that come in begin with `the_`, so that none can be taken for a column.
"""

from __future__ import annotations

from migrations import register_disclosures_sql, register_gate_sql
from migrations.ground_sql import APP, WORKER
from migrations.register_disclosures_sql import MINE, STAFF, Function
from migrations.register_sql import GATE

MOST_REQUESTS = 2  # of one investigation to one owner, unless a supervisor lifts that
LONGEST_DAYS = 14
MOST_LOOK_FOR = 8_000  # bytes, encrypted
SEARCH_HOURS = 24

# What the gate may do besides: `migrations/register_sql.py` has the rest.
GATE_RIGHTS = {
    "camera_requests": "UPDATE (asked_band, thanked_at)",
    "contact_points": "SELECT (address_enc)",
}
TAKEN_BACK = [f"REVOKE SELECT (address_enc) ON contact_points FROM {GATE}"]

_BAND = """
    BEGIN RETURN CASE WHEN the_count < 3 THEN 'fewer than 3' WHEN the_count <= 5 THEN '3 to 5'
        WHEN the_count <= 10 THEN '6 to 10' WHEN the_count <= 20 THEN '11 to 20'
        WHEN the_count <= 50 THEN '21 to 50' ELSE 'more than 50' END; END
"""

_ASK = f"""
    DECLARE
        who record;
        s public.register_searches;
        before public.camera_requests;
    BEGIN
        SELECT * INTO who FROM register._who(the_token, {STAFF}, true);
        SELECT * INTO s FROM public.register_searches r WHERE r.id = the_search AND r.staff_id = who.staff_id
            AND r.lapsed_at IS NULL AND r.opened_at > now() - interval '{SEARCH_HOURS} hours';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such search of theirs' USING ERRCODE = 'WR007', DETAIL = 'search';
        END IF;
        SELECT * INTO before FROM public.camera_requests q WHERE q.id = the_id;
        IF FOUND THEN  -- a double click is one request
            IF before.staff_id <> who.staff_id OR before.search_id <> the_search THEN
                RAISE EXCEPTION 'another request has this id' USING ERRCODE = 'WR007', DETAIL = 'search';
            END IF;
            RETURN the_id;
        END IF;
        IF EXISTS (SELECT 1 FROM public.investigations i WHERE i.id = s.investigation_id AND i.closed_at IS NOT NULL) THEN
            RAISE EXCEPTION 'the investigation is closed' USING ERRCODE = 'WR005', DETAIL = 'closed';
        END IF;
        IF the_cells IS NOT NULL AND (cardinality(the_cells) = 0 OR NOT the_cells <@ s.cells) THEN
            RAISE EXCEPTION 'cells that the search did not touch' USING ERRCODE = 'WR003', DETAIL = 'cells';
        END IF;
        IF the_look_for IS NULL OR octet_length(the_look_for) NOT BETWEEN 30 AND {MOST_LOOK_FOR} THEN
            RAISE EXCEPTION 'no words to look for' USING ERRCODE = 'WR003', DETAIL = 'look_for';
        END IF;
        IF the_expires IS NULL OR the_expires < now() + interval '1 hour'
            OR the_expires > now() + interval '{LONGEST_DAYS} days'
        THEN
            RAISE EXCEPTION 'open for too short or too long' USING ERRCODE = 'WR006', DETAIL = 'expires';
        END IF;
        IF the_lift IS NOT NULL THEN
            UPDATE public.register_lifts l SET used_at = now()
            WHERE l.id = the_lift AND l.staff_id = who.staff_id AND l.investigation_id = s.investigation_id
                AND l.cap = 'requests' AND l.used_at IS NULL AND l.expires_at > now();
            IF NOT FOUND THEN
                RAISE EXCEPTION 'no such leave' USING ERRCODE = 'WR004', DETAIL = 'lift';
            END IF;
        END IF;
        PERFORM register._record('request:open', 'request:' || the_id, 'staff', CAST(who.staff_id AS text),
            who.organisation_id, NULL, 'combination', NULL, 'web',
            format('{{"cells":%s,"investigation":"%s","search":"%s"}}',
                coalesce(CAST(cardinality(the_cells) AS text), 'null'), s.investigation_id, s.id));
        INSERT INTO public.camera_requests (id, search_id, investigation_id, organisation_id, staff_id, look_for_enc,
            window_from, window_to, cells, opened_at, expires_at, lift_id)
        VALUES (the_id, s.id, s.investigation_id, who.organisation_id, who.staff_id, the_look_for, s.window_from,
            s.window_to, the_cells, now(), the_expires, the_lift);
        RETURN the_id;
    END
"""

# Whose footage of the window is not all gone. The search's own shape, exactly; the box lets the index find them.
_CAMERAS = """
    SELECT c.owner_id, array_agg(c.id ORDER BY c.id) AS cameras, min(CASE
        WHEN q.window_from + make_interval(days => c.days_kept) > now()
            THEN q.window_from + make_interval(days => c.days_kept)
        ELSE q.window_to + make_interval(days => c.days_kept) END) AS gone_at
    FROM public.cameras c
    WHERE c.live AND (q.cells IS NULL OR c.cell_id = ANY(q.cells))
        AND q.window_to + make_interval(days => c.days_kept) > now() AND %s
    GROUP BY c.owner_id
"""
_STANDS_THERE = """
    c.at <@ around AND register.within(s.kind, s.centre, s.radius, s.outline, s.route, c.at)
"""
_SEES_THERE = """
    c.sector && polygon(around)
    AND CASE WHEN s.outline IS NULL THEN register.sees(c.at, c.bearing, c.field, c.reach, s.centre)
        ELSE c.sector && s.outline END
"""
_TAKE = f"""
    INSERT INTO public.request_recipients (id, request_id, owner_id, camera_ids, asked_at, overwritten_at)
    SELECT gen_random_uuid(), q.id, o.id, seen.cameras, now(), seen.gone_at
    FROM (%s) seen JOIN public.camera_owners o ON o.id = seen.owner_id
    JOIN public.contact_points p ON p.id = o.contact_id
    WHERE o.state = 'active' AND o.controller_id = q.organisation_id AND p.confirmed_at IS NOT NULL
        AND NOT EXISTS (
            SELECT 1 FROM public.request_recipients r JOIN public.camera_requests x ON x.id = r.request_id
            WHERE r.owner_id = o.id AND x.investigation_id = q.investigation_id AND r.answer = 'not-again')
        AND (q.lift_id IS NOT NULL OR {MOST_REQUESTS} > (
            SELECT count(*) FROM public.request_recipients r JOIN public.camera_requests x ON x.id = r.request_id
            WHERE r.owner_id = o.id AND x.investigation_id = q.investigation_id))
"""

_PICK = f"""
    DECLARE
        q public.camera_requests;
        s public.register_searches;
        around box;
        taken bigint;
    BEGIN
        SELECT * INTO q FROM public.camera_requests r
        WHERE r.id = the_request AND r.state = 'asking' AND r.asked_band = '' AND r.expires_at > now() FOR UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        -- Two requests of one investigation are counted one after the other.
        PERFORM pg_advisory_xact_lock(hashtextextended('register.requests:' || q.investigation_id, 0));
        SELECT * INTO STRICT s FROM public.register_searches r WHERE r.id = q.search_id;
        around := register.bounds(s.kind, s.centre, s.radius, s.outline, s.route);
        IF s.kind = 'view' THEN
            {_TAKE % (_CAMERAS % _SEES_THERE)};
        ELSE
            {_TAKE % (_CAMERAS % _STANDS_THERE)};
        END IF;
        GET DIAGNOSTICS taken = ROW_COUNT;
        UPDATE public.camera_requests r SET asked_band = register._asked_band(taken),
            dispatch_id = CASE WHEN taken > 0 THEN the_dispatch END
        WHERE r.id = q.id;
        RETURN QUERY SELECT o.contact_id, p.channel FROM public.request_recipients r
            JOIN public.camera_owners o ON o.id = r.owner_id JOIN public.contact_points p ON p.id = o.contact_id
            WHERE r.request_id = q.id ORDER BY o.contact_id;
    END
"""

_CLOSE = f"""
    DECLARE
        who record;
        q public.camera_requests;
    BEGIN
        SELECT * INTO who FROM register._who(the_token, {STAFF}, false);
        SELECT * INTO q FROM public.camera_requests r
            WHERE r.id = the_request AND r.organisation_id = who.organisation_id FOR UPDATE;
        IF NOT FOUND OR NOT {MINE % "q.investigation_id"} THEN
            RAISE EXCEPTION 'no such request of theirs' USING ERRCODE = 'WR007', DETAIL = 'case';
        END IF;
        IF q.state <> 'asking' THEN
            RETURN false;
        END IF;
        PERFORM register._record('request:close', 'request:' || q.id, 'staff', CAST(who.staff_id AS text),
            who.organisation_id, NULL, 'alteration', the_why, 'web', format('{{"investigation":"%s"}}', q.investigation_id));
        UPDATE public.camera_requests r SET state = 'closed', closed_at = now(), closed_why = the_why,
            outcome_enc = the_outcome WHERE r.id = q.id;
        RETURN true;
    END
"""

# `thanked_at` is said for its index: it holds what is not over, and not every request that ever was.
_EXPIRE = """
    DECLARE
        q record;
        over integer := 0;
    BEGIN
        FOR q IN
            UPDATE public.camera_requests r SET state = 'expired', closed_at = the_now
            WHERE r.state = 'asking' AND r.thanked_at IS NULL AND r.expires_at <= the_now
            RETURNING r.id, r.organisation_id, r.investigation_id
        LOOP
            over := over + 1;
            PERFORM register._record('request:expire', 'request:' || q.id, 'system', NULL, q.organisation_id, NULL, NULL,
                NULL, 'worker:cameras', format('{"investigation":"%s"}', q.investigation_id));
        END LOOP;
        RETURN over;
    END
"""

# Once, and to nobody who was asked a moment ago.
_REMIND = """
    BEGIN
        RETURN QUERY WITH due AS (
            SELECT r.id FROM public.request_recipients r
            WHERE r.overwritten_at > the_now AND r.overwritten_at <= the_now + interval '48 hours'
                AND r.answer IS NULL AND r.reminded_at IS NULL AND r.asked_at <= the_now - interval '12 hours'
                AND EXISTS (SELECT 1 FROM public.camera_requests q WHERE q.id = r.request_id AND q.state = 'asking'
                    AND q.expires_at > the_now AND q.dispatch_id IS NOT NULL)
            ORDER BY r.overwritten_at LIMIT the_most FOR UPDATE OF r SKIP LOCKED
        )
        UPDATE public.request_recipients r SET reminded_at = the_now
        FROM due, public.camera_owners o, public.camera_requests q
        WHERE r.id = due.id AND o.id = r.owner_id AND o.state = 'active' AND q.id = r.request_id
        RETURNING q.id, q.dispatch_id, q.organisation_id, o.contact_id;
    END
"""

# Everybody who looked is thanked, once, when there is no more to answer.
_THANK = """
    BEGIN
        RETURN QUERY WITH over AS (
            SELECT q.id FROM public.camera_requests q WHERE q.thanked_at IS NULL AND q.state <> 'asking'
            ORDER BY q.id LIMIT 20 FOR UPDATE OF q SKIP LOCKED
        ), thanked AS (
            UPDATE public.camera_requests q SET thanked_at = the_now FROM over WHERE q.id = over.id
            RETURNING q.id, q.dispatch_id, q.organisation_id
        )
        SELECT t.id, t.dispatch_id, t.organisation_id, o.contact_id
        FROM thanked t JOIN public.request_recipients r ON r.request_id = t.id
        JOIN public.camera_owners o ON o.id = r.owner_id
        WHERE r.answer IN ('have-it', 'have-not', 'overwritten', 'call-me') AND o.state IN ('active', 'paused');
    END
"""

_TOLD = "TABLE (request_id uuid, dispatch_id uuid, organisation_id uuid, contact_id bigint)"
_ASKED = """the_token text, the_id uuid, the_search uuid, the_cells integer[], the_look_for bytea,
    the_expires timestamptz, the_lift uuid"""

# (name and arguments, what it returns, body, who may call it), the last as "" for the gate's own.
FUNCTIONS: tuple[Function, ...] = (
    ("_asked_band(the_count bigint)", "text", _BAND, ""),
    (
        f"ask({_ASKED})", "uuid", _ASK, APP,
    ),
    ("pick(the_request uuid, the_dispatch uuid)", "TABLE (contact_id bigint, channel text)", _PICK, WORKER),
    *register_disclosures_sql.FUNCTIONS,
    ("close(the_token text, the_request uuid, the_why text, the_outcome bytea)", "boolean", _CLOSE, APP),
    ("expire(the_now timestamptz)", "integer", _EXPIRE, WORKER),
    ("remind(the_now timestamptz, the_most integer)", _TOLD, _REMIND, WORKER),
    ("thank(the_now timestamptz)", _TOLD, _THANK, WORKER),
)  # fmt: skip


def functions() -> list[str]:
    """Each function made as the gate's own, and given to whoever may call it."""
    made: list[str] = []
    for name, returns, body, grantee in FUNCTIONS:
        made.append(register_gate_sql.function(name, returns, f"\n#variable_conflict use_column\n{body}"))
        if grantee:
            made.append(register_gate_sql.opened(_signature(name), grantee))
    return register_gate_sql.as_gate(made)


def drop() -> list[str]:
    """The way back."""
    return [f"DROP FUNCTION register.{_signature(name)}" for name, *_ in reversed(FUNCTIONS)]


def grants() -> list[str]:
    """What the gate may do besides, one GRANT a table."""
    return [f"GRANT {rights} ON {table} TO {GATE}" for table, rights in GATE_RIGHTS.items()]


def _signature(name: str) -> str:
    """``ask(the_token text, …)`` → ``ask(text, …)``."""
    head, _, arguments = name.rstrip(")").partition("(")
    return f"{head}({', '.join(one.strip().split(' ', 1)[1] for one in arguments.split(','))})"
