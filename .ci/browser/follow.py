"""Checks the live page in headless Chromium: new rows, updated sections, the machine's buttons, and attacks from another
site. Takes the binary and a working folder, and writes screenshots there."""

import base64
import http.server
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

BINARY, SCRATCH = Path(sys.argv.pop(1)).resolve(), Path(sys.argv[1]).resolve()

from look import Browser, By, expect  # noqa: E402 (after removing the first argument)
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

LIMIT_S = 30
# For ten thousand messages, on a busy machine.
FLOOD_S = 600
# A JPEG of one grey pixel.
PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AR//Z"
)


def line(process, stream, words):
    for text in stream:
        if words in text:
            return text.strip()
    sys.exit(f"FAILED: no output with {words!r}; the process exited with {process.wait(LIMIT_S)}")


def action(number, kind):
    more = {"motion_url": "{puls}", "endpoint": f"{{http}}/up/{number}"}
    send = {"send": {"id": number, "action_type": kind, "status": "ready", **more}, "timeout_s": LIMIT_S}
    return [send, {"await": f"{kind}:completed", "action_id": number, "timeout_s": LIMIT_S}]


def start(folder, steps):
    """Starts a service that runs these steps, and a machine whose button has to be pressed."""
    (folder / "script.json").write_text(json.dumps(steps + [{"sleep_s": 600}]))
    (folder / "images").mkdir(exist_ok=True)
    for name in ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "LID_IMAGE"]:
        (folder / "images" / f"{name}.jpg").write_bytes(PICTURE)
    serve = [BINARY, "serve", "--listen", "127.0.0.1:0", "--plain", "--script", "script.json"]
    service = subprocess.Popen(serve, cwd=folder, text=True, stdout=subprocess.PIPE)
    server_url = line(service, service.stdout, "server_url: ")
    status_url = line(service, service.stdout, "status_service_url: ")
    (folder / "machine.cfg").write_text(
        f"[GENERAL]\nimage_dir: images\nmotion_dir: motion\n[SERVICE]\n{server_url}\n{status_url}\n[MACHINE]\nserial: 12345678\nhostname: ABC-123\npassword: {'0' * 64}\n"
        "[EMULATOR]\nbutton: wait\n"
    )
    run = [BINARY, "run", "--config", "machine.cfg", "--follow", "0"]
    machine = subprocess.Popen(run, cwd=folder, text=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    link = re.search(r"http://\S+", line(machine, machine.stderr, "follow it at ")).group()
    for stream in [service.stdout, machine.stderr]:
        threading.Thread(target=stream.read, daemon=True).start()
    return service, machine, link


def until(page, what, there):
    # Elements may be replaced meanwhile.
    wait = WebDriverWait(page.driver, LIMIT_S, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda _: there(), what)
    expect(what, True)


def button(page, words):
    # Its text is empty while it is hidden.
    return next(button for button in page.all("#live button") if button.get_attribute("textContent") == words)


def follow(service, machine, link):
    with Browser(link) as page:
        has = lambda words: words in page.one("#conversation").text
        until(page, "the page is live", lambda: page.one("#status").text == "live")
        until(page, "the print waits for its button", lambda: has("print:download:completed"))
        until(page, "the bar says so", lambda: "print 2: waits for the button" in page.one("#state").text)
        expect("and that the lid is closed", "the lid is closed" in page.one("#state").text)
        expect("it can only be opened", [button.text for button in page.all("#live > button") if button.is_displayed()] == ["Press the button", "Open the lid"])
        loaded = page.count(".row")
        page.js("window.here = true")
        expect("the token has left the address bar", (at := page.js("return location.href")) == link.split("?")[0], at)
        page.screenshot("follow-waits", whole=False)
        button(page, "Press the button").click()
        until(page, "the press is answered in the bar", lambda: page.one("#answer").text == "The button was pressed.")
        until(page, "a row shows the button press", lambda: has("button:pressed"))
        until(page, "the print completes", lambda: has("print:completed"))
        until(page, "the next action completes", lambda: has("lid_image:completed"))
        until(page, "the actions show their outcome", lambda: page.count("article[data-outcome=completed]") == 3)
        rows = page.count(".row")
        expect("new rows", rows > loaded, rows)
        expect("no duplicate rows", len(set(page.js("return [...document.querySelectorAll('.row')].map(r => r.id)"))) == rows)
        expect("rows show the outcome", page.count(".row.completed[data-action=print][data-outcome=completed]") > 4)
        expect("a job and a picture", (found := (page.count("#actions .job"), page.count("#actions .picture"))) == (1, 1), found)
        until(page, "the entry count is updated", lambda: f"Conversation ({page.count('.row')})" in page.one("nav").text)
        page.js("window.nav = document.querySelector('nav')")
        # Open details stay open, and the filter applies to new rows.
        page.click("#a1 .job summary")
        page.one("[name=words]").send_keys("lid:")
        button(page, "Open the lid").click()
        until(page, "the lid is open", lambda: page.shown(".row") == 1 and has("lid:opened"))
        until(page, "the bar says so", lambda: "the lid is open" in page.one("#state").text)
        button(page, "Close the lid").click()
        until(page, "the lid is closed", lambda: page.shown(".row") == 2 and has("lid:closed"))
        until(page, "the entry count is updated again", lambda: f"Conversation ({page.count('.row')})" in page.one("nav").text)
        expect("the links were not replaced", page.js("return window.nav === document.querySelector('nav')"))
        expect("open details stayed open", page.count("#a1 .job[open]") == 1)
        page.click("#filter button[type=reset]")
        page.click("#a1 .job summary")
        expect("the page was not reloaded", page.js("return window.here"))
        page.screenshot("follow-live")
        page.js("scrollTo(0, document.documentElement.scrollHeight)")
        page.screenshot("follow-bottom", whole=False)
        # Even injected markup is blocked by the policy.
        expect("empty console", (log := page.driver.get_log("browser")) == [], log)
        page.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned=1\">')")
        page.shown("img")
        expect("the policy blocks it", page.js("return window.owned") is None)
        page.driver.get_log("browser")
        # A reload works; a request without the token does not.
        page.driver.refresh()
        until(page, "it is live again", lambda: page.one("#status").text == "live")
        expect("all rows are there again", f"Conversation ({page.count('.row')})" in page.one("nav").text)
        expect("the token is not back", page.js("return location.search") == "")
        with Browser(link.split("?")[0]) as other:
            expect("without the token there is no page", "use the link" in other.one("body").text and not other.all("#live"))
        other_site(link)
        seven_tabs(page, link)
        with Browser(link, 390, dark=True) as phone:
            until(phone, "a second one is live", lambda: phone.one("#status").text == "live")
            wide = phone.js("return document.documentElement.scrollWidth")
            expect("fits the width of a phone", wide <= 390, wide)
            phone.screenshot("follow-phone", whole=False)
        page.click("#live summary")
        button(page, "Stop the machine").click()
        until(page, "the page shows the stop", lambda: page.one("#status").text == "the machine has stopped")
        expect("the last row", has("stopped"))
        expect("the final entry count", f"Conversation ({page.count('.row')})" in page.one("nav").text, page.one("nav").text)
        expect("the buttons are disabled", all(not button.is_enabled() for button in page.all("#live button")))
        expect("the program exits with 0", machine.wait(LIMIT_S) == 0)
        page.screenshot("follow-over", whole=False)


