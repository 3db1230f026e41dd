"""The SQL of what owners answer and what of it is shown: answers, disclosures, boards and schedules.

Everything here goes through a ticket: the entry on the record is committed before anything is written or read
(decision 0039). Names that come in begin with `the_`, so that none can be taken for a column.
"""

from __future__ import annotations

from migrations.ground_sql import APP

Function = tuple[str, str, str, str]  # name and arguments, what it returns, body, who may call it

STAFF = "ARRAY['investigator', 'supervisor']"

# Who holds the role today, wherever: of the organisation that they belong to.
_SUPERVISES = """
    EXISTS (SELECT 1 FROM public.role_grants g WHERE g.staff_id = who.staff_id
        AND g.organisation_id = who.organisation_id AND g.role = 'supervisor'
        AND g.taken_at IS NULL AND g.starts_at <= clock_timestamp() AND g.ends_at > clock_timestamp())
"""
MINE = f"""
    ({_SUPERVISES} OR EXISTS (SELECT 1 FROM public.register_searches m
        WHERE m.staff_id = who.staff_id AND m.investigation_id = %s))
"""


# Says nothing of whether the contact was asked: that could be found out, and the entry rolled back.
_OPEN_ANSWER = """
    DECLARE
        q public.camera_requests;
        entry bigint;
    BEGIN
        SELECT * INTO q FROM public.camera_requests r WHERE r.dispatch_id = the_dispatch
            AND r.state = 'asking' AND r.expires_at > now();
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such open request' USING ERRCODE = 'WR007', DETAIL = 'request';
        END IF;
        entry := register._record('request:answer', 'request:' || q.id, 'owner', CAST(the_contact AS text),
            q.organisation_id, NULL, 'collection', NULL, 'web', format('{"investigation":"%s"}', q.investigation_id));
        RETURN register._ticket('answer', entry, NULL, the_contact, q.id);
    END
"""
_FACTS = """
    jsonb_build_object('kind', o.kind, 'reach_how', o.reach_how, 'reach_when', o.reach_when, 'cameras', coalesce((
        SELECT jsonb_agg(jsonb_build_object('kind', c.kind, 'postcode', c.postcode, 'easting', round(c.at[0]),
            'northing', round(c.at[1]), 'bearing', c.bearing, 'field', c.field, 'reach', c.reach, 'height', c.height,
            'night', c.night, 'audio', c.audio, 'covers', c.covers, 'days_kept', c.days_kept) ORDER BY c.id)
        FROM public.cameras c WHERE c.id = ANY(r.camera_ids)), '[]'))
"""
_ANSWER = f"""
    DECLARE
        request uuid := register._redeem(the_ticket, 'answer', NULL, the_contact);
        q public.camera_requests;
        o public.camera_owners;
        r public.request_recipients;
        entry bigint;
    BEGIN
        SELECT * INTO q FROM public.camera_requests x WHERE x.id = request AND x.state = 'asking' AND x.expires_at > now();
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such open request' USING ERRCODE = 'WR007', DETAIL = 'request';
        END IF;
        SELECT x.* INTO r FROM public.request_recipients x JOIN public.camera_owners w ON w.id = x.owner_id
            WHERE x.request_id = request AND w.contact_id = the_contact FOR UPDATE OF x;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        UPDATE public.request_recipients x SET answer = the_answer, note_enc = the_note, answered_at = now()
            WHERE x.id = r.id;
        IF the_answer IN ('have-it', 'call-me') AND NOT EXISTS (
            SELECT 1 FROM public.disclosures d WHERE d.request_id = request AND d.owner_id = r.owner_id)
        THEN
            SELECT * INTO STRICT o FROM public.camera_owners w WHERE w.id = r.owner_id;
            entry := register._record('register:disclose', 'request:' || request, 'owner', CAST(the_contact AS text),
                q.organisation_id, NULL, 'disclosure', NULL, 'web',
                format('{{"answer":"%s","investigation":"%s","owner":"%s"}}', the_answer, q.investigation_id, o.id));
            INSERT INTO public.disclosures (id, request_id, investigation_id, organisation_id, owner_id, answer, channel,
                name_enc, address_enc, note_enc, facts, entry_id, made_xid, at)
            SELECT gen_random_uuid(), request, q.investigation_id, q.organisation_id, o.id, the_answer, p.channel,
                o.name_enc, p.address_enc, the_note, {_FACTS}, entry, pg_current_xact_id(), now()
            FROM public.contact_points p WHERE p.id = o.contact_id;
        END IF;
        RETURN true;
    END
"""


