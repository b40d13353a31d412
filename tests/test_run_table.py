"""Promises of runs as a table, as curves and as a page: nothing is lost, invented, or fatal, and nothing breaks out."""

import copy
import csv
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import MISSING, Browser
from programs import run_script, train_tiny
from tiny import ROOT

from frontpage.errors import UserError
from frontpage.evaluation.metrics import ratio_with_error
from frontpage.notices import forget_notices, notices
from frontpage.run_comparison import SCORES, compare, title_nats
from frontpage.run_curves import Point, read_curves, thinned
from frontpage.run_directory import read_record
from frontpage.run_table import default_columns, differing, filter_rows, fitting, flatten, same_value
from frontpage.runs import collect_runs

NASTY = "</script><script>document.title='broken'</script> <b>& \"it's\""
CONFIG = {
    "name": "one",
    "seed": 1,
    "data": {"_target_": "frontpage.data.synthetic.SyntheticTitles", "path": None, "batch_size": 8},
    "model": {
        "_target_": "frontpage.models.gpt.GPTModule",
        "attention": {"_target_": "frontpage.attention.local.LocalAttention", "_partial_": True, "window": 8},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "n_layer": 2,
    },
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3, "betas": [0.9, 0.95]},
    "paths": {"run_dir": "/somewhere"},
}
FINAL = {"val/nats_per_char": 1.5, "val/nats_per_char_se": 0.01, "val/loss": 3.25, "val/mainrun_loss": None}
RECORD = {
    "status": "finished",
    "config": CONFIG,
    "git_commit": "0123456789abcdef",
    "git_dirty": True,
    "parameters": 12_345,
    "steps": 10,
    "tokens_seen": 2_560,
    "seconds": 2.5,
    "peak_memory_bytes": 2**30,
    "estimated_memory_bytes": 2**29,
    "tokens_per_second": 1024.0,
    "data": {"source": "embedded grammar", "fingerprint": "x"},
    "metrics": {"final": FINAL, "best": {"val/nats_per_char": 1.25, "step": 7}},
}


@pytest.fixture(autouse=True)
def fresh():
    forget_notices()


def write_run(directory: Path, loss: float = 1.5, **config) -> Path:
    """A run's directory as far as the table reads it, `config` by dotted keys with _ for a point."""
    record = copy.deepcopy(RECORD)
    record["metrics"]["final"]["val/nats_per_char"] = loss
    for key, value in config.items():
        *groups, last = key.split("__")
        node = record["config"]
        for group in groups:
            node = node[group]
        node[last] = value
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return directory


@pytest.fixture
def folder(tmp_path):
    """Three runs, and three that a crash has damaged."""
    write_run(tmp_path / "logs" / "a", 1.5)
    write_run(tmp_path / "logs" / "b", 1.25, optimizer__lr=5e-3, data__batch_size=16)
    write_run(tmp_path / "logs" / "deeper" / "a", 1.75, name="<two>")
    for name, text in {"cut": '{"status": "run', "list": "[]", "empty": '{"status": "running"}'}.items():
        (tmp_path / "logs" / name).mkdir()
        (tmp_path / "logs" / name / "run.json").write_text(text)
    (tmp_path / "logs" / "begun").mkdir()
    (tmp_path / "logs" / "begun" / "run.lock").touch()
    return tmp_path / "logs"


# The table


def test_a_row_says_what_the_record_says(folder):
    row = next(row for row in collect_runs(folder) if row["run"] == "logs/a")
    expected = {
        "name": "one",
        "status": "finished",
        "commit": "0123456+",
        "parameters": 12_345,
        "val/nats_per_char": 1.5,
        "val/mainrun_loss": None,
        "best/nats_per_char": 1.25,
        "best/step": 7,
        "model": "GPTModule",
        "model.attention": "LocalAttention",
        "model.attention.window": 8,
        "optimizer": "AdamW",
        "optimizer.betas": [0.9, 0.95],
        "data": "SyntheticTitles",
        "data.source": "embedded grammar",
        "directory": str(folder / "a"),
    }
    assert {name: row[name] for name in expected} == expected
    assert not {"model.optimizer.lr", "paths.run_dir", "model.attention._partial_"} & {*row}


def test_runs_are_told_apart_by_the_shortest_end_of_their_paths(folder):
    assert [row["run"] for row in collect_runs(folder)] == [
        "logs/a",
        "b",
        "begun",
        "cut",
        "deeper/a",
        "empty",
        "list",
    ]
    assert [row["run"] for row in collect_runs(folder / "b", folder / "b")] == ["b"]
    write_run(folder / "search" / "0")  # a number alone says nothing
    assert [row["run"] for row in collect_runs(folder / "search", folder / "b")] == ["search/0", "b"]