def seven_tabs(page, link):
    """A browser opens at most six connections to a host: open pages must leave some for the buttons."""
    first = page.driver.current_window_handle
    for _ in range(7):
        page.driver.switch_to.new_window("tab")
        page.driver.get(link)
        until(page, "another tab is live", lambda: page.one("#status").text == "live")
    opened = page.js("return [...document.querySelectorAll('.what')].filter(e => e.textContent.startsWith('lid:opened')).length")
    button(page, "Open the lid").click()
    count = "return [...document.querySelectorAll('.what')].filter(e => e.textContent.startsWith('lid:opened')).length"
    for tab in page.driver.window_handles:
        page.driver.switch_to.window(tab)
        until(page, "each tab shows the lid", lambda: page.js(count) == opened + 1)
        until(page, "each tab offers to close it", lambda: button(page, "Close the lid").is_displayed())
    button(page, "Close the lid").click()
    for tab in page.driver.window_handles:
        if tab != first:
            page.driver.switch_to.window(tab)
            page.driver.close()
    page.driver.switch_to.window(first)
    until(page, "the first tab is still live", lambda: page.one("#status").text == "live")


MESSAGES, ANSWER_MS = 10_000, 100


def flood(service, machine, link):
    """Ten thousand messages: each arrives once, and the buttons stay responsive."""
    with Browser(link) as page:
        until(page, "the page is live", lambda: page.one("#status").text == "live")
        # Measures the time from a click to its event handler, and from there to the response.
        page.js(
            "window.heard = []; window.answered = []; window.gaps = [];"
            "let before = performance.now();"
            "setInterval(() => { const now = performance.now(); gaps.push(now - before); before = now; }, 10);"
            "addEventListener('click', (e) => {"
            "  heard.push(performance.now() - e.timeStamp);"
            "  const since = performance.now(); const button = e.target;"
            "  const look = new MutationObserver(() => { if (!button.disabled) { answered.push(performance.now() - since); look.disconnect(); } });"
            "  setTimeout(() => look.observe(button, {attributes: true})); }, true);"
        )
        since = time.monotonic()
        for words in ["Open the lid", "Close the lid"]:
            until(page, "the button is there", lambda: button(page, words).is_displayed())
            button(page, words).click()
            until(page, "the press is answered", lambda: button(page, words).is_enabled())
        clicks = 0
        while page.count(".row") < MESSAGES:
            if time.monotonic() - since > FLOOD_S:
                sys.exit(f"FAILED: {page.count('.row')} rows after {FLOOD_S} s")
            expect("the service is running", service.poll() is None)
            clicks += 1
            button(page, "Press the button").click()
            until(page, "the press is answered", lambda: button(page, "Press the button").is_enabled())
        heard, answered, gaps = page.js("return [heard, answered, gaps.sort((a, b) => b - a).slice(0, 5)]")
        took = time.monotonic() - since
        rows = page.count(".row")
        print(
            f"{rows} rows in {took:.0f} s: of {clicks} clicks the slowest was handled after {max(heard):.0f} ms"
            f" and answered {max(answered):.0f} ms later (median {sorted(answered)[len(answered) // 2]:.0f} ms);"
            f" the page was busy for {', '.join(f'{gap:.0f}' for gap in gaps)} ms at the longest"
        )
        expect("the clicks were handled", clicks > 0 and len(heard) > clicks, (clicks, heard))
        until(page, "all rows have arrived", lambda: f"Conversation ({page.count('.row')})" in page.one("nav").text)
        expect("no duplicate rows", len(set(page.js("return [...document.querySelectorAll('.row')].map(r => r.id)"))) == page.count(".row"))
        page.js("heard.length = 0")
        page.click("#live summary")
        stop = button(page, "Stop the machine")
        stop.click()
        until(page, "the page shows the stop", lambda: page.one("#status").text == "the machine has stopped")
        waited = page.js("return heard.at(-1)")
        answer = page.js("return performance.getEntriesByName(location.origin + '/stop').at(-1).duration")
        print(f"Stop was handled after {waited:.0f} ms and answered within {answer:.0f} ms")
        expect("Stop is handled at once", waited < ANSWER_MS, waited)
        expect("Stop is answered at once", answer < ANSWER_MS, answer)
        expect("the program exits with 0", machine.wait(LIMIT_S) == 0)


