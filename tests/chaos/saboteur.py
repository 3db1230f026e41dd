"""``python -m tests.chaos.saboteur NAME KIND``: a real worker with one safeguard switched off.

Only tests start it, to prove that their verdict would see the harm.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import ModuleType

import sqlalchemy as sa

from app.services.ledger import attempts, claims, results
from workers import main


def _rewrite(module: ModuleType, name: str, old: str, new: str) -> None:
    """Change one statement; an error if it no longer holds what is to be switched off."""
    statement = str(getattr(module, name))
    if old not in statement:
        raise SystemExit(f"{module.__name__}.{name} holds no {old!r} any more: mend the saboteur")
    setattr(module, name, sa.text(statement.replace(old, new)))


def without_attempt_mark() -> None:
    """Nothing is put on record before the first byte."""
    counted: Counter[tuple[object, int]] = Counter()

    def open_attempt(session: object, held: claims.Claim, **_: object) -> int:
        counted[held.dispatch, held.batch] += 1
        return counted[held.dispatch, held.batch]

    attempts.open_attempt = open_attempt  # type: ignore[assignment]


def without_lease_fence() -> None:
    """An attempt opens whoever holds the lease, and whether or not it ran out."""
    fence = "AND lease_token = :token\n          AND lease_until > clock_timestamp()"
    _rewrite(attempts, "_OPEN", fence, "AND (lease_token = :token OR true)")
    # Without a lease of its own the batch has no token to lend; the worker's old one must do.
    _rewrite(attempts, "_OPEN", "m.lease_token\n    FROM", ":token\n    FROM")


def without_suppression_check() -> None:
    """Who said stop since the freeze is not asked again."""
    _rewrite(claims, "_REMAINING", "AND s.lifted_at IS NULL", "AND s.lifted_at IS NULL AND false")


def without_on_conflict() -> None:
    """A row that is there already fails the whole write."""
    clause = "ON CONFLICT (dispatch_id, contact_id) DO NOTHING"
    _rewrite(results, "_INSERT", clause, "")
    _rewrite(results, "_INSERT_UNIFORM", clause, "")


SABOTAGE = {
    "attempt-mark": without_attempt_mark,
    "lease-fence": without_lease_fence,
    "suppression-check": without_suppression_check,
    "on-conflict": without_on_conflict,
}

if __name__ == "__main__":
    SABOTAGE[sys.argv[1]]()
    sys.exit(main.main(sys.argv[2:]))
