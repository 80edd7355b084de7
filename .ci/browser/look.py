"""Checks reports in headless Chromium: content, filter, search, thumbnails, phone width, light and dark, scripts off, and
a malicious recording. Takes the folder with the pages, and writes screenshots there."""

import base64
import shutil
import subprocess
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

PAGES = Path(sys.argv[1]).resolve()
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --hide-scrollbars --disable-dev-shm-usage"
).split()
CHROMIUM = shutil.which("chromium")
# Generous: the tests must not fail on a busy machine.
LONG_LOAD_S, LONG_FILTER_MS = 30, 3000

done = 0


def expect(what, good, found=None):
    global done
    if not good:
        sys.exit(f"FAILED {what}: {found}")
    done += 1


class Browser:
    """A browser with one page open. It can resolve no other host."""

    def __init__(self, page, width=1280, dark=False, scripts=True):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]:
            options.add_argument(flag)
        if not scripts:
            options.add_argument("--blink-settings=scriptEnabled=false")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.url = page if "://" in page else (PAGES / page).as_uri()
        since = time.monotonic()
        self.driver.get(self.url)
        self.load_s = time.monotonic() - since

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def js(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector):
        return self.js("return document.querySelectorAll(arguments[0]).length", selector)

    def shown(self, selector):
        """Returns how many of these the filter shows, after the next frame."""
        return self.driver.execute_async_script(
            "const [selector, done] = arguments; requestAnimationFrame(() => requestAnimationFrame(() =>"
            "done([...document.querySelectorAll(selector)].filter(e => !e.closest('[hidden]')).length)))",
            selector,
        )

    def click(self, selector):
        element = self.one(selector)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def screenshot(self, name, height=4000, whole=True):
        if not whole:
            self.driver.save_screenshot(str(PAGES / f"{name}.png"))
            return
        self.js("document.querySelectorAll('article, .rows').forEach(e => e.style.contentVisibility = 'visible')")
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (PAGES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def expect_quiet(self, what):
        """Expects an empty console, and no requests but for the page itself."""
        expect(f"{what}: empty console", (log := self.driver.get_log("browser")) == [], log)
        requests = [
            line
            for line in (entry["message"] for entry in self.driver.get_log("performance"))
            if '"Network.requestWillBeSent"' in line and self.url not in line and '"url":"data:' not in line
        ]
        expect(f"{what}: no request", requests == [], requests)


def content():
    with Browser("ordinary.html") as page:
        expect("a title", "2.6 machine" in page.driver.title, page.driver.title)
        expect("14 actions", page.shown("article") == 14, page.shown("article"))
        words = page.one("body").text
        for word in ["Problems (", "print 1011", "404", "focus 1013", "has no recorded ending", "0 µs"]:
            expect(word, word in words)
        rows = page.count(".row")
        expect("a row for each entry", f"Conversation ({rows})" in page.one("nav").text)
        # JSON on demand, from the keyboard.
        row = page.one(".row.in")
        page.js("arguments[0].querySelector('summary').focus()", row)
        page.driver.switch_to.active_element.send_keys("\n")
        expect("JSON on demand", '"action_type": "settings"' in row.find_element(By.TAG_NAME, "pre").text)
        page.click(".settings > summary")
        expect("settings by subsystem", "air assist" in page.one(".settings").text)
        expect("a table for each subsystem", page.count(".subsystems table") > 40)
        page.expect_quiet("an ordinary page")


def thumbnails():
    with Browser("ordinary.html") as page:
        pictures = page.all(".picture, .job")
        expect("pictures and jobs", len(pictures) >= 9, len(pictures))
        for picture in pictures:
            svg = picture.find_element(By.TAG_NAME, "svg")
            page.js("arguments[0].scrollIntoView({block: 'center'})", picture)
            small = svg.size["width"]
            # An empty or single-colour image would compress to less.
            expect("the thumbnail is not blank", len(svg.screenshot_as_png) > 2000, len(svg.screenshot_as_png))
            picture.find_element(By.TAG_NAME, "summary").click()
            large = svg.size["width"]
            expect("full size on a click", small < 260 and large > 2 * small, (small, large))
            picture.find_element(By.TAG_NAME, "summary").click()
        expect("each picture once", page.count("image") < len(page.all(".picture")))
        page.expect_quiet("pictures")


def filters():
    with Browser("ordinary.html") as page:
        every = page.shown(".row")
        Select(page.one("[name=action]")).select_by_value("print")
        expect("by action", page.shown("article") == 2, page.shown("article"))
        rows = page.shown(".row")
        expect("rows by action", rows == page.shown(".row[data-action=print]") and 0 < rows < every, rows)
        page.click("[name=outcome][value=completed]")
        expect("by outcome", page.shown("article") == 1 == page.shown("article[data-outcome=failed]"))
        page.click("button[type=reset]")
        expect("everything again", page.shown(".row") == every)
        for channel in ["service", "storage", "machine"]:
            page.click(f"[name=channel][value={channel}]")
        expect("by channel", page.shown(".row") == page.shown(".row[data-channel=status]") > 0)
        expect("articles have all channels", page.shown("article") == 14)
        page.click("button[type=reset]")
        page.one("[name=words]").send_keys("1010 WARMUP")
        expect("search", page.shown(".row") == 1 and page.shown("article") == 1, page.shown(".row"))
        expect("the counts", page.one("output").text == "1 action, 1 row", page.one("output").text)
        # A link reveals its target even if the filter hides it.
        hidden = page.js("return document.querySelector('.row[hidden]').id")
        page.js("location.hash = arguments[0]", hidden)
        expect("a link reveals its target", page.shown(f"#{hidden}") == 1)
        page.expect_quiet("filters")


def changes():
    with Browser("old.html") as page:
        summary = page.all(".settings > summary")[1].text
        expect("the summary of changes", "settings changed since the last report" in summary, summary)
        expect("old and new values", page.count(".changes td") >= 2)
        page.expect_quiet("the older generation")


def widths_and_colours():
    backgrounds = set()
    for name in ["ordinary", "old", "hostile"]:
        for width in [1280, 390, 320]:
            for dark in [False, True]:
                with Browser(f"{name}.html", width, dark) as page:
                    page.screenshot(f"{name}-{width}-{'dark' if dark else 'light'}")
                    page.js("document.querySelectorAll('details').forEach(e => e.open = true)")
                    wide = page.js("return document.documentElement.scrollWidth")
                    expect(f"{name} at {width}: fits the width", wide <= width, wide)
                    backgrounds.add((dark, page.js("return getComputedStyle(document.body).backgroundColor")))
    expect("two colour schemes", len(backgrounds) == 2 == len({color for _, color in backgrounds}), backgrounds)


def malicious():
    with Browser("hostile.html") as page:
        page.js("document.querySelectorAll('details').forEach(e => e.open = true)")
        page.one("[name=words]").send_keys("<script>")
        expect("search finds it as text", page.shown(".row") > 5)
        expect("nothing ran", page.js("return window.owned") is None)
        expect("the page did not navigate away", page.driver.current_url.split("#")[0] == page.url)
        for selector in ["iframe", "img", "base", "link", "object", "embed", "article script", "[onload]", "[onerror]"]:
            expect(f"no {selector}", page.count(selector) == 0)
        expect("one script", page.count("script") == 1)
        expect("links stay inside", page.js("return [...document.links].every(a => a.getAttribute('href')[0] == '#')"))
        page.expect_quiet("a hostile page")
        # Even injected markup is blocked by the policy.
        page.js(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned=1\"><b style=\"color:red\">b</b>"
            "<a id=bad href=\"javascript:window.owned=2\">a</a>');"
            "const s = document.createElement('script'); s.textContent = 'window.owned=3'; document.body.append(s);"
            "document.getElementById('bad').click()"
        )
        page.shown("a")
        expect("the policy blocks it", page.js("return window.owned") is None, page.js("return window.owned"))
        errors = page.driver.get_log("browser")
        expect("the console reports it", sum("Content Security Policy" in line["message"] for line in errors) >= 3, errors)


def scripts_off():
    with Browser("ordinary.html", scripts=False) as page:
        expect("scripts are off", page.one("output").text == "")
        expect("no filter without scripts", not page.one("#filter").is_displayed())
        expect("everything is there", page.count("article") == 14 and page.count("[hidden]") == 1)
        picture = page.one(".picture")
        small = picture.find_element(By.TAG_NAME, "svg").size["width"]
        page.click(".picture > summary")
        large = picture.find_element(By.TAG_NAME, "svg").size["width"]
        expect("full size on a click", large > 2 * small, (small, large))
        page.click(".row.in > summary")
        expect("JSON on demand", '"action_type"' in page.one(".row.in pre").text)
        page.screenshot("scripts-off")
        expect("the screenshot is not blank", (PAGES / "scripts-off.png").stat().st_size > 100_000)


def long():
    with Browser("long.html") as page:
        rows = page.count(".row")
        expect("10,000 messages", rows > 10_000, rows)
        expect("50 jobs", page.count(".job") == 50)
        took_ms = page.driver.execute_async_script(
            "const done = arguments[0]; const since = performance.now();"
            "const words = document.querySelector('[name=words]'); words.value = 'print:warmup';"
            "words.dispatchEvent(new Event('input', {bubbles: true}));"
            "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - since)))"
        )
        expect("search", page.shown(".row") == 50, page.shown(".row"))
        print(f"10,000 messages: open in {page.load_s:.2f} s, searched in {took_ms:.0f} ms")
        expect("opens fast enough", page.load_s < LONG_LOAD_S, page.load_s)
        expect("searches fast enough", took_ms < LONG_FILTER_MS, took_ms)
        page.expect_quiet("a long page")


if __name__ == "__main__":
    for look in [content, thumbnails, filters, changes, widths_and_colours, malicious, scripts_off, long]:
        look()
        print(f"{look.__name__}: ok")
    print(f"{done} checks passed in {subprocess.check_output([CHROMIUM, '--version'], text=True).strip()}")
