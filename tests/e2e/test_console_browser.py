"""The centre's screen in a real browser, on a real receiver: what an operator sees, hears and does."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import insert, select, update

from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.console_parts import ARGS, CHROMIUM, PASSWORD, add_people, address_of, alarm, change, needs_browser, until
from tests.history_parts import parts
from tests.receiver_parts import DEADLINE_S, Hall, hall, node_id

pytestmark = needs_browser
WAIT_MS = DEADLINE_S * 1000
EVIL = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """One receiver for the tests that do not break it; each takes a shop of its own."""
    with hall(tmp_path_factory.mktemp("screen") / "hall", 8, console=True) as made:
        add_people(made.data, desk1="operator", desk2="operator", guest="viewer")
        yield made


@contextmanager
def screen(browser: Browser, made: Hall, name: str = "desk1", **more: Any) -> Iterator[Page]:
    """Somebody's screen, logged in and live. Nothing may go wrong in the page's own code."""
    context = browser.new_context(locale="en-GB", **more)
    faults: list[str] = []
    try:
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(f"{address_of(made)}/")
        page.wait_for_selector("body[data-ready]")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_selector("body[data-live=yes]")
        yield page
        assert faults == []
    finally:
        context.close()


def card(page: Page, incident: int) -> Any:
    """An incident's card."""
    return page.locator(f'.card[data-id="{incident}"]')


def test_nobody_can_log_in_yet_and_the_page_says_how(browser: Browser, tmp_path: Path) -> None:
    with hall(tmp_path / "hall", 0, console=True) as made:
        page = browser.new_page()
        page.goto(f"{address_of(made)}/")
        expect(page.locator("#nobody")).to_contain_text("bongsu operator add NAME")
        page.context.close()


def test_a_wrong_password_is_said(browser: Browser, centre: Hall) -> None:
    page = browser.new_page(locale="en-GB")
    page.goto(f"{address_of(centre)}/")
    page.wait_for_selector("body[data-ready]")
    page.fill("#name", "desk2")
    page.fill("#password", "not this one")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_have_text("Wrong user or password.")
    page.context.close()


def test_an_alarm_is_on_the_screen_within_a_second_of_its_commit(browser: Browser, centre: Hall) -> None:
    with screen(browser, centre) as page:
        # The page itself notes when the card is there; browser and receiver have the same clock here.
        page.evaluate(
            """() => { window.shown = {}; new MutationObserver(() => document.querySelectorAll(".card").forEach(
                (c) => { window.shown[c.dataset.id] ??= Date.now(); })).observe(document.body, {childList: true, subtree: true}); }"""  # noqa: E501
        )
        one = alarm(centre, 0)
        shown = card(page, one)
        expect(shown).to_be_visible()
        for words in ("FIRE", "한내시장", "가게 0", "1층", "heat above the limit for 5 s", "57 °C", "owner-0"):
            expect(shown).to_contain_text(words)
        expect(shown).to_contain_text("010-****-0000")
        expect(shown).to_contain_text("not acknowledged")
        expect(shown).to_contain_text(centre.nodes[0].node)
        expect(shown).to_contain_text("dispatch accepted 2")
        expect(shown).to_contain_text("text delivered")
        table = schema.event.c
        query = select(table.received_ms).where(table.incident_id == one).order_by(table.id).limit(1)
        received_ms = change(centre.data, lambda conn: conn.execute(query).scalar_one())  # before the commit
        assert page.evaluate(f"window.shown[{one}]") - received_ms <= 1000
        expect(page.locator("#spoken")).to_contain_text("FIRE: 한내시장, 가게 0, heat")
        expect(page.locator("body")).to_have_attribute("data-sound", "alarm")
        since = shown.locator("time[data-since]")
        first = since.inner_text()
        until(lambda: since.inner_text() != first)


