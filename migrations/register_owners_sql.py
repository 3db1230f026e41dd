"""The functions by which owners of cameras write and read what is theirs, and the clock erases what nobody renews.

The app has no right on the tables: whoever acts is proved by the token of their own session, each time, in here. A
camera can be matched (``cameras.live``) only under an owner who proved their address and whose consent stands.
"""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER
from migrations.register_cells_sql import CELL_AT
from migrations.register_owners_reading_sql import CLOCK, DEFINER, READING
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


# Metres and degrees as PostgreSQL has them: what the page checked is checked again, for the app is not trusted here.
_FACTS = f"""
    CREATE FUNCTION register._facts(a_owner uuid, facts jsonb, a_label bytea, a_camera uuid) RETURNS void
    LANGUAGE plpgsql {DEFINER} AS $$
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
    CREATE FUNCTION register._settle(a_owner uuid) RETURNS void LANGUAGE sql {DEFINER} AS $$
        UPDATE public.cameras c SET live = (o.state = 'active' AND NOT c.paused)
        FROM public.camera_owners o
        WHERE o.id = a_owner AND c.owner_id = o.id AND c.live <> (o.state = 'active' AND NOT c.paused)
    $$
    """,
    _FACTS,
    # An owner, locked, whom the bearer of this session may act for: their own address, or the other one of theirs.
    f"""
    CREATE FUNCTION register._owned(token text, a_owner uuid) RETURNS public.camera_owners
    LANGUAGE plpgsql {DEFINER} AS $$
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
    LANGUAGE plpgsql {DEFINER} AS $$
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
    LANGUAGE plpgsql {DEFINER} AS $$
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
    LANGUAGE plpgsql {DEFINER} AS $$
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
    LANGUAGE plpgsql {DEFINER} AS $$
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

# Whichever way consent to the register ends (leaving, "it was not me", the end of an organisation), the owner is out of
# every search in the same moment.
_WITHDRAWN = f"""
    CREATE FUNCTION register._withdrawn() RETURNS trigger LANGUAGE plpgsql {DEFINER} AS $$
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
              AND NOT EXISTS (SELECT FROM public.camera_owners o WHERE o.contact_id = c.id)
              AND NOT EXISTS (SELECT FROM public.camera_owners o WHERE o.other_contact_id = c.id)
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
        *(CELL_AT, *_FUNCTIONS, *_DRAFTS, *_ACTS, *READING, *CLOCK, _WITHDRAWN),
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
