"""Anything, in any order, on committed connections, much of it rolled back: one entry for one answer, or for one lapse."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.models.staff import Staff
from app.permissions import Role
from app.roles import libpq
from tests.gating import TICKET, WHO, answer, ticket
from tests.searching import Town

PEOPLE = 4
# What turns somebody away here: no ticket, nobody, a cap, and a lock that another of these connections holds.
REFUSALS = {TICKET, WHO, "WR004", "55P03", "25P02", "40P01"}


@dataclass
class Hand:
    """One connection of the site, in a transaction of its own, with what it opened and was answered in it."""

    connection: psycopg.Connection[Any]
    token: str
    ready: list[UUID]  # committed tickets of this person's, whichever of their connections opened them
    opened: list[UUID] = field(default_factory=list)  # not committed yet
    savepoint: int | None = None  # how many were opened before it


@dataclass
class Game:
    town: Town
    chance: random.Random
    hands: list[Hand]
    worker: psycopg.Connection[Any]
    known: list[UUID] = field(default_factory=list)  # every ticket that anybody was ever told
    answered: list[UUID] = field(
        default_factory=list
    )  # every answer that left, whatever became of its transaction
    committed: set[UUID] = field(default_factory=set)
    rolled_back: int = 0
    refused: int = 0

    def act(self) -> None:
        hand = self.chance.choice(self.hands)
        acts = (self.open, self.run, self.save, self.commit, self.roll_back, self.cut, self.age, self.lapse)
        self.chance.choices(acts, (9, 11, 2, 13, 5, 0.2, 0.1, 0.2))[0](hand)

    def open(self, hand: Hand) -> None:
        found = self.guarded(hand, lambda: ticket(hand.connection, hand.token))
        if found is not None:
            hand.opened.append(found)
            self.known.append(found)

    def run(self, hand: Hand) -> None:
        tickets = self.chance.choices((hand.ready[-3:], self.known[-12:], self.known), (8, 1, 1))[0]
        if tickets:
            given = self.chance.choice(tickets)
            token = self.chance.choice(self.hands).token if self.chance.random() < 0.05 else hand.token
            if self.guarded(hand, lambda: answer(hand.connection, given, token)) is not None:
                self.answered.append(given)
            if given in hand.ready and self.chance.random() < 0.7:
                hand.ready.remove(given)

    def guarded(self, hand: Hand, act: Any) -> Any:
        try:
            return act()
        except psycopg.Error as error:
            assert error.sqlstate in REFUSALS, error
            self.refused += 1
            if self.chance.random() < 0.7:
                self.roll_back(hand)
            return None

    def save(self, hand: Hand) -> None:
        if hand.connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR:
            if hand.savepoint is None:
                return self.roll_back(hand)
            self.back_to_it(hand)
        elif hand.savepoint is None:
            hand.connection.execute("SAVEPOINT s")
            hand.savepoint = len(hand.opened)
        elif self.chance.random() < 0.5:
            hand.connection.execute("RELEASE SAVEPOINT s")
            hand.savepoint = None
        else:
            self.back_to_it(hand)
        return None

    def back_to_it(self, hand: Hand) -> None:
        hand.connection.execute("ROLLBACK TO SAVEPOINT s")
        assert hand.savepoint is not None
        del hand.opened[hand.savepoint :]
        self.rolled_back += 1

    def commit(self, hand: Hand) -> None:
        failed = hand.connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        if failed:
            return self.roll_back(hand)
        hand.connection.commit()
        self.committed.update(hand.opened)
        hand.ready += hand.opened
        return self.forget(hand)

    def roll_back(self, hand: Hand) -> None:
        hand.connection.rollback()
        self.rolled_back += 1
        self.forget(hand)

    def cut(self, hand: Hand) -> None:
        """The machine behind it is gone; another connection takes its place."""
        self.town.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (hand.connection.info.backend_pid,))
        hand.connection.close()
        hand.connection = connect(self.town)
        self.rolled_back += 1
        self.forget(hand)

    def age(self, hand: Hand) -> None:
        """An hour goes by for whatever is on the record and not locked."""
        self.town.admin.execute(
            "UPDATE register_searches SET opened_at = opened_at - interval '1 hour' WHERE id IN "
            "(SELECT id FROM register_searches WHERE opened_at > now() - interval '1 hour' FOR UPDATE SKIP LOCKED)"
        )

    def lapse(self, hand: Hand) -> None:
        with self.worker.transaction(force_rollback=self.chance.random() < 0.3):
            self.worker.execute("SELECT register.lapse(%s)", (self.chance.choice((1, 10, 1000)),))

    @staticmethod
    def forget(hand: Hand) -> None:
        hand.opened.clear()
        hand.savepoint = None


def connect(town: Town) -> psycopg.Connection[Any]:
    return psycopg.connect(libpq(town.database.environ()["DATABASE_URL"]), options="-c lock_timeout=5ms")


def play(town: Town, moves: int, seed: int) -> Game:
    town.admin.execute("UPDATE register_searches SET settled = true")
    people: list[Staff] = [town.person(Role.INVESTIGATOR) for _ in range(PEOPLE)]
    hands = []
    for one in people:
        ready: list[UUID] = []
        hands += [Hand(connect(town), town.token(one), ready) for _ in range(2)]
    game = Game(
        town,
        random.Random(seed),
        hands,
        psycopg.connect(libpq(town.database.environ()["WORKER_DATABASE_URL"]), autocommit=True),
    )
    for move in range(moves):
        if move % 7 == 0:  # most tickets share three slots
            town.admin.execute("SELECT setval('register.numbers', nextval('register.numbers') + 254)")
        game.act()
    for hand in game.hands:
        game.roll_back(hand)
        hand.connection.close()
    game.age(game.hands[0])
    while game.worker.execute("SELECT register.lapse(1000)").fetchone() != (0,):
        pass
    game.worker.close()
    return game


def check(game: Game) -> None:
    town = game.town
    rows = town.admin.execute(
        "SELECT s.id, s.entry_id, s.settled, s.lapsed_at IS NOT NULL, a.event, a.at <= s.opened_at + interval '1 hour', "
        "(SELECT count(*) FROM audit_entries l WHERE l.event = 'register:lapse' AND l.subject = a.subject), "
        "(SELECT count(*) FROM audit_entries e WHERE e.event = 'register:search' AND e.subject = a.subject) "
        "FROM register_searches s JOIN audit_entries a ON a.id = s.entry_id AND a.subject = 'search:' || s.id "
        "WHERE s.id = ANY (%s)",
        (game.known,),
    ).fetchall()
    on_record = {row[0]: row[1:] for row in rows}
    assert set(on_record) == game.committed
    assert len(game.answered) == len(set(game.answered)), "an answer was given twice"
    assert set(game.answered) <= set(on_record), "an answer without an entry"
    for given, (_, settled, lapsed, event, _, lapses, entries) in on_record.items():
        assert (event, entries, settled) == ("register:search", 1, True)
        assert lapsed is (given not in set(game.answered)), given
        assert lapses == int(lapsed)
    orphans = (
        "SELECT count(*) FROM audit_entries a WHERE a.event = 'register:search' "
        "AND NOT EXISTS (SELECT FROM register_searches s WHERE s.entry_id = a.id)"
    )
    assert town.one(orphans) == 0


def test_a_thousand_actions_at_random(town: Town) -> None:
    game = play(town, 1_000, seed=6)
    check(game)
    assert game.rolled_back >= 200
    assert len(game.answered) > 30


@pytest.mark.slow
def test_ten_thousand_actions_at_random(town: Town) -> None:
    game = play(town, 10_000, seed=20261125)
    check(game)
    assert game.rolled_back >= 2_000
    assert len(game.answered) > 300
    assert len(game.committed) - len(game.answered) > 300
