"""Promises of runs as a table and as curves: nothing is lost, invented, or fatal."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import csv
import json
import re

import pytest
from programs import run_script
from run_folders import CONFIG, folder, fresh, write_run  # noqa: F401

from frontpage.analysis.curves import Point, read_curves, thinned
from frontpage.analysis.table import collect_runs, default_columns, differing, filter_rows, fitting, flatten, same_value
from frontpage.command.notices import notices


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


TEXTS = {  # a value of a config, and its cell
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "+1+cmd": "'+1+cmd",
    "-1+cmd|' /C calc'!A0": "'-1+cmd|' /C calc'!A0",
    "@SUM(1)": "'@SUM(1)",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "\uff1d1": "'\uff1d1",
    "-0.5": "-0.5",
    "+1e-3": "+1e-3",
    "a=b": "a=b",
    "": "",
    -0.5: "-0.5",
    -3: "-3",
}


def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path, capfd):
    for number, value in enumerate(TEXTS):
        write_run(tmp_path / "logs" / f"run{number:02d}", data__path=value, **{"=1+1": 5})
    path = tmp_path / "table.csv"
    assert run_script(capfd, "collect_runs", tmp_path / "logs", "--sort", "directory", "--csv", path).status == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["data.path"] for row in rows] == list(TEXTS.values())
    assert {row["'=1+1"] for row in rows} == {"5"} and "=1+1" not in rows[0]


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
