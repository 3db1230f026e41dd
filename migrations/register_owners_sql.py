"""The functions by which owners of cameras write and read what is theirs, and the clock erases what nobody renews.

The app has no right on the tables: whoever acts is proved by the token of their own session, each time, in here. A
camera can be matched (``cameras.live``) only under an owner who proved their address and whose consent stands.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER
from migrations.register_cells_sql import CELL_AT
from migrations.register_sql import GATE

# What only functions of the gate may touch, besides those of the first migration of the register.
PRIVATE = ("camera_drafts",)

_GATE_RIGHTS = {
    "camera_drafts": "SELECT, INSERT, DELETE",
    "signups": "SELECT (id, digest, controller_id, purpose, postcode)",
    "confirmations": "SELECT (signup_id, contact_id, used_at)",
    "consents": "SELECT (contact_id, controller_id, purpose, withdrawn_at)",
}
# How far a pin may lie from the centre of its postcode, metres; and how many cameras one owner may have.
FARTHEST, MOST_CAMERAS = 250, 100
_YEAR = "interval '1 year'"
# A page of an owner's log.
LOG_PAGE = 20

_DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# Metres and degrees as PostgreSQL has them: what the page checked is checked again, for the app is not trusted here.
_FACTS = f"""
    CREATE FUNCTION register._facts(a_owner uuid, facts jsonb, a_label bytea, a_camera uuid) RETURNS void
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        spot point := point((facts->>'east')::float8, (facts->>'north')::float8);
        centre point;
        ward text;
        cell integer;
    BEGIN
        SELECT p.at, p.ward_code INTO centre, ward FROM public.postcodes p
        WHERE p.postcode = facts->>'postcode' AND p.live;
        -- NaN is at no distance that is small enough.
        IF centre IS NULL OR NOT coalesce((spot <-> centre) <= {FARTHEST}, false) THEN
            RAISE EXCEPTION 'a camera stands near the centre of its postcode' USING ERRCODE = 'WR003';
        END IF;
        cell := register.cell_at(spot);
        IF cell IS NULL THEN
            RAISE EXCEPTION 'no cell holds this spot' USING ERRCODE = 'WR008';
        END IF;
        INSERT INTO public.cameras AS c (id, owner_id, kind, postcode, at, bearing, field, reach, sector, height, night,
            audio, covers, days_kept, cell_id, ward_code, label_enc)
        VALUES (a_camera, a_owner, facts->>'kind', facts->>'postcode', spot, (facts->>'bearing')::smallint,
            (facts->>'field')::smallint, (facts->>'reach')::smallint,
            register.sector(spot, (facts->>'bearing')::float8, (facts->>'field')::float8, (facts->>'reach')::float8),
            (facts->>'height')::smallint, (facts->>'night')::boolean, (facts->>'audio')::boolean, facts->>'covers',
            (facts->>'days_kept')::smallint, cell, ward, a_label)
        ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, postcode = excluded.postcode, at = excluded.at,
            bearing = excluded.bearing, field = excluded.field, reach = excluded.reach, sector = excluded.sector,
            height = excluded.height, night = excluded.night, audio = excluded.audio, covers = excluded.covers,
            days_kept = excluded.days_kept, cell_id = excluded.cell_id, ward_code = excluded.ward_code,
            label_enc = excluded.label_enc, changed_at = now(),
            -- What is somewhere else is another camera to whoever reads the log of this one.
            created_at = CASE WHEN c.cell_id = excluded.cell_id THEN c.created_at ELSE now() END;
        PERFORM register._settle(a_owner);
    EXCEPTION WHEN check_violation OR not_null_violation OR data_exception THEN
        RAISE EXCEPTION 'a camera as no camera is' USING ERRCODE = 'WR003';
    END $$