def test_damaged_records_are_named_and_harm_nothing(folder):
    rows = {row["run"]: row for row in collect_runs(folder)}
    reasons = {name: row["reason"] for name, row in rows.items() if row["status"] == "damaged"}
    assert {*reasons} == {"begun", "cut", "empty", "list"}
    assert "no run.json yet" in reasons["begun"] and "config metrics" in reasons["empty"]
    assert len(notices()) == 4 and all(rows[name]["directory"] in " ".join(notices()) for name in reasons)


def test_keys_that_differ_are_found_and_damaged_runs_do_not_count(folder):
    rows = collect_runs(folder)
    keys = flatten(CONFIG)
    assert differing(rows, keys) == ["name", "data.batch_size", "optimizer.lr"]
    assert default_columns(rows)[-2:] == ["data.batch_size", "optimizer.lr"]
    for row, value in zip([row for row in rows if row["status"] != "damaged"], (1, 2, 2), strict=True):
        row |= {"interval": value, "trainer.interval": value, "other.interval": 2 * value}
        row |= {"of_one_class": 1} if value == 1 else {}
    assert default_columns(rows)[-4:] == ["data.batch_size", "optimizer.lr", "interval", "other.interval"]
    assert "val/mainrun_loss" not in default_columns(rows)


@pytest.mark.parametrize(
    ("value", "wanted", "same"),
    [(0.005, "5e-3", True), (8, "8", True), (None, "null", True), (True, "true", True), (True, "1", False)]
    + [([0.9, 0.95], "[0.9,0.95]", True), ("AdamW", "AdamW", True), ("AdamW", "Adam", False), (8, "x", False)],
)
def test_a_condition_is_spelled_as_on_the_command_line(value, wanted, same):
    assert same_value(value, wanted) is same
    assert bool(filter_rows([{"key": value}], [f"key={wanted}"])) is same


