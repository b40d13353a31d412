"""Promises of every page in a browser: it fits a phone and a wide screen, is legible by day and night, and has keys."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import runpy

import pytest
from browser import MISSING, Browser
from playgrounds import served
from programs import train_tiny
from run_folders import NASTY, write_run
from sweep_reports import full_fixture, told_fixture  # noqa: F401
from tiny import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
WIDTHS = [360, 900, 1600]
ENTER, RIGHT = "\ue007", "\ue014"  # WebDriver's codes of these keys
# The texts whose contrast with what is behind them is below 4.5, which WCAG 2.1 asks for (1.4.3).
FAINT = """
const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
const light = ([red, green, blue]) => [red, green, blue].map((one) => one / 255).map(
  (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4
).reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const found = numbers(getComputedStyle(one).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const faint = [];
for (const element of document.querySelectorAll("body *")) {
  const words = [...element.childNodes].filter((one) => one.nodeType === 3).map((one) => one.data).join("").trim();
  if (!words || !element.getClientRects().length || element.closest("script, style, title, option, .modebar")) continue;
  const style = getComputedStyle(element), drawn = element.closest("svg") && element.tagName !== "svg";
  const [one, other] = [light(numbers(drawn ? style.fill : style.color)), light(behind(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) faint.push(`${element.tagName} ${words.slice(0, 40)}: ${contrast.toFixed(2)}`);
}
return faint;
"""
DRAWN = {
    "runs": "return document.querySelectorAll('#curves path').length > 0",
    "search": "return [...document.querySelectorAll('.figure')].every(one => one.querySelector('.main-svg'))",
    "playground": "return document.querySelectorAll('.facts').length > 0",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def addresses(told, tmp_path_factory):
    """The address of each page, with names that are long, and that are markup."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "search.html").write_text(told[1], encoding="utf-8")
    run = train_tiny(folder / "logs" / "a-run-with-quite-a-long-name-as-people-give-them", "log_interval=1")
    write_run(folder / "logs" / "by-hand", 1.5, name=NASTY)
    (folder / "logs" / "by-hand" / "samples.txt").write_text(f"update 14\n  {NASTY}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["report.py", str(folder / "logs"), "--output", str(folder / "runs.html")])
        runpy.run_path(str(ROOT / "scripts" / "report.py"), run_name="__main__")
    with served(run) as playground:
        pages = {name: (folder / f"{name}.html").as_uri() for name in ("runs", "search")}
        yield pages | {"playground": playground.address}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", DRAWN)
def test_a_page_fits_and_is_legible(browser, addresses, page, width, dark):
    browser.complaints()
    browser.open(addresses[page], width, 900, dark)
    browser.wait(DRAWN[page])
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.run(FAINT) == []
    assert browser.complaints() == []


@pytest.mark.parametrize("page", ["runs", "search"])
def test_what_is_wider_than_a_phone_and_every_heading_that_sorts_is_reached_by_keys(browser, addresses, page):
    browser.open(addresses[page], 360)
    browser.wait(DRAWN[page])
    hidden = "return [...document.querySelectorAll('.scroll, .framed')].filter(one => one.tabIndex < 0).length"
    assert browser.run(hidden) == 0
    table = {"runs": "#runs-table", "search": "#trials-table"}[page]
    browser.run(f"document.querySelectorAll('{table} th button')[2].focus()")
    for order in ("ascending", "descending"):
        browser.press(ENTER)
        assert browser.run("return document.activeElement.parentElement.getAttribute('aria-sort')") == order


def test_the_arrow_keys_read_the_curves(browser, addresses):
    browser.open(addresses["runs"])
    browser.wait(DRAWN["runs"])
    metric = "const one = document.getElementById('metric'); one.value = 'train/loss';"
    browser.run(f"{metric} one.dispatchEvent(new Event('change')); document.getElementById('curves').focus()")
    said = []
    for _ in range(40):
        browser.press(RIGHT)
        said.append(browser.run("return document.getElementById('readout').textContent"))
    assert all("a-run-with-quite-a-long-name" in one for one in said) and said[0] != said[-1]