"""

_FUNCTIONS = [
    # Whether a camera may be matched follows from its owner's state and its own, and from nothing else.
    f"""
    CREATE FUNCTION register._settle(a_owner uuid) RETURNS void LANGUAGE sql {_DEFINER} AS $$
        UPDATE public.cameras c SET live = (o.state = 'active' AND NOT c.paused)
        FROM public.camera_owners o
        WHERE o.id = a_owner AND c.owner_id = o.id AND c.live <> (o.state = 'active' AND NOT c.paused)
    $$
    """,
    _FACTS,
    # An owner, locked, whom the bearer of this session may act for: their own address, or the other one of theirs.
    f"""
    CREATE FUNCTION register._owned(token text, a_owner uuid) RETURNS public.camera_owners
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        mine bigint := register._resident(token);
        found public.camera_owners;
    BEGIN
        SELECT o.* INTO found FROM public.camera_owners o
        WHERE o.id = a_owner AND mine IN (o.contact_id, o.other_contact_id) FOR UPDATE;
        IF found.id IS NULL THEN
            RAISE EXCEPTION 'no such owner' USING ERRCODE = 'WR007';
        END IF;
        RETURN found;
    END $$
    """,
    f"""
    CREATE FUNCTION register._owner_of(token text, a_camera uuid) RETURNS public.camera_owners
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        owner uuid;
    BEGIN
        SELECT c.owner_id INTO owner FROM public.cameras c WHERE c.id = a_camera;
        RETURN register._owned(token, owner);
    END $$
    """,
]

_DRAFTS = [
    # Typed in by whoever it was: it opens to nobody but who proves the address. Without a session of staff nobody
    # stood at a door.
    f"""
    CREATE FUNCTION register.keep_draft(a_signup uuid, a_kind text, a_name bytea, a_how text, a_when text,
        a_facts jsonb, a_label bytea, staff_token text) RETURNS void
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        officer uuid;
    BEGIN
        IF NOT EXISTS (SELECT FROM public.signups s WHERE s.id = a_signup AND s.purpose = 'register') THEN
            RAISE EXCEPTION 'no such sign-up' USING ERRCODE = 'WR007';
        END IF;
        IF staff_token IS NOT NULL THEN
            SELECT w.staff_id INTO officer FROM public.web_sessions w
            WHERE w.digest = sha256(convert_to('wardlink.session' || staff_token, 'UTF8'))
              AND w.staff_id IS NOT NULL AND NOT w.half AND w.expires_at > now();
            IF officer IS NULL THEN
                RAISE EXCEPTION 'no session of staff' USING ERRCODE = 'WR001';
            END IF;
        END IF;
        INSERT INTO public.camera_drafts (signup_id, kind, name_enc, reach_how, reach_when, facts, label_enc, staff_id)
        VALUES (a_signup, a_kind, a_name, a_how, a_when, a_facts, a_label, officer);
    END $$
    """,
    # Who proved an address of the sign-up becomes the owner, or the other address of one. Twice is once.
    f"""
    CREATE FUNCTION register.accept_draft(token text, a_signup uuid, a_camera uuid, a_owner uuid) RETURNS jsonb
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        mine bigint := register._resident(token);
        draft public.camera_drafts;
        controller uuid;
        owner public.camera_owners;
    BEGIN
        SELECT s.controller_id INTO controller FROM public.signups s
        JOIN public.confirmations c ON c.signup_id = s.id AND c.contact_id = mine AND c.used_at IS NOT NULL
        WHERE s.id = a_signup AND s.purpose = 'register' LIMIT 1;
        IF controller IS NULL THEN
            RAISE EXCEPTION 'this address was not proved for it' USING ERRCODE = 'WR007';
        END IF;
        IF NOT EXISTS (
            SELECT FROM public.consents k WHERE k.contact_id = mine AND k.controller_id = controller
              AND k.purpose = 'register' AND k.withdrawn_at IS NULL)
        THEN
            RAISE EXCEPTION 'nobody agreed to it' USING ERRCODE = 'WR001';
        END IF;
        -- Two addresses of one sign-up are proved one after the other.
        PERFORM pg_advisory_xact_lock(hashtextextended(a_signup::text, 0));
        DELETE FROM public.camera_drafts d WHERE d.signup_id = a_signup RETURNING d.* INTO draft;
        IF draft.signup_id IS NULL THEN
            UPDATE public.camera_owners o SET other_contact_id = mine
            WHERE o.controller_id = controller AND o.contact_id <> mine AND o.other_contact_id IS NULL
              AND o.contact_id IN (
                SELECT c.contact_id FROM public.confirmations c WHERE c.signup_id = a_signup AND c.used_at IS NOT NULL)
              AND NOT EXISTS (
                SELECT FROM public.camera_owners m WHERE m.contact_id = mine AND m.controller_id = controller)
            RETURNING o.* INTO owner;
            RETURN jsonb_build_object('owner', owner.id, 'camera', NULL, 'ward', NULL);
        END IF;
        INSERT INTO public.camera_owners AS o
            (id, controller_id, contact_id, kind, name_enc, reach_how, reach_when, state, confirmed_at, renew_by, added_by)
        VALUES (a_owner, controller, mine, draft.kind, draft.name_enc, draft.reach_how, draft.reach_when, 'active',
            now(), now() + {_YEAR}, draft.staff_id)
        ON CONFLICT (contact_id, controller_id) DO UPDATE SET
            state = CASE o.state WHEN 'paused' THEN 'paused' ELSE 'active' END,
            confirmed_at = coalesce(o.confirmed_at, now()), renew_by = now() + {_YEAR}, reminded = 0
        RETURNING o.* INTO owner;
        IF (SELECT count(*) FROM public.cameras c WHERE c.owner_id = owner.id) >= {MOST_CAMERAS} THEN
            RAISE EXCEPTION 'cameras' USING ERRCODE = 'WR004';
        END IF;
        PERFORM register._facts(owner.id, draft.facts, draft.label_enc, a_camera);
        RETURN jsonb_build_object('owner', owner.id, 'camera', a_camera, 'staff', draft.staff_id,
            'ward', (SELECT c.ward_code FROM public.cameras c WHERE c.id = a_camera));
    END $$
    """,
]


def _act(name: str, arguments: str, body: str, *, of: str = "owner") -> str:
    """A function by which an owner acts; what of is theirs is proved and locked before ``body`` runs."""
    proof = f"register._owned(token, a_{of})" if of == "owner" else f"register._owner_of(token, a_{of})"
    return f"""
    CREATE FUNCTION register.{name}(token text, a_{of} uuid{arguments}) RETURNS jsonb
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        owner public.camera_owners := {proof};
        ward text;
    BEGIN
        {body}
        RETURN jsonb_build_object('owner', owner.id, 'controller', owner.controller_id, 'contact', owner.contact_id,
            'other', owner.other_contact_id, 'ward', ward);
    END $$
    """


_WARD = "SELECT c.ward_code INTO ward FROM public.cameras c WHERE c.id = a_camera;"
_ACTS = [
    _act(
        "add_camera", ", a_camera uuid, a_facts jsonb, a_label bytea",
        f"""
        IF (SELECT count(*) FROM public.cameras c WHERE c.owner_id = owner.id) >= {MOST_CAMERAS} THEN
            RAISE EXCEPTION 'cameras' USING ERRCODE = 'WR004';
        END IF;
        -- An id that is another's would move that one.
        IF EXISTS (SELECT FROM public.cameras c WHERE c.id = a_camera) THEN
            RAISE EXCEPTION 'this camera is there' USING ERRCODE = 'WR007';
        END IF;
        PERFORM register._facts(owner.id, a_facts, a_label, a_camera);
        {_WARD}
        """,
    ),
    _act(
        "change_camera", ", a_facts jsonb, a_label bytea",
        f"PERFORM register._facts(owner.id, a_facts, a_label, a_camera); {_WARD}", of="camera",
    ),
    _act(
        "pause_camera", ", a_paused boolean",
        f"""
        {_WARD}
        UPDATE public.cameras c SET paused = a_paused, changed_at = now() WHERE c.id = a_camera;
        PERFORM register._settle(owner.id);
        """,
        of="camera",
    ),
    _act("remove_camera", "", f"{_WARD} DELETE FROM public.cameras c WHERE c.id = a_camera;", of="camera"),
    _act(
        "change_owner", ", a_kind text, a_name bytea, a_how text, a_when text",
        """
        UPDATE public.camera_owners o SET kind = a_kind, name_enc = a_name, reach_how = a_how, reach_when = a_when
        WHERE o.id = owner.id;
        """,
    ),
    _act(
        "pause_owner", ", a_until timestamptz",
        """
        UPDATE public.camera_owners o SET state = 'paused', paused_until = a_until
        WHERE o.id = owner.id AND o.state IN ('active', 'paused');
        PERFORM register._settle(owner.id);
        """,
    ),
    _act(
        "resume_owner", "",
        """
        UPDATE public.camera_owners o SET state = 'active', paused_until = NULL
        WHERE o.id = owner.id AND o.state = 'paused';
        PERFORM register._settle(owner.id);
        """,
    ),
    _act(
        "renew_owner", "",
        f"UPDATE public.camera_owners o SET renew_by = now() + {_YEAR}, reminded = 0, reminded_at = NULL "
        "WHERE o.id = owner.id;",
    ),
    _act("leave_register", "", "DELETE FROM public.camera_owners o WHERE o.id = owner.id;"),
]  # fmt: skip

# What an owner is told of searches: of those that touched the cell of a camera since it was there, once their time has
# come. A search whose answer nobody took told nobody anything.
_SEARCHES = f"""
    SELECT coalesce(jsonb_agg(jsonb_build_object('at', s.opened_at, 'purpose', s.purpose, 'by', s.by,
        'cameras', s.cameras) ORDER BY s.opened_at DESC, s.id DESC), '[]')
    FROM (
        SELECT s.id, s.opened_at, s.purpose, g.name AS by,
            (SELECT jsonb_agg(c.id ORDER BY c.created_at, c.id) FROM public.cameras c
             WHERE c.owner_id = ANY(mine) AND c.cell_id = ANY(s.cells) AND c.created_at <= s.opened_at) AS cameras
        FROM public.register_searches s
        JOIN public.organisations g ON g.id = s.organisation_id
        LEFT JOIN public.register_settings r ON r.organisation_id = s.organisation_id
        WHERE s.cells && ARRAY(SELECT DISTINCT c.cell_id FROM public.cameras c WHERE c.owner_id = ANY(mine))
          AND s.lapsed_at IS NULL
          AND s.opened_at + coalesce(r.show_after, interval '28 days') <= now()
          AND NOT EXISTS (SELECT FROM public.search_withholdings w WHERE w.search_id = s.id AND w.until > now())
          AND (before IS NULL OR s.opened_at < before)
          AND EXISTS (
            SELECT FROM public.cameras c
            WHERE c.owner_id = ANY(mine) AND c.cell_id = ANY(s.cells) AND c.created_at <= s.opened_at)
        ORDER BY s.opened_at DESC, s.id DESC LIMIT {LOG_PAGE + 1}
    ) s