def test_the_script_sorts_filters_and_writes_every_format(folder, tmp_path, capfd):
    files = {kind: tmp_path / f"table.{kind}" for kind in ("csv", "markdown", "json")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    ended = run_script(capfd, "collect_runs", folder, *options)
    assert (ended.status, ended.stderr) == (0, "")
    assert re.findall(r"^ *(\S+) +finished", ended.stdout, re.MULTILINE) == ["b", "logs/a", "deeper/a"]
    content = json.loads(files["json"].read_text())
    assert [row["run"] for row in content["runs"][:3]] == ["b", "logs/a", "deeper/a"] and len(content["notices"]) == 4
    with files["csv"].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == [row["run"] for row in content["runs"]]
    assert table[0]["val/nats_per_char"] == "1.25" and table[0]["model.attention"] == "LocalAttention"
    assert files["markdown"].read_text().startswith("| run | status | val/nats_per_char |")
    chosen = ["--where", "status=finished", "--where", "optimizer.lr=1e-3", "--sort", "run", "--descending"]
    ended = run_script(capfd, "collect_runs", folder, *chosen, "--columns", "run,optimizer.lr")
    assert ended.stdout.split("\n")[-4:] == [
        "run       optimizer.lr",
        "logs/a           0.001",
        "deeper/a         0.001",
        "",
    ]


def test_a_terminal_shows_what_fits_and_names_the_rest(folder):
    columns = ["run", "val/nats_per_char", "seconds", "optimizer.lr"]
    assert fitting(columns, [3, 17, 7, 12], 45) == columns
    assert fitting(columns, [3, 17, 7, 12], 44) == ["run", "val/nats_per_char", "optimizer.lr"]
    assert fitting(columns, [3, 17, 7, 12], 10) == ["run"]


MISTAKES = {
    "no such folder": (["{folder}s"], "there is no such folder (did you mean 'logs'?)"),
    "a file": (["{folder}/a/run.json"], "no run's directory, and no folder that holds one\n"),
    "unknown column": (["{folder}", "--sort", "val/nats_per_chr"], "did you mean 'val/nats_per_char'"),
    "unknown key": (["{folder}", "--where", "optimizer.l=1"], "did you mean 'optimizer.lr'"),
    "no value": (["{folder}", "--where", "optimizer.lr"], "key=value"),
    "nothing left": (["{folder}", "--where", "seed=99"], "no run is left"),
    "no folder": (["{folder}", "--csv", "{folder}/none/x.csv"], "--csv="),
    "no checkpoint": (["{folder}/a", "--compare"], "no best checkpoint"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_in_one_line(folder, words, said, capfd):
    ended = run_script(capfd, "collect_runs", *(word.format(folder=folder) for word in words))
    assert ended.status == 2 and said in ended.stderr and len(ended.stderr.splitlines()) <= 2


# Curves


def test_curves_have_every_update_once_and_leave_out_what_is_cut_off(tmp_path):
    run = write_run(tmp_path / "run")
    event = {"event": "training_step", "step": 2, "elapsed_time": 0.5, "loss": 3.0}
    lines = [event, event | {"loss": 2.9}, event | {"step": 4, "elapsed_time": 1.0, "loss": float("nan")}]
    lines.append(
        {"event": "validation_step", "step": 4, "elapsed_time": 1.5, "val/loss": 2.5, "val/mainrun_loss": None}
    )
    (run / "events.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "training_st')
    (run / "metrics.csv").write_text("step,time/elapsed_seconds,train/learning_rate\n1,0.5,0.01\n3,,\n3,1.0")
    assert read_curves(run) == {
        "train/loss": [Point(2, 512.0, 0.5, 2.9)],
        "val/loss": [Point(4, 1024.0, 1.5, 2.5)],
        "train/learning_rate": [Point(2, 512.0, 0.5, 0.01)],
    }
    assert read_curves(tmp_path) == {}


def test_a_thinned_curve_keeps_its_ends():
    points = [Point(step, step, step, 0.0) for step in range(1000)]
    thin = thinned(points, 300)
    assert len(thin) == 300 and (thin[0], thin[-1]) == (points[0], points[-1]) and len({*thin}) == 300
    assert thinned(points[:7], 300) == points[:7]


# Comparing


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


def test_text_from_runs_cannot_become_a_part_of_the_page(page, folder, tmp_path, capfd):
    write_run(folder / "nasty", 1.0, name=NASTY)
    second = tmp_path / "second.html"
    assert run_script(capfd, "report", folder, "--output", second).status == 0
    for text in (page.read_text(encoding="utf-8"), second.read_text(encoding="utf-8")):
        assert html.escape(NASTY) in text and "document.title='broken'</script>" not in text
        assert text.count("<script") == 2


def test_a_folder_without_one_good_run_still_has_a_page(folder, tmp_path, capfd):
    ended = run_script(capfd, "report", folder / "cut", "--output", tmp_path / "x.html")
    assert (ended.status, ended.stderr) == (0, "") and "cannot be read" in (tmp_path / "x.html").read_text()


def test_one_run_by_itself_shows_its_whole_configuration(folder, tmp_path, capfd):
    assert run_script(capfd, "report", folder / "a", "--output", tmp_path / "x.html").status == 0
    text = (tmp_path / "x.html").read_text()
    assert "<table id='configurations' class=''>" in text and "id='all-keys' checked" in text


def test_a_study_in_the_folder_is_linked_with_its_own_page(folder, capfd):
    for name in ("told", "untold"):
        (folder / "sweeps" / name).mkdir(parents=True)
        (folder / "sweeps" / name / "study.journal").touch()
    (folder / "sweeps" / "told" / "report.html").touch()
    assert run_script(capfd, "report", folder).status == 0
    text = (folder / "runs.html").read_text(encoding="utf-8")
    assert "href='sweeps/told/report.html'" in text and "make sweep-report" in text
    assert text.count("Not drawn: no trial has been validated") == 2


def test_a_search_is_drawn_with_the_best_so_far(folder, capfd):
    study = folder / "sweeps" / "search"
    for number, loss in enumerate((2.0, 3.0, 1.5)):
        write_run(study / str(number), loss, optimizer__lr=0.1 * number)
    record = json.loads((study / "1" / "run.json").read_text())
    (study / "1" / "run.json").write_text(json.dumps(record | {"status": "pruned"}))
    (study / "study.journal").touch()
    assert run_script(capfd, "report", folder).status == 0
    picture = re.search(r'<svg class="picture history".*?</svg>', (folder / "runs.html").read_text(), re.DOTALL)[0]
    assert picture.count("<circle") == 3 and picture.count('class="ended"') == 1
    assert "trial 1, pruned: 3.0000 optimizer.lr=0.1<" in picture
    line = re.search(r'<path class="best" d="(.*?)"', picture)[1]
    points = dict(re.findall(r'<circle(?: class="ended")? cx="(.*?)" cy="(.*?)"', picture))
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
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for word in ("make report", "make demo-runs", "scripts/collect_runs.py", "scripts/report.py", "--compare"):
        assert word in text
