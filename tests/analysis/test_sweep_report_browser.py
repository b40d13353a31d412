"""The promise of the page about a study in a browser: it draws and sorts without a network."""

import html
import json
import re
import shutil
import subprocess

import pytest
from run_folders import fresh  # noqa: F401
from sweep_reports import PANELS, full_fixture, told_fixture  # noqa: F401

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHECK = """<pre id="result"></pre><script>
const heads = [...document.querySelectorAll("#trials-table th")];
const at = heads.findIndex((one) => one.textContent === "optimizer.lr");
const column = () => [...document.querySelectorAll("#trials-table tbody tr")].map((row) => row.cells[at].dataset.value);
const orders = [0, 1].map(() => { heads[at].click(); return column(); });
setTimeout(() => {
  const figures = [...document.querySelectorAll(".figure")];
  document.getElementById("result").textContent = JSON.stringify({
    faults, orders, title: document.title, requests: performance.getEntriesByType("resource").length,
    figures: figures.length, drawn: figures.filter((one) => one.querySelector(".main-svg .trace path")).length,
    wide: document.documentElement.scrollWidth > window.innerWidth,
  });
}, 3000);
</script>"""
GUARD = """<head><meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';
style-src 'unsafe-inline'; img-src data: blob:"><script>
const faults = [];
for (const kind of ["error", "warn"]) {
  const say = console[kind]; console[kind] = (...words) => { faults.push(words.join(" ")); say(...words); };
}
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => faults.push("asked for " + event.blockedURI));
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_and_sorts_without_a_network_and_without_an_error(told, tmp_path):
    page = told[1]
    watched = tmp_path / "watched.html"
    watched.write_text(page.replace("<head>", GUARD, 1).replace("</body>", CHECK + "</body>"), encoding="utf-8")
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    quiet += " --disable-component-update --disable-sync --virtual-time-budget=20000 --window-size=1280,900 --dump-dom"
    shown = subprocess.run(
        [CHROMIUM, *quiet.split(), f"--user-data-dir={tmp_path / 'profile'}", watched.as_uri()],
        capture_output=True,
        text=True,
        timeout=150,
    )
    found = json.loads(html.unescape(re.search(r'<pre id="result">(.+?)</pre>', shown.stdout, re.DOTALL)[1]))
    assert found["faults"] == [] and found["requests"] == 0 and found["title"] == "full"
    given = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)[1])
    assert {*given} == PANELS and found["figures"] == found["drawn"] == sum(map(len, given.values()))
    assert not found["wide"]
    rising, falling = ([float(one) for one in order] for order in found["orders"])
    assert rising == sorted(rising) and falling == rising[::-1] and len({*rising}) > 10