def test_the_minute_before_an_alarm_is_drawn_as_it_comes(browser: Browser, centre: Hall) -> None:
    node = centre.nodes[4]
    one = alarm(centre, 4)
    (number,) = node.receipts
    with screen(browser, centre) as page:
        card(page, one).focus()
        page.keyboard.press("Enter")
        detail = page.locator(f'[data-detail="{one}"]')
        expect(detail).to_be_visible()
        expect(detail.locator(".minute")).to_have_count(0)
        first, *rest = parts(number)
        assert node.wait_answered(node.history(first), DEADLINE_S)
        expect(detail.locator(".minute")).to_contain_text("33 of 60 rows have not come")
        for part in rest:
            assert node.wait_answered(node.history(part), DEADLINE_S)
        expect(detail.locator(".minute")).not_to_contain_text("have not come")
        expect(detail.locator(".curve")).to_have_count(3)  # of CO there was nothing
        temperature = detail.locator('[data-quantity="temp_c"]')
        expect(temperature).to_contain_text("temperature °C 49.5 (20 – 49.5, 59 s)")
        line = temperature.locator("path.line")
        assert line.get_attribute("d").count("L") == 59
        assert line.evaluate("(e) => getComputedStyle(e).fill") == "none"  # the style sheet reaches it


def test_acknowledge_and_close_by_keyboard_and_the_sound_ends(browser: Browser, centre: Hall) -> None:
    one = alarm(centre, 1)
    with screen(browser, centre) as page:
        card(page, one).focus()
        page.keyboard.press("a")
        expect(card(page, one)).to_contain_text("acknowledged by desk1")
        expect(card(page, one).locator("[data-act=ack]")).to_have_count(0)
        page.keyboard.press("c")
        dialog = page.locator("#dialog")
        expect(dialog).to_be_visible()
        page.click("[data-act=close-now]")  # no choice was made, and that it stands was not confirmed
        expect(dialog).to_be_visible()
        dialog.get_by_label("cooking").check()
        dialog.get_by_label("Note").fill(f"grill {EVIL}")
        dialog.locator("[name=standing]").check()
        page.click("[data-act=close-now]")
        expect(card(page, one)).to_have_count(0)
        page.click("#tab-history")
        past = page.locator(f'[data-past="{one}"]')
        expect(past).to_contain_text("cooking")
        expect(past).to_contain_text(EVIL)
        past.locator("button").click()
        expect(page.locator(f'[data-detail="{one}"]')).to_contain_text(EVIL)
        assert page.evaluate("window.evil") is None


def test_two_operators_a_stale_acknowledgement_says_what_happened_since(browser: Browser, centre: Hall) -> None:
    one = alarm(centre, 2)
    with screen(browser, centre) as first, screen(browser, centre, "desk2") as second:

        def meanwhile(route: Any) -> None:
            """The second signal comes after the first one's click, and before it arrives."""
            number = centre.nodes[2].alarm(3)
            assert centre.nodes[2].wait_receipt(number, DEADLINE_S)
            route.continue_()

        first.route(f"**/api/incidents/{one}/ack", meanwhile, times=1)
        card(first, one).locator("[data-act=ack]").click()
        dialog = first.locator("#dialog")
        expect(dialog).to_contain_text("Something happened since you looked")
        expect(dialog).to_contain_text("heat · smoke")
        expect(card(second, one)).to_contain_text("not acknowledged")
        first.click("[data-act=again]")
        for page in (first, second):
            expect(card(page, one)).to_contain_text("acknowledged by desk1")


def test_names_from_outside_are_only_ever_text(browser: Browser, centre: Hall) -> None:
    table = schema.unit
    change(
        centre.data, lambda conn: conn.execute(update(table).where(table.c.id == "u-3").values(name=EVIL, place=EVIL))
    )
    centre.wake("registry")

    def opened() -> bool:
        number = centre.nodes[3].alarm()
        assert centre.nodes[3].wait_receipt(number, DEADLINE_S)
        return True

    with screen(browser, centre) as page:
        assert opened()
        shown = page.locator(".card", has_text=EVIL).first
        expect(shown).to_be_visible()
        shown.click()
        expect(page.locator("#pane")).to_contain_text(EVIL)
        assert page.evaluate("window.evil") is None
        assert page.evaluate("document.querySelectorAll('#list img, #pane img').length") == 0
        blocked = "() => { try { document.body.innerHTML = '<p>x'; return false; } catch { return true; } }"
        assert page.evaluate(blocked), "even a fault in our own code could not make text into markup"


