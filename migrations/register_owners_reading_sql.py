"""Owners of cameras: reading their own page in two steps, and what the clock does.

``register_owners_sql`` makes these functions and says who may call them.
"""

from __future__ import annotations

DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
# A page of an owner's log.
LOG_PAGE = 20

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
READING = [
    # Whoever has no camera opens nothing, and nothing is on the record of it.
    f"""
    CREATE FUNCTION register.open_own(token text, a_origin text) RETURNS uuid LANGUAGE plpgsql {DEFINER} AS $$
    DECLARE
        mine bigint := register._resident(token);
        controller uuid;
        competent boolean;
    BEGIN
        SELECT o.controller_id, g.competent_authority INTO controller, competent
        FROM public.camera_owners o JOIN public.organisations g ON g.id = o.controller_id
        WHERE o.contact_id = mine OR o.other_contact_id = mine ORDER BY o.created_at, o.id LIMIT 1;
        IF controller IS NULL THEN
            RETURN NULL;
        END IF;
        RETURN register._ticket('own', register._record('camera:own-page', 'contact:' || mine, 'resident', mine::text,
            controller, NULL, CASE WHEN competent THEN 'consultation' END, NULL, a_origin, NULL), NULL, mine, NULL);
    END $$
    """,
    f"""
    CREATE FUNCTION register.run_own(ticket uuid, token text, before timestamptz) RETURNS jsonb
    LANGUAGE plpgsql {DEFINER} AS $$
    DECLARE
        contact bigint := register._resident(token);
        mine uuid[];
    BEGIN
        PERFORM register._redeem(ticket, 'own', NULL, contact);
        mine := ARRAY(SELECT o.id FROM public.camera_owners o WHERE o.contact_id = contact OR o.other_contact_id = contact
            ORDER BY o.created_at, o.id LIMIT 20);
        RETURN jsonb_build_object('owners', ({_OWNERS}), 'searches', ({_SEARCHES}), 'requests', ({_REQUESTS}));
    END $$
    """,
]

CLOCK = [
    # Picks whom to ask whether they still have their cameras, and notes that they were: a run that is repeated asks
    # nobody twice. ``nth`` 1 or 2.
    f"""
    CREATE FUNCTION register.remind_owners(a_now timestamptz, days integer, nth integer, most integer)
    RETURNS TABLE (owner_id uuid, controller_id uuid, contact_id bigint, other_contact_id bigint, renew_by timestamptz)
    LANGUAGE sql {DEFINER} AS $$
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
    LANGUAGE sql {DEFINER} AS $$
        DELETE FROM public.camera_owners o WHERE o.id IN (
            SELECT d.id FROM public.camera_owners d
            WHERE d.renew_by <= a_now AND d.reminded >= 2 AND d.reminded_at <= a_now - interval '6 days'
            ORDER BY d.renew_by, d.id LIMIT least(most, 10000) FOR UPDATE SKIP LOCKED)
        RETURNING o.id, o.controller_id, o.contact_id, o.other_contact_id
    $$
    """,
    f"""
    CREATE FUNCTION register.wake_owners(a_now timestamptz, most integer)
    RETURNS TABLE (owner_id uuid, controller_id uuid) LANGUAGE plpgsql {DEFINER} AS $$
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
    CREATE FUNCTION register.oldest_owner() RETURNS timestamptz LANGUAGE sql STABLE {DEFINER} AS $$
        SELECT min(o.renew_by) FROM public.camera_owners o
    $$
    """,
]