class Evil(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>evil</title>")

    def log_message(self, *_):
        pass


def other_site(link):
    """A page of another origin in the same browser, which even knows the token."""
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    base, token = link.split("/?token=")
    with Browser(f"http://127.0.0.1:{site.server_port}/") as page:
        tried = page.driver.execute_async_script(
            "const [base, token, done] = arguments;"
            "const tell = (promise) => promise.then((a) => `${a.type} ${a.status}`, () => 'refused');"
            "const source = new Promise((yes) => { const s = new WebSocket(`${base.replace('http', 'ws')}/rows?token=${token}`);"
            "  s.onerror = () => yes('refused'); s.onmessage = () => yes('heard'); });"
            "Promise.all([tell(fetch(`${base}/?token=${token}`)), source,"
            "  tell(fetch(`${base}/stop`, {method: 'POST', headers: {'X-Token': token}})),"
            "  tell(fetch(`${base}/stop?token=${token}`, {method: 'POST', mode: 'no-cors'}))]).then(done)",
            base,
            token,
        )
        expect("another site has no access", tried == ["refused", "refused", "refused", "refused"], tried)
    site.shutdown()


def with_machine(steps, look):
    service, machine, link = start(SCRATCH, steps)
    try:
        look(service, machine, link)
    finally:
        for process in [machine, service]:
            process.kill()
            process.wait()
    print(f"{look.__name__}: ok")


with_machine(action(1, "settings") + action(2, "print") + action(3, "lid_image"), follow)
pictures = [step for number in range(10, 10 + MESSAGES // 8) for step in action(number, "lid_image")]
with_machine([{"await": "lid:closed", "timeout_s": 600}] + pictures, flood)