def test_a_number_is_revealed_by_a_button(browser: Browser, centre: Hall) -> None:
    one = alarm(centre, 4)
    with screen(browser, centre) as page:
        card(page, one).get_by_role("button", name="Show number").click()
        expect(card(page, one)).to_contain_text("+821012340004")


def test_a_viewer_has_no_buttons(browser: Browser, centre: Hall) -> None:
    one = alarm(centre, 5)
    with screen(browser, centre, "guest") as page:
        expect(card(page, one)).to_be_visible()
        expect(page.locator("[data-act]")).to_have_count(0)


def test_the_language_is_remembered(browser: Browser, centre: Hall) -> None:
    with screen(browser, centre, "guest") as page:
        expect(page.locator("#title")).to_have_text("Bongsu control")
        with page.expect_response("**/api/lang"):
            page.click("#lang")
        expect(page.locator("#title")).to_have_text("봉수 관제")
    with screen(browser, centre, "guest") as page:
        expect(page.locator("#title")).to_have_text("봉수 관제")
        assert page.evaluate("document.documentElement.lang") == "ko"


def test_without_sound_the_page_says_so_and_one_click_helps(browser: Browser, centre: Hall) -> None:
    with screen(browser, centre) as page:
        cookies = page.context.cookies()
        alone = browser.new_context(locale="en-GB")
        alone.add_cookies(cookies)
        fresh = alone.new_page()
        fresh.goto(f"{address_of(centre)}/")  # no gesture yet
        fresh.wait_for_selector("body[data-live=yes]")
        expect(fresh.locator("#no-sound")).to_be_visible()
        fresh.click("#no-sound")
        expect(fresh.locator("#no-sound")).to_be_hidden()
        expect(fresh.locator("body")).to_have_attribute("data-sound-possible", "yes")
        alone.close()


def test_a_wrong_clock_of_this_computer_is_said_and_not_used(browser: Browser, centre: Hall) -> None:
    one = alarm(centre, 6)
    with screen(browser, centre) as page:
        page.add_init_script("const real = Date.now; Date.now = () => real() + 3600000;")
        page.reload()
        page.wait_for_selector("body[data-live=yes]")
        expect(page.locator("#hint")).to_contain_text("differs from the receiver's by 3600 s")
        assert len(card(page, one).locator("time").inner_text()) == len("00:00"), "not an hour old"


def test_killed_receiver_is_not_live_within_5_s_and_back_by_itself(browser: Browser, tmp_path: Path) -> None:
    with hall(tmp_path / "hall", 2, console=True) as made:
        add_people(made.data, desk1="operator")
        with screen(browser, made) as page:
            one = alarm(made, 0)
            expect(card(page, one)).to_be_visible()
            made.kill_receiver()
            page.wait_for_selector("body[data-live=no]", timeout=5000)
            expect(page.locator("#not-live")).to_contain_text("NOT LIVE")
            expect(page.locator("#not-live")).to_have_attribute("role", "alert")
            expect(card(page, one).locator("[data-act=ack]")).to_be_disabled()
            expect(page.locator("body")).to_have_attribute("data-sound", "alarm not_live")
            until(lambda: "NOT LIVE" in page.title())
            lines = len(made.receiver.lines)
            assert lines
            made.start_receiver()
            page.wait_for_selector("body[data-live=yes]")
            expect(page.locator("#not-live")).to_be_hidden()
            two = alarm(made, 1)
            expect(card(page, two)).to_be_visible()
            expect(card(page, one)).to_be_visible()


def test_frozen_and_killed_web_process(browser: Browser, tmp_path: Path) -> None:
    """A page that hears nothing does not wait for the connection to break."""
    with hall(tmp_path / "hall", 1, console=True) as made:
        add_people(made.data, desk1="operator")
        with screen(browser, made) as page:
            receiver = psutil.Process(made.receiver.process.pid)
            web = next(p for p in receiver.children() if "bongsu.console" in p.cmdline())
            os.kill(web.pid, signal.SIGSTOP)
            page.wait_for_selector("body[data-live=no]", timeout=5000)
            one = alarm(made, 0)
            os.kill(web.pid, signal.SIGKILL)
            page.wait_for_selector("body[data-live=yes]")
            expect(card(page, one)).to_be_visible()