"""
_REQUESTS = f"""
    SELECT coalesce(jsonb_agg(jsonb_build_object('at', r.asked_at, 'by', r.name, 'answer', r.answer,
        'answered_at', r.answered_at, 'state', r.state, 'expires_at', r.expires_at) ORDER BY r.asked_at DESC), '[]')
    FROM (
        SELECT p.asked_at, p.answer, p.answered_at, q.state, q.expires_at, g.name
        FROM public.request_recipients p JOIN public.camera_requests q ON q.id = p.request_id
        JOIN public.organisations g ON g.id = q.organisation_id
        WHERE p.owner_id = ANY(mine) ORDER BY p.asked_at DESC LIMIT {LOG_PAGE}
    ) r
"""
_OWNERS = """
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', o.id, 'controller', o.controller_id, 'organisation', g.name,
        'kind', o.kind, 'name', encode(o.name_enc, 'hex'), 'reach_how', o.reach_how, 'reach_when', o.reach_when,
        'state', o.state, 'paused_until', o.paused_until, 'renew_by', o.renew_by, 'other', o.other_contact_id IS NOT NULL,
        'cameras', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'kind', c.kind, 'postcode', c.postcode,
                'east', c.at[0], 'north', c.at[1], 'centre', (
                    SELECT jsonb_build_array(p.at[0], p.at[1]) FROM public.postcodes p WHERE p.postcode = c.postcode),
                'bearing', c.bearing, 'field', c.field, 'reach', c.reach, 'height', c.height, 'night', c.night,
                'audio', c.audio, 'covers', c.covers, 'days_kept', c.days_kept, 'label', encode(c.label_enc, 'hex'),
                'paused', c.paused, 'live', c.live, 'created_at', c.created_at) ORDER BY c.created_at, c.id), '[]')
            FROM public.cameras c WHERE c.owner_id = o.id)) ORDER BY o.created_at, o.id), '[]')
    FROM public.camera_owners o JOIN public.organisations g ON g.id = o.controller_id WHERE o.id = ANY(mine)