def _opens(act: str, event: str, s62: str) -> str:
    return f"""
    DECLARE
        who record;
        entry bigint;
    BEGIN
        SELECT * INTO who FROM register._who(the_token, {STAFF}, true);
        IF NOT EXISTS (SELECT 1 FROM public.investigations i WHERE i.id = the_investigation
            AND i.organisation_id = who.organisation_id) OR NOT {MINE % "the_investigation"}
        THEN
            RAISE EXCEPTION 'no such investigation of theirs' USING ERRCODE = 'WR007', DETAIL = 'case';
        END IF;
        entry := register._record({event}, 'investigation:' || the_investigation, 'staff',
            CAST(who.staff_id AS text), who.organisation_id, NULL, {s62}, NULL, 'web', NULL);
        RETURN register._ticket('{act}', entry, who.staff_id, NULL, the_investigation);
    END
"""


# Who has not answered, or answered no, is counted in bands and never shown. A disclosure made in this very transaction
# is not shown either: it could be rolled back, and its entry with it.
_PARTS = """part text, id uuid, request_id uuid, answer text, at timestamptz, name_enc bytea, address_enc bytea,
    channel text, note_enc bytea, facts jsonb"""
_NOTHING = "NULL::timestamptz, NULL::bytea, NULL::bytea, NULL::text, NULL::bytea"


def _runs(act: str) -> str:
    return f"""
    DECLARE
        who record;
        case_id uuid;
        entry bigint;
    BEGIN
        SELECT * INTO who FROM register._who(the_token, {STAFF}, true);
        case_id := register._redeem(the_ticket, '{act}', who.staff_id, NULL);
        SELECT t.entry_id INTO STRICT entry FROM public.register_tickets t WHERE t.id = the_ticket;
        RETURN QUERY SELECT 'entry', the_ticket, NULL::uuid, NULL::text, {_NOTHING}, jsonb_build_object('entry', entry);
        RETURN QUERY SELECT 'tally', q.id, q.id, NULL::text, {_NOTHING}, (
                SELECT jsonb_object_agg(a.answer, register._asked_band((
                    SELECT count(*) FROM public.request_recipients r WHERE r.request_id = q.id
                        AND coalesce(r.answer, 'none') = a.answer)))
                FROM unnest(ARRAY['have-not', 'overwritten', 'not-again', 'none']) AS a(answer))
            FROM public.camera_requests q WHERE q.investigation_id = case_id ORDER BY q.opened_at, q.id LIMIT 200;
        RETURN QUERY SELECT 'disclosure', d.id, d.request_id, coalesce(r.answer, d.answer), d.at, d.name_enc,
                d.address_enc, d.channel, coalesce(r.note_enc, d.note_enc), d.facts
            FROM public.disclosures d LEFT JOIN public.request_recipients r
                ON r.request_id = d.request_id AND r.owner_id = d.owner_id
            WHERE d.investigation_id = case_id AND d.made_xid <> pg_current_xact_id()
                AND (the_after IS NULL OR (d.at, d.id) > (the_after, the_after_id))
            ORDER BY d.at, d.id LIMIT least(greatest(the_most, 1), 5001);
    END
"""


_PAGE = "the_ticket uuid, the_token text, the_after timestamptz, the_after_id uuid, the_most integer"

FUNCTIONS: tuple[Function, ...] = (
    ("open_answer(the_dispatch uuid, the_contact bigint)", "uuid", _OPEN_ANSWER, APP),
    ("answer(the_ticket uuid, the_contact bigint, the_answer text, the_note bytea)", "boolean", _ANSWER, APP),
    (
        "open_board(the_token text, the_investigation uuid)", "uuid",
        _opens("board", "'board:read'", "'consultation'"), APP,
    ),
    (f"run_board({_PAGE})", f"TABLE ({_PARTS})", _runs("board"), APP),
    (
        "open_schedule(the_token text, the_investigation uuid)", "uuid",
        _opens("schedule", "'schedule:export'", "'disclosure'"), APP,
    ),
    (f"run_schedule({_PAGE})", f"TABLE ({_PARTS})", _runs("schedule"), APP),
)  # fmt: skip
