"""Promises of the page about a study: it says what there was, draws what can be drawn, and opens without a network."""

import html
import json
import math
import random
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState
from programs import run_script, train_tiny, training_titles, write_csv
from studies import SPACE, add, new_study, record_of
from tiny import ROOT, TINY

from frontpage.analysis.pages.sweeps.study_file import open_study
from frontpage.analysis.pages.sweeps.sweep import read_sweep
from frontpage.analysis.pages.sweeps.table import columns_of
from frontpage.command.notices import forget_notices

pytest.importorskip("plotly", reason="needs frontpage[report]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = "</script><script>document.title='broken'</script> <b>& \"it's\""
PANELS = {"history-0", "curves", "weights-0", "distribution", "importances", "slices-0", "parallel", "pairs"}


@pytest.fixture(autouse=True)
def fresh():
    forget_notices()


@pytest.fixture
def report(capfd, tmp_path):
    """report(study, ...) writes the page of a study and returns (JSON, text of the page)."""

    def written(study, *arguments):
        page, output = tmp_path / "page.html", tmp_path / "report.json"
        ended = run_script(capfd, "sweep_report", study, "--output", page, "--json", output, *arguments)
        assert (ended.status, ended.stderr) == (0, ""), ended.stderr
        refuse = {"parse_constant": lambda name: pytest.fail(f"{name} in the JSON")}
        return json.loads(output.read_text(encoding="utf-8"), **refuse), page.read_text(encoding="utf-8")

    return written


def drawn(page):
    """The keys of the plots that the page draws."""
    return {*json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)[1])}


def lacking(page):
    """What the page says of plots that it does not draw."""
    return re.findall(r'class="lacking">Not drawn: (.*?)\.</p>', page)