"""
_READING = [
    # Whoever has no camera opens nothing, and nothing is on the record of it.
    f"""
    CREATE FUNCTION register.open_own(token text, a_origin text) RETURNS uuid LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        mine bigint := register._resident(token);
        controller uuid;
        competent boolean;
    BEGIN
        SELECT o.controller_id, g.competent_authority INTO controller, competent
        FROM public.camera_owners o JOIN public.organisations g ON g.id = o.controller_id
        WHERE mine IN (o.contact_id, o.other_contact_id) ORDER BY o.created_at, o.id LIMIT 1;
        IF controller IS NULL THEN
            RETURN NULL;
        END IF;
        RETURN register._ticket('own', register._record('camera:own-page', 'contact:' || mine, 'resident', mine::text,
            controller, NULL, CASE WHEN competent THEN 'consultation' END, NULL, a_origin, NULL), NULL, mine, NULL);
    END $$
    """,
    f"""
    CREATE FUNCTION register.run_own(ticket uuid, token text, before timestamptz) RETURNS jsonb
    LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        contact bigint := register._resident(token);
        mine uuid[];
    BEGIN
        PERFORM register._redeem(ticket, 'own', NULL, contact);
        mine := ARRAY(SELECT o.id FROM public.camera_owners o WHERE contact IN (o.contact_id, o.other_contact_id)
            ORDER BY o.created_at, o.id LIMIT 20);
        RETURN jsonb_build_object('owners', ({_OWNERS}), 'searches', ({_SEARCHES}), 'requests', ({_REQUESTS}));
    END $$
    """,
]

_CLOCK = [
    # Picks whom to ask whether they still have their cameras, and notes that they were: a run that is repeated asks
    # nobody twice. ``nth`` 1 or 2.
    f"""
    CREATE FUNCTION register.remind_owners(a_now timestamptz, days integer, nth integer, most integer)
    RETURNS TABLE (owner_id uuid, controller_id uuid, contact_id bigint, other_contact_id bigint, renew_by timestamptz)
    LANGUAGE sql {_DEFINER} AS $$
        UPDATE public.camera_owners o SET reminded = nth, reminded_at = a_now
        WHERE o.id IN (
            SELECT d.id FROM public.camera_owners d
            WHERE d.renew_by <= a_now + make_interval(days => days) AND d.reminded < nth
            ORDER BY d.renew_by, d.id LIMIT least(most, 1000) FOR UPDATE SKIP LOCKED)
        RETURNING o.id, o.controller_id, o.contact_id, o.other_contact_id, o.renew_by
    $$
    """,
    # Silence: who was asked twice, and the second time long enough ago, is gone with all that the register holds.
    f"""
    CREATE FUNCTION register.lapse_owners(a_now timestamptz, most integer)
    RETURNS TABLE (owner_id uuid, controller_id uuid, contact_id bigint, other_contact_id bigint)
    LANGUAGE sql {_DEFINER} AS $$
        DELETE FROM public.camera_owners o WHERE o.id IN (
            SELECT d.id FROM public.camera_owners d
            WHERE d.renew_by <= a_now AND d.reminded >= 2 AND d.reminded_at <= a_now - interval '6 days'
            ORDER BY d.renew_by, d.id LIMIT least(most, 10000) FOR UPDATE SKIP LOCKED)
        RETURNING o.id, o.controller_id, o.contact_id, o.other_contact_id
    $$
    """,
    f"""
    CREATE FUNCTION register.wake_owners(a_now timestamptz, most integer)
    RETURNS TABLE (owner_id uuid, controller_id uuid) LANGUAGE plpgsql {_DEFINER} AS $$
    DECLARE
        woken record;
    BEGIN
        FOR woken IN
            UPDATE public.camera_owners o SET state = 'active', paused_until = NULL
            WHERE o.id IN (
                SELECT d.id FROM public.camera_owners d WHERE d.state = 'paused' AND d.paused_until <= a_now
                ORDER BY d.paused_until, d.id LIMIT least(most, 1000) FOR UPDATE SKIP LOCKED)
            RETURNING o.id, o.controller_id
        LOOP
            PERFORM register._settle(woken.id);
            owner_id := woken.id;
            controller_id := woken.controller_id;
            RETURN NEXT;
        END LOOP;
    END $$
    """,
    f"""
    CREATE FUNCTION register.oldest_owner() RETURNS timestamptz LANGUAGE sql STABLE {_DEFINER} AS $$
        SELECT min(o.renew_by) FROM public.camera_owners o
    $$
    """,
]

# Whichever way consent to the register ends (leaving, "it was not me", the end of an organisation), the owner is out of
# every search in the same moment.
_WITHDRAWN = f"""
    CREATE FUNCTION register._withdrawn() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$
    BEGIN
        DELETE FROM public.camera_owners o
        WHERE o.contact_id = OLD.contact_id AND o.controller_id = OLD.controller_id;
        UPDATE public.camera_owners o SET other_contact_id = NULL
        WHERE o.other_contact_id = OLD.contact_id AND o.controller_id = OLD.controller_id;
        RETURN NULL;
    END $$
