"""How long an alarm takes from the receiver's door to the screen: `python tools/bench_console.py [--pages N]`.

A whole market on loopback; each alarm is of a shop of its own. Timed from the arrival at the receiver (before the
commit) to the message at each of N open pages, and to the card in a real browser, if there is one.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from sqlalchemy import select

from bongsu.receiver.store import schema
from tests.console_parts import ARGS, CHROMIUM, PASSWORD, Client, add_people, address_of, change
from tests.receiver_parts import Hall, hall

_OBSERVE = """() => {
    window.shown = {};
    const note = (card) => { window.shown[card.dataset.id] ??= Date.now(); };
    const look = () => document.querySelectorAll(".card").forEach(note);
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
}"""


def _share(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _watch(client: Client, seen: dict[int, list[float]], ready: threading.Barrier, wanted: int) -> None:
    known: set[int] = set()
    for name, content in client.events():
        at_ms = time.time() * 1000
        if name == "snapshot":
            ready.wait()
        for incident in content["incidents"] if name == "change" else []:
            if incident["id"] not in known:
                known.add(incident["id"])
                seen.setdefault(incident["id"], []).append(at_ms)
        if len(known) == wanted:
            return


def _received_ms(made: Hall) -> dict[int, float]:
    c = schema.event.c
    rows = change(made.data, lambda conn: conn.execute(select(c.incident_id, c.received_ms)).all())
    return {row.incident_id: float(row.received_ms) for row in rows}


def _alarms(made: Hall) -> None:
    pause = threading.Event()
    for node in made.nodes:
        number = node.alarm()
        assert node.wait_receipt(number, 20)
        pause.wait(0.05)


def _in_browser(made: Hall) -> dict[int, float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page()
        page.goto(address_of(made))
        page.wait_for_selector("body[data-ready]")
        page.fill("#name", "kim")
        page.fill("#password", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_selector("body[data-live=yes]")
        page.evaluate(_OBSERVE)
        _alarms(made)
        page.locator(".card").nth(len(made.nodes) - 1).wait_for(state="attached")
        shown = page.evaluate("window.shown")
        browser.close()
    return {int(number): float(at_ms) for number, at_ms in shown.items()}


def _say(what: str, spans: list[float], **more: object) -> None:
    row = {"what": what, "n": len(spans), **{f"p{round(100 * s)}_ms": round(_share(spans, s), 1) for s in (0.5, 0.99)}}
    print(json.dumps({**row, "max_ms": round(max(spans), 1), **more}))


def main() -> None:
    """Measure and print one line of JSON for pages and one for the browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--alarms", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, hall(Path(folder) / "pages", given.alarms, console=True) as made:
        add_people(made.data, kim="operator")
        clients = [Client(address_of(made)) for _ in range(-(-given.pages // 20))]
        for client in clients:
            assert client.login("kim").ok
        seen: dict[int, list[float]] = {}
        ready = threading.Barrier(given.pages + 1)
        threads = [
            threading.Thread(target=_watch, args=(clients[i // 20], seen, ready, given.alarms), daemon=True)
            for i in range(given.pages)
        ]
        for thread in threads:
            thread.start()
        ready.wait(60)
        _alarms(made)
        for thread in threads:
            thread.join(30)
        received = _received_ms(made)
        spans = [at - received[number] for number, ats in seen.items() for at in ats]
        children = psutil.Process(made.receiver.process.pid).children()
        web = next(p for p in children if "bongsu.console" in p.cmdline())
        _say(f"{given.pages} pages", spans, rss_mib=round(web.memory_info().rss / 2**20, 1))
        for client in clients:
            client.close()
    if not Path(CHROMIUM).exists():
        print(f"no browser at {CHROMIUM}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder, hall(Path(folder) / "screen", given.alarms, console=True) as made:
        add_people(made.data, kim="operator")
        shown = _in_browser(made)
        received = _received_ms(made)
        _say("browser", [at - received[number] for number, at in shown.items()])


if __name__ == "__main__":
    main()
