"""Twice at once: a double click on Send, two schedulers."""

from __future__ import annotations

from threading import Barrier, Thread
from uuid import UUID

import pyotp

from app.cli.demo.browser import Browser
from tests.chaos.faults.kills import FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault

_SENT = "SELECT id FROM dispatches WHERE alert_id = :alert"
_OVER = "SELECT finished_at IS NOT NULL FROM dispatches WHERE id = :other"


@fault("double-click", "an officer's Send posted twice at the same moment, while another alert goes out")
def double_click(scene: Scene) -> None:
    scene.hold(FIRST, "after")
    scene.site()
    scene.worker()
    scene.scheduler()
    officer = _before_the_button(scene)
    outcomes: list[int] = []

    def strike() -> None:
        form = next(form for form in officer.shown.forms if form.action.endswith("/send"))
        together = Barrier(2)

        def press(browser: Browser) -> None:
            together.wait()
            outcomes.append(browser.open(form.action, form.sent).status)

        other = Browser(officer.site)
        other._opener, other.page = officer._opener, officer.page  # the same window, pressed again
        fingers = [Thread(target=press, args=(browser,)) for browser in (officer, other)]
        for finger in fingers:
            finger.start()
        for finger in fingers:
            finger.join()

    scene.strike_when(lambda: True, strike, what="a double click", kills=False)
    scene.no_more_holds()
    scene.release()
    assert outcomes == [200, 200], f"the two clicks were answered {outcomes}"
    sent = [UUID(str(row[0])) for row in scene.rows(_SENT, alert=scene.ground.waiting)]
    scene.harms["a second dispatch by a double click"] += [str(one) for one in sent[1:]]
    assert sent, "the click sent nothing"
    until(lambda: scene.one(_OVER, other=sent[0]), "the end of the second dispatch")
    found = scene.verdict(sent[0])
    scene.notes["the clicked dispatch"] = str(found)
    for kind, lines in found.harms.items():
        scene.harms[kind] += lines


def _before_the_button(scene: Scene) -> Browser:
    """The officer's browser, at the preview of the alert that waits."""
    browser = Browser(f"http://127.0.0.1:{scene.port}")
    email, secret = scene.ground.officer
    browser.open("/staff/sign-in")
    browser.send(email=email, password=scene.ground.password).says("Code from your app")
    browser.send(code=pyotp.TOTP(secret).now()).says("Write an alert")
    browser.open(f"/staff/alerts/{scene.ground.waiting}").says("This goes to")
    return browser


@fault("two-schedulers", "two schedulers at once, and kill -9 of the one that leads")
def two_schedulers(scene: Scene) -> None:
    scene.hold(FIRST, "after")
    worker = scene.worker()
    both = [scene.scheduler(), scene.scheduler()]

    def leading() -> list[bool]:
        return ["scheduler_leads" in child.log.read_text() for child in both]

    def strike() -> None:
        both[leading().index(True)].kill()
        worker.kill()  # its leases are the other scheduler's to take back

    def one_leads() -> bool:
        assert leading() != [True, True], "two schedulers lead at once"
        return any(leading())

    scene.strike_when(one_leads, strike, what="a kill of the scheduler that leads")
    until(lambda: all(leading()), "the other scheduler to lead")
    until(scene.taken_back, "the leases to be taken back by it")
    scene.stop_some()
    scene.worker()