"""
_TRIGGER = """
    CREATE TRIGGER consents_register AFTER UPDATE OF withdrawn_at ON consents FOR EACH ROW
    WHEN (OLD.purpose = 'register' AND OLD.withdrawn_at IS NULL AND NEW.withdrawn_at IS NOT NULL)
    EXECUTE FUNCTION register._withdrawn()
"""

# An address that was given for the register alone goes with it. It runs as the owner of the tables, for a worker may not
# erase; and takes nobody who ever agreed to anything else, wrote to us, or is somebody's by name.
_FORGET = """
    CREATE FUNCTION forget_addresses(ids bigint[], pseudonyms bytea[], a_now timestamptz) RETURNS SETOF bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        gone bigint[] := ARRAY(
            SELECT c.id FROM public.contact_points c
            WHERE c.id = ANY(ids)
              AND EXISTS (SELECT FROM public.consents k WHERE k.contact_id = c.id AND k.purpose = 'register')
              AND NOT EXISTS (
                SELECT FROM public.consents k
                WHERE k.contact_id = c.id AND (k.purpose <> 'register' OR k.withdrawn_at IS NULL))
              AND NOT EXISTS (SELECT FROM public.subscriptions s WHERE s.contact_id = c.id)
              AND NOT EXISTS (SELECT FROM public.replies r WHERE r.contact_id = c.id)
              AND NOT EXISTS (SELECT FROM public.person_contact_points p WHERE p.contact_id = c.id)
              AND NOT EXISTS (SELECT FROM public.camera_owners o WHERE c.id IN (o.contact_id, o.other_contact_id))
            ORDER BY c.id FOR UPDATE);
    BEGIN
        INSERT INTO public.erasures (contact_id, at) SELECT g.id, a_now FROM unnest(gone) AS g(id) ORDER BY 1
        ON CONFLICT DO NOTHING;
        UPDATE public.consents c SET pseudonym = e.pseudonym, contact_id = NULL
        FROM unnest(ids, pseudonyms) AS e(id, pseudonym) WHERE c.contact_id = e.id AND e.id = ANY(gone);
        UPDATE public.deliveries d SET provider_ref = NULL FROM (
            SELECT f.dispatch_id, f.contact_id FROM public.deliveries f
            WHERE f.contact_id = ANY(gone) AND f.provider_ref IS NOT NULL
            ORDER BY f.dispatch_id, f.contact_id FOR UPDATE) named
        WHERE d.dispatch_id = named.dispatch_id AND d.contact_id = named.contact_id;
        DELETE FROM public.contact_points c WHERE c.id = ANY(gone);
        RETURN QUERY SELECT g.id FROM unnest(gone) AS g(id);
    END $$
