"""The SQL of watching the register that models cannot say: rights, and what only the gate may count."""

from __future__ import annotations

from migrations.ground_sql import APP, WORKER
from migrations.register_sql import GATE

_END = "state, closed_at, closed_by, note_enc"
_JUDGED = "verdict, note_enc, judged_by, judged_at"
_FOUND = "id, organisation_id, rule, staff_id, searches, found_at, told, state, closed_at"
_DRAWN = "id, organisation_id, search_id, staff_id, month, reviewer_id, assigned_at, due_at, reminded, verdict, judged_at"

# table: (what the app may do, what the worker may do). What was noted is for those who judge, not for a worker.
RIGHTS = {
    "search_findings": (
        f"SELECT, UPDATE ({_END})",
        f"SELECT ({_FOUND}), INSERT ({_FOUND}), UPDATE (searches, told), DELETE",
    ),
    "search_reviews": (
        f"SELECT, UPDATE ({_JUDGED})",
        f"SELECT ({_DRAWN}), INSERT ({_DRAWN}), UPDATE (reviewer_id, reminded), DELETE",
    ),
    "search_places": ("SELECT", "SELECT, INSERT"),
    "staff_homes": ("SELECT, INSERT, UPDATE (until)", "SELECT, DELETE"),
    "register_figures": ("SELECT", "SELECT"),
}
GATE_RIGHTS = {
    "search_places": "SELECT",
    "search_reviews": "SELECT (search_id, verdict)",
    "register_figures": "SELECT, INSERT, UPDATE",
}

# Counted and banded inside the database: no exact number of a few leaves it.
_BAND = "CASE WHEN {0} < 5 THEN NULL ELSE CAST(round({0} / 5.0) * 5 AS integer) END"
_COLUMNS = (
    "searches", "requests", "answers", "disclosures", "withholdings", "reviews", "proper", "explain", "improper",
)  # fmt: skip
COUNT_FIGURES = f"""
CREATE FUNCTION register.count_figures(p_quarter date, p_at timestamptz) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    WITH searched AS (
        SELECT p.borough_code, count(*) AS searches, count(w.search_id) AS withholdings, count(v.verdict) AS reviews,
            count(*) FILTER (WHERE v.verdict = 'proper') AS proper,
            count(*) FILTER (WHERE v.verdict = 'explain') AS explain,
            count(*) FILTER (WHERE v.verdict = 'improper') AS improper
        FROM public.search_places p
        LEFT JOIN public.search_withholdings w ON w.search_id = p.search_id
        LEFT JOIN public.search_reviews v ON v.search_id = p.search_id
        WHERE p.quarter = p_quarter GROUP BY 1
    ), asked AS (
        SELECT p.borough_code, count(*) AS requests, CAST(sum(a.answers) AS bigint) AS answers,
            CAST(sum(d.disclosures) AS bigint) AS disclosures
        FROM public.search_places p
        JOIN public.camera_requests r ON r.search_id = p.search_id
        CROSS JOIN LATERAL (
            SELECT count(x.answer) AS answers FROM public.request_recipients x WHERE x.request_id = r.id) a
        CROSS JOIN LATERAL (
            SELECT count(*) AS disclosures FROM public.disclosures x WHERE x.request_id = r.id) d
        WHERE p.quarter = p_quarter GROUP BY 1
    ), counted AS (
        SELECT b.code, coalesce(s.searches, 0) AS searches, coalesce(q.requests, 0) AS requests,
            coalesce(q.answers, 0) AS answers, coalesce(q.disclosures, 0) AS disclosures,
            coalesce(s.withholdings, 0) AS withholdings, coalesce(s.reviews, 0) AS reviews,
            coalesce(s.proper, 0) AS proper, coalesce(s.explain, 0) AS explain, coalesce(s.improper, 0) AS improper
        FROM (
            SELECT a.code FROM public.areas a WHERE a.kind = 'borough' AND a.valid_to IS NULL
            UNION SELECT borough_code FROM searched
        ) b LEFT JOIN searched s ON s.borough_code = b.code LEFT JOIN asked q ON q.borough_code = b.code
    ), kept AS (
        INSERT INTO public.register_figures AS f (quarter, borough_code, {", ".join(_COLUMNS)}, counted_at)
        SELECT p_quarter, code, {", ".join(_BAND.format(one) for one in _COLUMNS)}, p_at FROM counted
        ON CONFLICT (quarter, borough_code) DO UPDATE
            SET ({", ".join(_COLUMNS)}, counted_at) =
                ROW({", ".join(f"excluded.{one}" for one in _COLUMNS)}, excluded.counted_at)
        RETURNING 1
    ) SELECT CAST(count(*) AS integer) FROM kept;
END
"""
_FEW = (
    "CASE WHEN {0} = 0 THEN 'none' WHEN {0} < 3 THEN 'fewer than 3' WHEN {0} <= 5 THEN '3 to 5' "
    "WHEN {0} <= 10 THEN '6 to 10' WHEN {0} <= 20 THEN '11 to 20' WHEN {0} <= 50 THEN '21 to 50' "
    "ELSE 'more than 50' END"
)
# What came of the requests after a search, for whoever reviews it: bands, as the investigator sees them too.
FOLLOWED = f"""
CREATE FUNCTION register.followed(p_search uuid)
RETURNS TABLE (opened_at timestamptz, state text, asked text, answered text, disclosed text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    SELECT r.opened_at, r.state, r.asked_band, {_FEW.format("a.n")}, {_FEW.format("d.n")}
    FROM public.camera_requests r
    CROSS JOIN LATERAL (SELECT count(x.answer) AS n FROM public.request_recipients x WHERE x.request_id = r.id) a
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM public.disclosures x WHERE x.request_id = r.id) d
    WHERE r.search_id = p_search ORDER BY r.opened_at, r.id LIMIT 50;
END
"""
FUNCTIONS = {
    "register.count_figures(date, timestamptz)": (COUNT_FIGURES, WORKER),
    "register.followed(uuid)": (FOLLOWED, APP),
}


def grants() -> list[str]:
    """One GRANT per table and role; then the functions, which belong to the gate."""
    found = [
        f"GRANT {rights} ON {table} TO {role}"
        for table, both in RIGHTS.items()
        for role, rights in zip((APP, WORKER), both, strict=True)
    ]
    found += [f"GRANT {rights} ON {table} TO {GATE}" for table, rights in GATE_RIGHTS.items()]
    found.append(f"SET LOCAL ROLE {GATE}")
    for name, (made, role) in FUNCTIONS.items():
        found += [
            made,
            f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {name} TO {role}",
        ]
    return [*found, "RESET ROLE"]


def drop() -> list[str]:
    """The way back: functions first, for they depend on the tables."""
    return [f"DROP FUNCTION {name}" for name in FUNCTIONS]
