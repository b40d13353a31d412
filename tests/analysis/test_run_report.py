"""Promises of the page of runs, and of runs compared title by title."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import json
import os
import re
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import MISSING, Browser
from markupsafe import escape
from programs import run_script, train_tiny
from run_folders import NASTY, folder, fresh, write_run  # noqa: F401
from tiny import ROOT

from frontpage.analysis.comparison import SCORES, compare, title_nats
from frontpage.analysis.pages.runs.page import _cards
from frontpage.analysis.pages.runs.studies import studies
from frontpage.analysis.pages.web_page.parts import duration
from frontpage.analysis.table import collect_runs
from frontpage.command.errors import UserError
from frontpage.command.notices import notices
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.runs.record import read_record
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles, seen_in_training


def test_the_error_of_a_paired_difference_is_that_of_a_ratio():
    draw = np.random.default_rng(0)
    sizes = draw.integers(20, 80, 400).astype(float)
    hard = sizes * draw.normal(1.5, 0.4, 400)
    one, other = hard + draw.normal(0, 1, 400), hard + draw.normal(0.5, 1, 400)
    tensors = [torch.from_numpy(array) for array in (one, other, sizes)]
    difference, error = ratio_with_error(tensors[1] - tensors[0], tensors[2])
    assert difference == pytest.approx((other.sum() - one.sum()) / sizes.sum())
    resampled = []
    for _ in range(2000):
        rows = draw.integers(0, 400, 400)
        resampled.append((other[rows] - one[rows]).sum() / sizes[rows].sum())
    assert error == pytest.approx(np.std(resampled), rel=0.1)  # the bootstrap knows no formula
    assert error < 0.3 * ratio_with_error(tensors[0], tensors[2])[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of two real runs of a second, and a third on other titles; titles in its samples are nasty."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    for name, overrides in {"slow": ["optimizer.lr=1e-4"], "quick": ["optimizer.lr=1e-2"]}.items():
        train_tiny(folder / name, f"name={name}", "log_interval=1", *overrides)
    samples = folder / "quick" / "samples.txt"
    samples.write_text(f"update 14\n  {NASTY}\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_runs_are_compared_by_title_with_their_best_weights(trained):
    best, other = compare([trained / "slow", trained / "quick"])
    assert (best.directory.name, best.difference, best.error) == ("quick", 0.0, 0.0)
    for one in (best, other):
        kept = read_record(one.directory)["metrics"]["best"]["val/nats_per_char"]
        assert one.value == pytest.approx(kept, rel=1e-5)
    assert other.difference == pytest.approx(other.value - best.value) and 0 < other.error < other.difference
    assert other.titles == 12


@pytest.mark.slow
def test_a_run_is_scored_once_and_again_when_its_weights_change(trained):
    run = trained / "slow"
    first = title_nats(run)
    kept = (run / SCORES).stat().st_mtime_ns
    assert title_nats(run).nll.tolist() == first.nll.tolist() and (run / SCORES).stat().st_mtime_ns == kept
    (run / SCORES).write_bytes(b"damaged")
    assert title_nats(run).nll.tolist() == first.nll.tolist() and "scored anew" in notices()[0]


@pytest.mark.slow
def test_runs_on_other_titles_are_not_compared(trained, tmp_path):
    other = train_tiny(tmp_path / "other", "data.seed=2")
    with pytest.raises(UserError, match="not validated on the titles of"):
        compare([trained / "slow", trained / "quick", other])


@pytest.mark.slow
@pytest.mark.parametrize("change", ["more", "other", "longer"])
def test_a_run_is_not_scored_on_a_file_that_has_other_titles_by_now(tmp_path, change):
    file, lines = tmp_path / "titles.txt", [f"Show HN: The {number}th way to write a compiler" for number in range(80)]
    file.write_text("\n".join(lines), encoding="utf-8")
    run = train_tiny(tmp_path / "run", "data=hn_titles", f"data.path={file}", "data.num_titles=null")
    assert title_nats(run).value == pytest.approx(read_record(run)["metrics"]["best"]["val/nats_per_char"], rel=1e-5)
    (run / SCORES).unlink()
    others = {"more": [*lines, "one more"], "other": [f"no {line}" for line in lines]}
    held_out = {*lines} - {*titles_of_training(run, lines)}
    others["longer"] = [line + " again" * (line in held_out) for line in lines]
    file.write_text("\n".join(others[change]), encoding="utf-8")
    with pytest.raises(UserError, match="has other titles now"):
        title_nats(run)


def titles_of_training(run, lines):
    seen = seen_in_training(lines, load_training_titles(Run(run)))
    return [line for line, known in zip(lines, seen, strict=True) if known]


# The page


@pytest.fixture
def page(trained, tmp_path, capfd):
    """The page about the real runs and a nasty name, compared by title."""
    output = tmp_path / "runs.html"
    ended = run_script(capfd, "report", trained, "--compare", "--output", output)
    assert (ended.status, ended.stderr) == (0, "")
    return output


@pytest.mark.slow
def test_the_page_tells_all_and_asks_for_nothing(page, trained):
    text = page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="runs">(.*?)</script>', text)[1])
    assert data["order"] == ["quick", "slow"]
    assert {"train/loss", "val/loss", "val/nats_per_char", "train/learning_rate"} <= {*data["curves"]["quick"]}
    assert f"{read_record(trained / 'quick')['metrics']['final']['val/nats_per_char']:.4f}" in text
    assert "minus best, paired" in text and "optimizer.lr" in text and "tokens a second" in text
    outside = re.findall(r"(?:src|href)=[\"'](?!data:)[^\"']+|@import|url\(|https?://(?!www\.w3\.org)", text)
    assert outside == [] and len(text) < 200_000


@pytest.mark.slow
def test_text_from_runs_cannot_become_a_part_of_the_page(page, folder, tmp_path, capfd):
    write_run(folder / "nasty", 1.0, name=NASTY)
    second = tmp_path / "second.html"
    assert run_script(capfd, "report", folder, "--output", second).status == 0
    for text in (page.read_text(encoding="utf-8"), second.read_text(encoding="utf-8")):
        assert escape(NASTY) in text and "document.title='broken'</script>" not in text
        assert text.count("<script") == 2


def test_a_folder_without_one_good_run_still_has_a_page(folder, tmp_path, capfd):
    ended = run_script(capfd, "report", folder / "cut", "--output", tmp_path / "x.html")
    assert (ended.status, ended.stderr) == (0, "") and "cannot be read" in (tmp_path / "x.html").read_text()


def test_one_run_by_itself_shows_its_whole_configuration(folder, tmp_path, capfd):
    assert run_script(capfd, "report", folder / "a", "--output", tmp_path / "x.html").status == 0
    text = (tmp_path / "x.html").read_text()
    assert '<table id="configurations" class="">' in text and 'id="all-keys" checked' in text


def test_a_study_in_the_folder_is_linked_with_its_own_page(folder, capfd):
    for name in ("told", "untold"):
        (folder / "sweeps" / name).mkdir(parents=True)
        (folder / "sweeps" / name / "study.journal").touch()
    (folder / "sweeps" / "told" / "report.html").touch()
    assert run_script(capfd, "report", folder).status == 0
    text = (folder / "runs.html").read_text(encoding="utf-8")
    assert 'href="sweeps/told/report.html"' in text and "make sweep-report" in text
    assert text.count("Not drawn: no trial has been validated") == 2


@pytest.mark.parametrize("name", ["lr#2", "javascript:alert(1)", "50%?", "a b", "é", "\udcff"])
def test_the_link_to_a_search_leads_to_its_page_whatever_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("study.journal", "report.html"):
        Path(name).mkdir(exist_ok=True)
        Path(name, file).touch()
    ((folder, address),) = studies([name], Path("runs.html"))
    parts = urllib.parse.urlsplit(urllib.parse.urljoin(f"{tmp_path.as_uri()}/runs.html", address))
    assert folder == name and (parts.scheme, parts.query, parts.fragment) == ("file", "", "")
    assert Path(os.fsdecode(urllib.parse.unquote_to_bytes(parts.path))) == tmp_path / name / "report.html"


def test_what_a_run_continued_in_another_folder_has_used_counts_once(tmp_path):
    for name, seconds, origin in (("a", 100, None), ("b", 250, "a"), ("c", 30, None), ("d", 40, "elsewhere")):
        checkpoint = origin and str(tmp_path / origin / "checkpoints" / "last.ckpt")
        file = write_run(tmp_path / name, ckpt_path=checkpoint) / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": seconds, "tokens_seen": seconds * 10**6}))
    (card,) = (one for one in _cards(collect_runs(tmp_path)) if "of training" in one.small)
    assert (card.big, card.small) == (duration(320), "of training, 320.0 million tokens")


@pytest.mark.parametrize(("error", "said"), [(0.0125, "1.5000 ± 0.0125"), (None, "1.5000")])
def test_an_error_that_is_not_known_is_not_shown_as_zero(tmp_path, error, said):
    file = write_run(tmp_path / "one") / "run.json"
    record = json.loads(file.read_text())
    record["metrics"]["final"]["val/nats_per_char_se"] = error
    file.write_text(json.dumps(record))
    assert next(iter(_cards(collect_runs(tmp_path)))).big == said


def test_a_search_is_drawn_with_the_best_so_far(folder, capfd):
    study = folder / "sweeps" / "search"
    for number, loss in enumerate((2.0, 3.0, 1.5)):
        write_run(study / str(number), loss, optimizer__lr=0.1 * number)
    record = json.loads((study / "1" / "run.json").read_text())
    (study / "1" / "run.json").write_text(json.dumps(record | {"status": "pruned"}))
    (study / "study.journal").touch()
    assert run_script(capfd, "report", folder).status == 0
    picture = re.search(
        r'<svg class="picture history".*?</svg>.*?</svg>', (folder / "runs.html").read_text(), re.DOTALL
    )[0]
    assert picture.count("<circle") == 3 and picture.count('class="ended"') == 1
    assert "trial 1, pruned: 3.0000 optimizer.lr=0.1<" in picture
    line = re.search(r'<path class="best" d="(.*?)"', picture)[1]
    points = dict(re.findall(r'<circle(?: class="ended")? cx="(.*?)%" cy="(.*?)"', picture))
    first, last = min(points, key=float), max(points, key=float)
    assert line == f"M{first} {points[first]}H{last}V{points[last]}H{last}"  # the pruned trial is left out


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_browser_draws_sorts_and_ticks_without_a_network_and_without_an_error(page, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(page.as_uri())
        paths = "return document.querySelectorAll('#curves path').length"
        assert browser.wait(paths) == 2
        assert browser.run("return performance.getEntriesByType('resource').length") == 0
        names = "return [...document.querySelectorAll('#runs-table tbody tr')].map(one => one.cells[0].textContent)"
        assert browser.run(names) == ["quick", "slow"]
        heading = (
            "[...document.querySelectorAll('#runs-table th')].find(one => one.textContent === 'val/nats_per_char')"
        )
        browser.run(f"{heading}.click(); {heading}.click()")
        assert browser.run(names) == ["slow", "quick"]
        browser.run("document.querySelector('#legend input').click()")
        assert browser.wait(paths, lambda count: count == 1)
        change = "const one = document.getElementById('%s'); one.value = '%s'; one.dispatchEvent(new Event('change'))"
        browser.run(change % ("metric", "train/loss"))
        browser.run(change % ("second", "val/loss"))
        browser.run(change % ("against", "2"))
        assert browser.run(paths) == 2  # both metrics of the run that is left
        assert browser.run("return document.querySelector('#curves path').getAttribute('d')").count("L") > 2
        hidden = "return getComputedStyle(document.querySelector('#configurations tr.same')).display"
        assert browser.run(hidden) == "none"
        browser.run("document.getElementById('all-keys').click()")
        assert browser.run(hidden) == "table-row"
        assert browser.run("return document.title").startswith("Runs in")
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints() == []
    finally:
        browser.close()


def test_the_scripts_are_named_where_people_look():
    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for word in ("make report", "make demo-runs", "scripts/collect_runs.py", "scripts/report.py", "--compare"):
        assert word in text