"""

_CAMERA = "jsonb, bytea"
# Function and the types of its arguments: who may call it.
OPEN = {
    "keep_draft(uuid, text, bytea, text, text, jsonb, bytea, text)": (APP,),
    "accept_draft(text, uuid, uuid, uuid)": (APP,),
    f"add_camera(text, uuid, uuid, {_CAMERA})": (APP,),
    f"change_camera(text, uuid, {_CAMERA})": (APP,),
    "pause_camera(text, uuid, boolean)": (APP,),
    "remove_camera(text, uuid)": (APP,),
    "change_owner(text, uuid, text, bytea, text, text)": (APP,),
    "pause_owner(text, uuid, timestamptz)": (APP,),
    "resume_owner(text, uuid)": (APP,),
    "renew_owner(text, uuid)": (APP,),
    "leave_register(text, uuid)": (APP,),
    "open_own(text, text)": (APP,),
    "run_own(uuid, text, timestamptz)": (APP,),
    "remind_owners(timestamptz, integer, integer, integer)": (WORKER,),
    "lapse_owners(timestamptz, integer)": (WORKER,),
    "wake_owners(timestamptz, integer)": (WORKER,),
    "oldest_owner()": (WORKER,),
}
_HIDDEN = (
    "cell_at(point)",
    "_settle(uuid)", "_facts(uuid, jsonb, bytea, uuid)", "_owned(text, uuid)", "_owner_of(text, uuid)", "_withdrawn()",
)  # fmt: skip


def make() -> list[str]:
    """Rights of the gate, its functions, and who may call them."""
    return [
        *(f"GRANT {rights} ON {table} TO {GATE}" for table, rights in _GATE_RIGHTS.items()),
        f"SET LOCAL ROLE {GATE}",
        *(CELL_AT, *_FUNCTIONS, *_DRAFTS, *_ACTS, *_READING, *_CLOCK, _WITHDRAWN),
        *(f"REVOKE ALL ON FUNCTION register.{function} FROM PUBLIC" for function in (*_HIDDEN, *OPEN)),
        *(
            f"GRANT EXECUTE ON FUNCTION register.{function} TO {', '.join(roles)}"
            for function, roles in OPEN.items()
        ),
        "RESET ROLE",
        _TRIGGER,
        _FORGET,
        "REVOKE ALL ON FUNCTION forget_addresses(bigint[], bytea[], timestamptz) FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION forget_addresses(bigint[], bytea[], timestamptz) TO {APP}, {WORKER}",
    ]


def drop() -> list[str]:
    """The way back."""
    return [
        "DROP FUNCTION forget_addresses(bigint[], bytea[], timestamptz)",
        "DROP TRIGGER consents_register ON consents",
        f"SET LOCAL ROLE {GATE}",
        *(f"DROP FUNCTION register.{function}" for function in (*OPEN, *reversed(_HIDDEN))),
        "RESET ROLE",
        *(f"REVOKE ALL ON {table} FROM {GATE}" for table in _GATE_RIGHTS if table not in PRIVATE),
    ]