def test_a_receiver_whose_broker_is_away_says_so_and_acts_still_work(browser: Browser, tmp_path: Path) -> None:
    with hall(tmp_path / "hall", 1, console=True) as made:
        add_people(made.data, desk1="operator")
        with screen(browser, made) as page:
            one = alarm(made, 0)
            expect(card(page, one)).to_be_visible()
            receiver = psutil.Process(made.receiver.process.pid)
            broker = next(p for p in receiver.children() if "nats-server" in p.name())
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                page.wait_for_selector("body[data-live=trouble]", timeout=40_000)
                expect(page.locator("#not-live")).to_contain_text("The receiver is in trouble")
                card(page, one).locator("[data-act=ack]").click()
                expect(card(page, one)).to_contain_text("acknowledged by desk1")
            finally:
                try:
                    os.kill(broker.pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass  # the receiver ended it, because it was of no use
            page.wait_for_selector("body[data-live=yes]", timeout=40_000)


def test_logging_out_ends_the_page(browser: Browser, centre: Hall) -> None:
    with screen(browser, centre, "desk2") as page:
        page.click("#logout")
        page.wait_for_url("**/login")
        page.goto(f"{address_of(centre)}/")
        page.wait_for_url("**/login")


def test_what_nobody_has_taken_on_stands_on_top_and_nothing_is_hidden_without_a_sign(
    browser: Browser, centre: Hall
) -> None:
    with screen(browser, centre, viewport={"width": 1400, "height": 420}) as page:
        made = [
            {"id": 1, "class": "fire", "ack_ms": 5, "opened_ms": 9},
            {"id": 2, "class": "co_gas", "ack_ms": None, "opened_ms": 8},
            {"id": 3, "class": "fire", "ack_ms": None, "opened_ms": 1},
            {"id": 4, "class": "fire", "ack_ms": None, "opened_ms": 2},
        ]
        order = "(made) => import('/static/cards.js').then((m) => m.inOrder(made).map((one) => one.id))"
        assert page.evaluate(order, made) == [4, 3, 1, 2]
        for shop in (5, 6, 7):
            alarm(centre, shop)
        expect(page.locator("#more")).to_be_visible()
        expect(page.locator("#more")).to_contain_text("more below")


def test_bad_air_is_on_the_screen_in_both_languages(browser: Browser, centre: Hall) -> None:
    now_ms = time.time_ns() // 1_000_000
    row = {
        "subject": "unit:hannae/u-3", "site_id": "hannae", "quantity": "pm25", "level_table": "korea",
        "level": "very_bad",
        "worst": "very_bad", "average": 81.4, "averaging": "24h", "limit_said": "> 75 ug/m3", "node_id": node_id(3),
        "began_ms": now_ms, "level_ms": now_ms,
    }  # fmt: skip
    change(centre.data, lambda conn: conn.execute(insert(schema.air_advisory).values(row)))
    centre.nodes[3].reading({kinds.Q_PM25_DUG: 902})
    with screen(browser, centre) as page:
        page.click("#tab-air")
        said = page.locator("#air li")
        for words in ("very bad", "PM2.5 81.4 µg/m³", "mean of 24 h"):
            expect(said).to_contain_text(words)
        expect(page.locator("#list")).not_to_contain_text("PM2.5")  # no alarm
        page.click("#lang")
        expect(page.locator("#tab-air")).to_have_text("공기질")
        page.click("#tab-air")
        expect(said).to_contain_text("매우 나쁨")
        page.click("#lang")
        until(lambda: change(centre.data, lambda conn: conn.execute(select(schema.air_pack)).all()), timeout_s=30)
        page.click("#tab-air")
        said.locator("button").click()
        expect(page.locator("[data-air-unit='hannae/u-3']")).to_contain_text("90.2 µg/m³")
