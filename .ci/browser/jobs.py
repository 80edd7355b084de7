"""Checks the pages of jobs in headless Chromium: the numbers at several times against the ticks of the file, Play, the
layers, widths and colours. Takes the binary and a working folder, and writes screenshots there."""

import math
import subprocess
import sys
import time
from pathlib import Path

BINARY, SCRATCH = Path(sys.argv.pop(1)).resolve(), Path(sys.argv[1]).resolve()

from look import Browser, Select, expect  # noqa: E402 (after removing the first argument)

STEP_MM, HZ, LIMIT_S = 0.01875, 10_000, 30
PARTS = [0.05, 0.23, 0.5, 0.77, 1.0]


def run(*arguments):
    subprocess.run([BINARY, *arguments], cwd=SCRATCH, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def jobs():
    """Makes jobs, and their pages. Returns the files."""
    run("puls", "make", "--square", "40", "--at", "20,20", "--focus", "3", "-o", "square.puls")
    run("demo", "--dir", "jobs")
    printed = max((SCRATCH / "jobs" / "motion").glob("*_print_*.puls"))
    run("puls", "make", "--line", "400,10", "--speed", "200", "-o", "line.puls")
    files = [SCRATCH / "square.puls", printed, SCRATCH / "line.puls"]
    for path in files:
        run("puls", "view", path, "-o", f"{path.stem}.html")
    return files


def ticks(path):
    """Returns the position in X, Y and Z and the number of firing ticks, before each tick and at the end."""
    data = path.read_bytes()
    body = data[int.from_bytes(data[4:8], "little") :]
    at, found = (0, 0, 0, 0), [(0, 0, 0, 0)]
    for byte in body:
        if byte & 0x80 == 0:
            x, y, z, fired = at
            x += (byte & 1) * (-1 if byte & 2 else 1)
            y += (byte >> 2 & 1) * (1 if byte & 8 else -1)
            z += (byte >> 5 & 1) * (1 if byte & 0x40 else -1)
            at = (x, y, z, fired + (byte >> 4 & 1))
        found.append(at)
    return found


def seek(page, seconds):
    page.js(
        "const time = document.getElementById('time'); time.value = arguments[0];"
        "time.dispatchEvent(new Event('input', {bubbles: true}))",
        seconds,
    )


def read(page, name):
    return float(page.one(f"#{name}").text.split()[0])


def numbers(path):
    """Sets the slider, and compares what the page says with the ticks."""
    at = ticks(path)
    half_steps = 1 if b"ZSmd\x00\x00\x00\x00" not in path.read_bytes()[:2000] else 2
    with Browser(f"{path.stem}.html") as page:
        for part in PARTS:
            tick = round(part * (len(at) - 1))
            seek(page, tick / HZ)
            x, y, z, fired = at[tick]
            for name, mm, limit in [("x", x * STEP_MM, 0.02), ("y", y * STEP_MM, 0.02)]:
                found = read(page, name)
                expect(f"{path.stem} at tick {tick}: {name}", abs(found - mm) <= limit, f"{found}, not {mm}")
            # Shown with two decimals.
            z_mm, found = z * half_steps * 12.32 / 36, read(page, "z")
            expect(f"{path.stem} at tick {tick}: z", abs(found - z_mm) <= 0.0051, f"{found}, not {z_mm}")
            # Evenly in an interval of 14 ticks, and shown with two decimals.
            seconds, found = fired / HZ, read(page, "dose")
            expect(f"{path.stem} at tick {tick}: fired", abs(found - seconds) <= 0.0065, f"{found}, not {seconds}")
            begin = min(tick, len(at) - 2) // 14 * 14
            end = min(begin + 14, len(at) - 1)
            density = (at[end][3] - at[begin][3]) / (end - begin)
            shown, expected = page.one("#laser").text, f"{density:.2f}" if density > 0 else "off"
            expect(f"{path.stem} at tick {tick}: density", shown == expected, f"{shown}, not {expected}")
        if path.stem == "line":
            # On the way out, at full speed.
            tick = len(at) // 4
            seek(page, tick / HZ)
            mm_s = math.dist(at[tick - 500][:2], at[tick + 500][:2]) * STEP_MM / (1000 / HZ)
            expect("the speed of the line", abs(read(page, "v") - mm_s) < 3 and mm_s > 100, f'{read(page, "v")}, not {mm_s}')
        expect("the job moves", len({position[:2] for position in at}) > 1000)
        page.expect_quiet(path.stem)


# Copies a canvas for reading: the browser warns of reading one that is drawn on.
PIXELS = (
    "const pixels = (c) => { const copy = document.createElement('canvas'); copy.width = c.width; copy.height = c.height;"
    "const context = copy.getContext('2d', {willReadFrequently: true}); context.drawImage(c, 0, 0);"
    "return context.getImageData(0, 0, c.width, c.height).data; };"
)


def ink(page):
    """Returns the number of pixels that are drawn in both canvases."""
    return page.js(
        PIXELS + "return [...document.querySelectorAll('canvas')].map(c => pixels(c)"
        ".reduce((sum, value, i) => sum + (i % 4 === 3 && value > 0), 0))"
    )


def plays(path):
    with Browser(f"{path.stem}.html") as page:
        def now():
            minutes, seconds = page.one("#t").text.split(":")
            return 60 * int(minutes) + float(seconds)

        expect("starts at 0", now() == 0, now())
        Select(page.one("#rate")).select_by_value("1")
        page.click("#play")
        expect("the button offers a pause", page.one("#play").text == "Pause")
        limit = time.monotonic() + LIMIT_S
        while now() < 0.2 and time.monotonic() < limit:
            time.sleep(0.02)
        expect("the time advances", now() >= 0.2, now())
        page.click("#play")
        stopped = now()
        page.shown("body")
        expect("a pause stops it", now() == stopped and page.one("#play").text == "Play", now())
        Select(page.one("#rate")).select_by_value("200")
        page.click("#play")
        while page.one("#play").text == "Pause" and time.monotonic() < limit:
            time.sleep(0.02)
        end = (len(ticks(path)) - 1) / HZ
        expect("it stops at the end", page.one("#play").text == "Play" and abs(now() - end) < 0.006, (now(), end))
        Select(page.one("#rate")).select_by_value("1")
        page.click("#play")
        expect("and starts again", now() < end, now())
        page.expect_quiet("play")


def layers(path):
    with Browser(f"{path.stem}.html") as page:
        boxes = page.all("#layers input")
        expect("travel and a cut", len(boxes) >= 2, len(boxes))
        expect("travel is hidden at first", [box.is_selected() for box in boxes] == [False] + [True] * (len(boxes) - 1))
        boxes[0].click()
        seek(page, (len(ticks(path)) - 1) / HZ)
        every = ink(page)
        for box in boxes:
            box.click()
        none = ink(page)
        expect("less is drawn without layers", all(less < 0.9 * more for less, more in zip(none, every)), (none, every))
        boxes[0].click()
        travel = ink(page)
        expect("travel alone", all(a < b < c for a, b, c in zip(none, travel, every)), (none, travel, every))
        for box in boxes[1:]:
            box.click()
        expect("everything again", ink(page) == every, (ink(page), every))
        # What is done is drawn over what is to come.
        seek(page, 0)
        expect("nothing is done at the start", ink(page)[1] < 200 < every[1], ink(page))
        page.expect_quiet("layers")


def marker(path):
    """The head's marker is where the numbers say, at the scale of the picture's own grid."""
    at = ticks(path)
    with Browser(f"{path.stem}.html") as page:
        found = []
        for part in [0.3, 0.6]:
            tick = round(part * (len(at) - 1))
            seek(page, tick / HZ)
            centre = page.js(
                PIXELS + "const c = document.getElementById('done'); const box = c.getBoundingClientRect();"
                "for (const box of document.querySelectorAll('#layers input')) if (box.checked) box.click();"
                "const data = pixels(c);"
                "let n = 0, x = 0, y = 0; for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 0)"
                "{ n += 1; x += i / 4 % c.width; y += Math.floor(i / 4 / c.width); }"
                "return [x / n, y / n].map(v => v * box.width / c.width)"
            )
            found.append((centre, [steps * STEP_MM for steps in at[tick][:2]]))
        (px_a, mm_a), (px_b, mm_b) = found
        scale = math.dist(px_a, px_b) / math.dist(mm_a, mm_b)
        for axis in [0, 1]:
            way = (px_b[axis] - px_a[axis]) / scale
            expect("the marker moves with the head", abs(way - (mm_b[axis] - mm_a[axis])) < 1, (found, scale))


def widths_and_colours(files):
    for path in files:
        for width in [1280, 390]:
            for dark in [False, True]:
                with Browser(f"{path.stem}.html", width, dark) as page:
                    wide = page.js("return document.documentElement.scrollWidth")
                    expect(f"{path.stem} at {width}: fits the width", wide <= width, wide)
                    seek(page, (len(ticks(path)) - 1) / HZ / 3)
                    sizes = page.js("return [...document.querySelectorAll('canvas')].map(c => [c.clientWidth, c.clientHeight])")
                    expect("one canvas covers the other", sizes[0] == sizes[1] and sizes[0][1] >= 40, sizes)
                    page.screenshot(f"job-{path.stem.split('_')[-2] if '_' in path.stem else path.stem}-{width}-{'dark' if dark else 'light'}")
                    page.expect_quiet("widths")


files = jobs()
for path in files:
    numbers(path)
print("numbers: ok")
for look in [plays, layers, marker]:
    look(files[0])
    print(f"{look.__name__}: ok")
widths_and_colours(files)
print("widths_and_colours: ok")