def full_study(folder, trials=14):
    """A study with everything: conditional and listed parameters, pruned, failed, continued and running trials."""
    draw = random.Random(1)
    space = SPACE | {
        "model.attention.window": IntDistribution(4, 32),
        "optimizer.betas": CategoricalDistribution(["[0.9,0.95]", NASTY]),
    }
    study = new_study(folder, space={name: str(one) for name, one in space.items()})
    for _ in range(trials):
        params = {"optimizer.lr": 10 ** draw.uniform(-4, -1), "model.d_model": draw.randint(16, 256)}
        params |= {
            "model/attention": draw.choice(["causal", "local"]),
            "optimizer.betas": draw.choice(["[0.9,0.95]", NASTY]),
        }
        if params["model/attention"] == "local":
            params["model.attention.window"] = draw.randint(4, 32)
        loss = 1.5 + 0.1 * (math.log10(params["optimizer.lr"]) + 2.5) ** 2 + draw.gauss(0, 0.01)
        record, curve = record_of(loss, 100 * params["model.d_model"]), {50: loss + 1, 100: loss + 0.1}
        add(study, params, loss, curve=curve, record=record, space=space)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.PRUNED, curve={50: 3.0}, reason="above the median")
    add(study, {"optimizer.lr": 0.1}, state=TrialState.FAIL, curve={50: float("nan")}, reason=NASTY)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.FAIL, requeued=17)
    add(study, {"optimizer.lr": 0.1}, state=TrialState.WAITING, retry_of=16)
    return study


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The folder of the full study."""
    folder = tmp_path_factory.mktemp("sweeps") / "full"
    full_study(folder)
    return folder


@pytest.fixture(scope="module")
def told(full, tmp_path_factory):
    """(JSON, text of the page) of the full study."""
    page, output = (tmp_path_factory.mktemp("told") / name for name in ("page.html", "report.json"))
    words = ["sweep_report.py", str(full / "study.journal"), "--output", str(page), "--json", str(output)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / "scripts" / "sweep_report.py"), run_name="__main__")
    return json.loads(output.read_text(encoding="utf-8")), page.read_text(encoding="utf-8")


def test_the_page_tells_the_whole_study(told):
    result, page = told
    losses = {trial["number"]: trial["values"][0] for trial in result["trials"] if trial["values"]}
    best = min(losses, key=losses.get)
    assert result["best"] == {"trial": best, "values": [losses[best]]}
    assert result["counts"] == {"finished": 14, "pruned": 1, "failed": 1, "waiting": 1, "continued": 1}
    assert drawn(page) == PANELS and lacking(page) == []
    shares = result["importances"]["val/nats_per_char"]
    assert {*shares} == {*SPACE, "model.attention.window", "optimizer.betas"} and math.isclose(sum(shares.values()), 1)
    for piece in (
        f"{losses[best]:.4f} ± 0.0100",
        "above the median",
        "trial 17 continues it",
        "hparams_search=a_search",
    ):
        assert piece in page
    assert f"The best trial: {best}" in page and "does not say which overrides" in page
    assert "val/mainrun_coverage" in page and "0.9000" in page


def test_text_from_runs_cannot_become_a_part_of_the_page(told):
    page = told[1]
    assert "document.title='broken'</script>" not in page
    assert html.escape(NASTY) in page
    assert page.count("<script") == 3  # plotly, the figures, what draws them


def test_the_page_asks_for_nothing_from_a_network(told):
    page = told[1]
    own = page.replace(re.search(r"</style></head>\n.*?(<script>.*?</script>\n)", page, re.DOTALL)[1], "")
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]+\"", own) == [] and "@import" not in own and "http" not in own


def test_the_honest_and_the_legacy_metric_stand_side_by_side(full):
    names = [column.name for column in columns_of(read_sweep(open_study(str(full))))]
    at = names.index("val/nats_per_char")
    assert names[at : at + 4] == ["val/nats_per_char", "± standard error", "val/mainrun_loss", "val/mainrun_coverage"]


def test_several_objectives_have_a_front(tmp_path, report):
    study = new_study(tmp_path / "two", objectives=("val/nats_per_char", "parameters"))
    points = [(1.0, 900.0, 16), (2.0, 500.0, 32), (2.5, 950.0, 64), (1.5, 700.0, 128), (1.0, 901.0, 17)]
    for loss, size, width in points:
        add(study, {"model.d_model": width}, [loss, size], record=record_of(loss, int(size)))
    result, page = report(tmp_path / "two")
    assert result["pareto"] == [0, 3, 1] and result["best"]["trial"] == 0
    assert {"pareto", "history-1", "slices-1", "weights-0"} <= drawn(page) and "weights-1" not in drawn(page)
    assert 'id="pareto-table"' in page


@pytest.mark.slow
def test_a_maximised_objective_is_best_where_it_is_highest(tmp_path):
    import optuna

    new_study(tmp_path)  # for the verbosity
    study = optuna.create_study(direction="maximize", study_name="up", storage=f"sqlite:///{tmp_path}/up.db")
    for number, value in enumerate((0.1, 0.9, float("inf"), 0.5)):
        study.add_trial(
            optuna.create_trial(value=value, params={"a": number}, distributions={"a": IntDistribution(0, 9)})
        )
    sweep = read_sweep(open_study(f"sqlite:///{tmp_path}/up.db"))
    assert sweep.winner.number == 1 and [trial.number for trial in sweep.finished] == [0, 1, 3]
    assert sweep.objectives == ["objective"] and "no finite number" in sweep.trials[2].reason


def some(folder, kind):
    """A study at the edge of what can be drawn."""
    study = new_study(folder / kind)
    lr = "optimizer.lr"
    if kind == "one":
        add(study, {lr: 0.01}, 1.5, record=record_of(1.5))
    elif kind == "failed":
        for _ in range(3):
            add(study, {lr: 0.01}, state=TrialState.FAIL, reason="diverged", curve={10: float("nan")})
    elif kind == "one parameter":
        for place in range(5):
            add(study, {lr: 0.01 + place / 100}, 1.5 + place)
    elif kind == "no parameter":
        for place in range(3):
            add(study, {}, 1.5 + place)
    elif kind == "all alike":
        for place in range(4):
            add(study, {lr: 0.01 + place / 100}, 1.5)
    elif kind == "conditional":
        for place in range(6):
            add(study, {lr: 0.01} if place % 2 else {"model.d_model": 16 + place}, 1.5 + place)
    elif kind == "infinite":
        add(study, {lr: 0.01}, float("inf"), record=record_of(None))
        add(study, {lr: 0.02}, 1.5, curve={1: float("inf"), 2: 2.0})
    return folder / kind


EDGES = {
    "none": (set(), "no trial has finished"),
    "one": ({"history-0"}, "needs two finished trials"),
    "failed": (set(), "no trial has finished"),
    "one parameter": ({"history-0", "distribution", "importances", "slices-0", "parallel"}, "needs two parameters"),
    "no parameter": ({"history-0", "distribution"}, "no parameter has had two values"),
    "all alike": ({"history-0", "distribution", "slices-0", "parallel"}, "differ in a parameter and in their results"),
    "conditional": ({"history-0", "distribution", "importances", "slices-0"}, "a parameter that all of them have"),
    "infinite": ({"history-0", "curves"}, "needs two finished trials"),
}


@pytest.mark.parametrize("kind", EDGES)
def test_what_cannot_be_drawn_is_said(kind, tmp_path, report):
    result, page = report(some(tmp_path, kind))
    plots, said = EDGES[kind]
    assert drawn(page) == plots
    assert any(said in one for one in lacking(page)), lacking(page)
    assert len(lacking(page)) == len(PANELS) - len(plots)
    assert (result["best"] is None) == (kind in ("none", "failed"))
    assert ("No trial has finished yet" in page) == (result["best"] is None)


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
    assert found["figures"] == found["drawn"] == len(PANELS)
    assert not found["wide"]
    rising, falling = ([float(one) for one in order] for order in found["orders"])
    assert rising == sorted(rising) and falling == rising[::-1] and len({*rising}) > 10


# Errors


MISTAKES = {
    "unknown name": (["ful"], "did you mean 'full'"),
    "no file": (["{folder}/none.journal"], "no such study"),
    "a folder without": (["{folder}"], "has no study.journal"),
    "no journal": (["{folder}/titles.csv"], "not a journal file of Optuna's"),
    "binary": (["{folder}/binary"], "not a journal file of Optuna's"),
    "empty file": (["{folder}/empty"], "holds no study"),
    "other study": (["{folder}/logs/sweeps/full/study.journal#ful"], "did you mean 'full'"),
    "several": (["{folder}/several/study.journal"], "#several #other"),
    "no database": (["sqlite:///{folder}/none.db"], "there is no file"),
    "other database": (["sqlite:///{folder}/titles.csv"], "no database of Optuna's"),
    "unknown database": (["nosql://user:hushhush@host/x"], "no database of Optuna's"),
    "no folder": (["full", "--output", "{folder}/none/page.html"], "a file in an existing folder"),
    "nothing to score": (["full", "--trial", "2"], "needs --test=FILE"),
    "no test file": (["full", "--test", "{folder}/none.csv"], "--test={folder}/none.csv: no such file"),
    "no winner": (["{folder}/several/study.journal#other", "--test", "{folder}/titles.csv"], "no trial has finished"),
    "no run": (["full", "--test", "{folder}/titles.csv"], "not a run's directory"),
    "nothing": ([""], "study="),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Studies and files that are none, in a folder."""
    folder = tmp_path_factory.mktemp("places")
    full_study(folder / "logs" / "sweeps" / "full", trials=3)
    several = new_study(folder / "several")
    import optuna

    optuna.create_study(study_name="other", storage=several._storage)
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "empty").touch()
    write_csv(folder / "titles.csv", ["One title", "Another"])
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(mistake, places, capfd, monkeypatch):
    monkeypatch.chdir(places)
    arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, "sweep_report", *(one.format(folder=places) for one in arguments))
    assert ended.status == 2 and 1 <= len(ended.stderr.splitlines()) <= 2, ended
    assert said.format(folder=places) in ended.stderr and "hushhush" not in ended.stderr
    assert not [*places.rglob("*.html"), *places.rglob("none*")]


