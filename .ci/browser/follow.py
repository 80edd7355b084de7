"""Follows a machine in headless Chromium: rows that come while somebody looks, the rest of the page with them, the
machine's buttons, and another site that tries. Takes the binary and a folder to work in; leaves screenshots there."""

import base64
import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

BINARY, SCRATCH = Path(sys.argv.pop(1)).resolve(), Path(sys.argv[1]).resolve()

from look import Browser, By, expect  # noqa: E402 (it wants its own arguments)
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

LIMIT_S = 30
# As small as a JPEG gets: grey.
PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AR//Z"
)


def line(process, stream, words):
    for text in stream:
        if words in text:
            return text.strip()
    sys.exit(f"FAILED: {words} was never said; it ended with {process.wait(LIMIT_S)}")


def action(number, kind):
    more = {"motion_url": "{puls}", "endpoint": f"{{http}}/up/{number}"}
    send = {"send": {"id": number, "action_type": kind, "status": "ready", **more}, "timeout_s": LIMIT_S}
    return [send, {"await": f"{kind}:completed", "action_id": number, "timeout_s": LIMIT_S}]


def start(folder):
    """A service, and a machine at it whose button somebody has to press."""
    steps = action(1, "settings") + action(2, "print") + action(3, "lid_image") + [{"sleep_s": 600}]
    (folder / "script.json").write_text(json.dumps(steps))
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "HOME_1.jpg").write_bytes(PICTURE)
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
    # What is looked at may be replaced meanwhile.
    wait = WebDriverWait(page.driver, LIMIT_S, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda _: there(), what)
    expect(what, True)


def button(page, words):
    return next(button for button in page.all("#live button") if button.text == words)


def follow(service, machine, link):
    with Browser(link) as page:
        has = lambda words: words in page.one("#conversation").text
        until(page, "it is live", lambda: page.one("#state").text == "live")
        until(page, "the print waits for its button", lambda: has("print:download:completed"))
        loaded = page.count(".row")
        page.js("window.here = true")
        page.screenshot("follow-waits", whole=False)
        button(page, "Press the button").click()
        until(page, "the button was pressed, and a row says so", lambda: has("button:pressed"))
        until(page, "the print is through", lambda: has("print:completed"))
        until(page, "and what comes after it", lambda: has("lid_image:completed"))
        until(page, "the actions know", lambda: page.count("article[data-outcome=completed]") == 3)
        rows = page.count(".row")
        expect("more rows than there were", rows > loaded, rows)
        expect("each once", len(set(page.js("return [...document.querySelectorAll('.row')].map(r => r.id)"))) == rows)
        expect("rows know how it ended", page.count(".row.completed[data-action=print][data-outcome=completed]") > 4)
        expect("a job and a picture", (found := (page.count("#actions .job"), page.count("#actions .picture"))) == (1, 1), found)
        until(page, "the summary counts", lambda: f"Conversation ({page.count('.row')})" in page.one("nav").text)
        page.js("window.nav = document.querySelector('nav')")
        # What is open stays so, and the filter holds for what comes.
        page.click("#a1 .job summary")
        page.one("[name=words]").send_keys("lid:")
        button(page, "Open the lid").click()
        until(page, "the lid is open", lambda: page.shown(".row") == 1 and has("lid:opened"))
        button(page, "Close the lid").click()
        until(page, "the lid is closed", lambda: page.shown(".row") == 2 and has("lid:closed"))
        until(page, "the summary counts again", lambda: f"Conversation ({page.count('.row')})" in page.one("nav").text)
        expect("the links stayed", page.js("return window.nav === document.querySelector('nav')"))
        expect("what was open is open", page.count("#a1 .job[open]") == 1)
        page.click("#filter button[type=reset]")
        page.click("#a1 .job summary")
        expect("the page was never left", page.js("return window.here"))
        page.screenshot("follow-live")
        page.js("scrollTo(0, document.documentElement.scrollHeight)")
        page.screenshot("follow-bottom", whole=False)
        # And if markup got in, the policy would stop it.
        expect("no complaint", (log := page.driver.get_log("browser")) == [], log)
        page.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned=1\">')")
        page.shown("img")
        expect("the policy holds", page.js("return window.owned") is None)
        page.driver.get_log("browser")
        other_site(link)
        with Browser(link, 390, dark=True) as phone:
            until(phone, "a second one is live", lambda: phone.one("#state").text == "live")
            wide = phone.js("return document.documentElement.scrollWidth")
            expect("nothing is wider than a phone", wide <= 390, wide)
            phone.screenshot("follow-phone", whole=False)
        page.click("#live summary")
        button(page, "Stop the machine").click()
        until(page, "it is over", lambda: page.one("#state").text == "over: the machine has stopped")
        expect("its last word", has("stopped"))
        expect("and how it all was", f"Conversation ({page.count('.row')})" in page.one("nav").text, page.one("nav").text)
        expect("no buttons any more", all(not button.is_enabled() for button in page.all("#live button")))
        expect("the program ends well", machine.wait(LIMIT_S) == 0)
        page.screenshot("follow-over", whole=False)


class Evil(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>evil</title>")

    def log_message(self, *_):
        pass


def other_site(link):
    """A page of another origin in the same browser, that even knows the token."""
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    base, token = link.split("/?token=")
    with Browser(f"http://127.0.0.1:{site.server_port}/") as page:
        tried = page.driver.execute_async_script(
            "const [base, token, done] = arguments;"
            "const tell = (promise) => promise.then((a) => `${a.type} ${a.status}`, () => 'refused');"
            "const source = new Promise((yes) => { const s = new EventSource(`${base}/events?token=${token}`);"
            "  s.onerror = () => { s.close(); yes('refused'); }; s.onmessage = () => yes('heard'); });"
            "Promise.all([tell(fetch(`${base}/?token=${token}`)), source,"
            "  tell(fetch(`${base}/stop`, {method: 'POST', headers: {'X-Token': token}})),"
            "  tell(fetch(`${base}/stop?token=${token}`, {method: 'POST', mode: 'no-cors'}))]).then(done)",
            base,
            token,
        )
        expect("another site gets nothing", tried == ["refused", "refused", "refused", "refused"], tried)
    site.shutdown()


service, machine, link = start(SCRATCH)
try:
    follow(service, machine, link)
finally:
    for process in [machine, service]:
        process.kill()
        process.wait()
print("follow: good")
