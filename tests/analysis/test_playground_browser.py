"""Promises of the playground's page in a real browser; skipped where there is no Chromium."""

import os
import signal
import subprocess
import sys

import pytest
from browser import MISSING, Browser
from playgrounds import served
from programs import train_tiny
from tiny import ROOT

pytestmark = [pytest.mark.slow]
in_browser = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
DONE = (
    "const facts = [...document.querySelectorAll('.facts')]; return facts.length > 0 && facts.every("
    "one => one.textContent.startsWith('log'))"
)
TITLES = "return [...document.querySelectorAll('section:nth-child(%d) .title')].map(one => one.textContent)"
DOWN, RIGHT, ENTER, ESCAPE = "\ue015", "\ue014", "\ue007", "\ue00c"  # WebDriver's codes of these keys


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("browser") / "run")


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(window):
    """The browser; a test fails where the page has made it complain."""
    window.complaints()
    yield window
    assert window.complaints() == []


@pytest.fixture(scope="module")
def playground(run):
    with served(run, run / "checkpoints" / "last.ckpt") as playground:
        yield playground


@in_browser
def test_what_is_typed_is_continued_by_both_runs_and_shown_as_text(browser, playground, tmp_path):
    browser.open(playground.address)
    browser.wait(DONE)
    assert browser.run("return document.querySelectorAll('section').length") == 2
    browser.run("document.getElementById('prompt').select()")
    browser.type("#prompt", "<b>x</b> & 東")
    for place in (1, 2):
        titles = browser.wait(TITLES % place, lambda found: all("<b>x</b> & " in one for one in found) and found)
        assert len(titles) == 5
    assert browser.run("return document.querySelectorAll('.title b').length") == 0
    browser.picture(tmp_path / "playground.png")
    assert (tmp_path / "playground.png").stat().st_size > 10_000


@in_browser
def test_sliders_and_seed_change_the_titles_and_come_back(browser, playground):
    browser.open(playground.address)
    browser.wait(DONE)
    first = browser.run(TITLES % 1)
    browser.point("#again", click=True)
    other = browser.wait(TITLES % 1, lambda found: found != first and len(found) == 5)
    browser.wait(DONE)
    change = "const one = document.getElementById('%s'); one.value = %s; one.dispatchEvent(new Event('input', %s))"
    browser.run(change % ("num", 2, "{bubbles: true}"))
    browser.wait(TITLES % 1, lambda found: len(found) == 2)
    browser.run(change % ("temperature", 0, "{bubbles: true}"))
    browser.wait(TITLES % 1, lambda found: len(found) == 2 and found[0] == found[1])
    for name, value in (("seed", 0), ("temperature", 0.8), ("num", 5)):
        browser.run(change % (name, value, "{bubbles: true}"))
    browser.wait(DONE)
    assert browser.wait(TITLES % 1, lambda found: found == first) != other


@in_browser
def test_a_token_shows_what_was_likely_and_can_be_taken_by_keys_alone(browser, playground):
    browser.open(playground.address)
    browser.wait(DONE)
    browser.run("document.querySelector('.token').focus()")
    browser.press(RIGHT, RIGHT, RIGHT, DOWN)
    chosen = browser.run("return document.activeElement.token")
    assert browser.run("return document.activeElement.parentElement.parentElement.previousElementSibling !== null")
    assert browser.run("return document.querySelectorAll('#panel .choice').length") == 5
    shown = browser.run("return document.getElementById('panel').textContent")
    assert chosen["spelling"] in shown and f"rank {chosen['rank']}" in shown and f"{chosen['nats']:.2f} nats" in shown
    browser.press(ENTER)
    assert browser.run("return document.getElementById('panel').contains(document.activeElement)")
    browser.press(ESCAPE)
    assert browser.run("return document.activeElement.token.spelling") == chosen["spelling"]
    browser.press(ENTER)
    browser.run("document.querySelector('#panel .onward').focus()")
    expected = browser.run(
        "return [...document.querySelectorAll('.title')].find(one => one.querySelector('.chosen')).textContent"
    )
    browser.press(ENTER)
    beginning = browser.run("return document.getElementById('prompt').value")
    assert beginning not in ("", "Show HN: ") and expected.startswith(beginning)
    browser.wait(TITLES % 1, lambda found: all(one.startswith(beginning) for one in found) and found)


@in_browser
@pytest.mark.parametrize("width", [320, 1200])
def test_the_page_fits_a_phone_and_every_field_has_a_label(browser, playground, width):
    browser.open(playground.address, width, 800)
    browser.wait(DONE)
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.run("return [...document.querySelectorAll('input')].every(one => one.labels.length === 1)")
    assert browser.run("return [...document.querySelectorAll('.token')].every(one => one.ariaLabel.includes('rank'))")


@in_browser
def test_a_mistake_is_said_on_the_page(browser, playground):
    browser.open(playground.address)
    browser.wait(DONE)
    browser.run("document.getElementById('prompt').value = 'x'.repeat(99)")
    browser.type("#prompt", "y")
    said = browser.wait("return document.querySelector('.problem:not(:empty)')?.textContent")
    assert "fill the block of 32" in said
    assert browser.run("return document.querySelectorAll('.title').length") == 0  # none of another beginning
    assert any("400" in one for one in browser.complaints())  # the browser's own line about the refused request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_ends_cleanly(run, number):
    command = [sys.executable, ROOT / "scripts" / "playground.py", run, "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, **pipes) as process:
        try:
            assert any("open http://127.0.0.1:" in line for line in process.stdout)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "")
    assert output.strip() == "interrupted"