def test_a_missing_plotly_names_the_extra(full, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    ended = run_script(capfd, "sweep_report", full)
    assert ended.status == 2 and "frontpage[report]" in ended.stderr


def test_a_journal_cut_off_in_its_last_line_is_read(full, tmp_path):
    moved = shutil.copytree(full, tmp_path / "moved")
    with (moved / "study.journal").open("a") as file:
        file.write('{"op_code": 5, "worker')
    assert read_sweep(open_study(str(moved))).counts["finished"] == 14


# The winner's score on test titles


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a study of two real runs, of which the second is the best; its runs have the second's record."""
    folder = tmp_path_factory.mktemp("trained") / "scored"
    study = new_study(folder)
    for number, rate in enumerate((1e-4, 1e-2)):
        run = train_tiny(folder / str(number), f"optimizer.lr={rate}")
        final = json.loads((run / "run.json").read_text())["metrics"]["final"]
        overrides = [*TINY, f"optimizer.lr={rate}"]
        add(study, {"optimizer.lr": rate}, final["val/nats_per_char"], overrides=overrides)
    return folder


@pytest.mark.slow
def test_the_winner_is_scored_once_on_titles_that_it_was_not_chosen_on(trained, tmp_path, report, capfd):
    study = shutil.copytree(trained, tmp_path / "scored")
    best = read_sweep(open_study(str(study))).winner
    trains, validates = training_titles(best.directory)
    new = [f"Nobody wrote this title number {number}" for number in range(10)]
    path = write_csv(tmp_path / "test.csv", [*new, *trains[:4], *validates[:3]])
    alone = write_csv(tmp_path / "new.csv", new)

    result, page = report(study, "--test", path)
    score = result["test"][0]
    evaluated = tmp_path / "evaluated.json"
    assert run_script(capfd, "evaluate", best.directory, f"data.path={alone}", "--json", evaluated).status == 0
    assert score["metrics_unseen"] == pytest.approx(json.loads(evaluated.read_text())["metrics"], rel=1e-5)
    assert (score["titles"], score["trained_on"], score["chosen_on"]) == (17, 4, 3)
    assert score["trial"] == best.number and f"{score['metrics_unseen']['val/nats_per_char']:.4f} ±" in page

    kept = (study / "test_score_scored.json").read_bytes()
    assert report(study, "--test", path)[0]["test"] == [score]  # and without scoring: the file is as it was
    assert report(study)[0]["test"] == [score] and (study / "test_score_scored.json").read_bytes() == kept
    for other in (["--test", alone], ["--test", path, "--trial", 1 - best.number]):
        refused = run_script(capfd, "sweep_report", study, *other)
        assert refused.status == 2 and "a test set serves once" in refused.stderr
    assert (study / "test_score_scored.json").read_bytes() == kept
    again, page = report(study, "--test", alone, "--again")
    assert [one["source"] for one in again["test"]] == [str(path), str(alone)] and "One of 2 scores" in page

    seen = write_csv(tmp_path / "seen.csv", [*trains[:5], *validates])
    refused = run_script(capfd, "sweep_report", trained, "--test", seen)
    assert refused.status == 2 and "trained or chosen on" in refused.stderr
    assert not Path(trained, "test_score_scored.json").exists()
