"""Promises of damaged runs: one of them takes down no page, no table and no other run; it is named with the reason."""
# ruff: noqa: F811 (a fixture is imported, and then the name of an argument)

import copy
import json

import pytest
from programs import run_script
from run_folders import CONFIG, FINAL, RECORD, fresh, write_run  # noqa: F401
from studies import add, new_study, record_of

from frontpage.analysis.comparison import compare
from frontpage.analysis.curves import read_curves
from frontpage.analysis.table import collect_runs
from frontpage.command.errors import UserError
from frontpage.command.notices import notices
from frontpage.machine.precision import settle_precision
from frontpage.runs.record import damage_of, read_record
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles
from frontpage.training.memory.fit_batch import _recorded as recorded_batch

DAMAGE = {  # what stands at a place of the record, and the reason that is said; the place "" is the whole record
    "list": ("", [1, 2], "its run.json holds a list, no object"),
    "text": ("", "finished", "its run.json holds a text, no object"),
    "null": ("", None, "its run.json cannot be read"),
    "text for the config": ("config", "x", "a text as config, where an object belongs"),
    "list for the model": ("config.model", [], "a list as config.model, where an object belongs"),
    "no name": ("config.name", 5, "a number as config.name, where a text belongs"),
    "list for the metrics": ("metrics", [1], "a list as metrics, where an object belongs"),
    "text for the final metrics": ("metrics.final", "x", "a text as metrics.final, where an object belongs"),
    "text for a metric": ("metrics.final.val/loss", "low", "a text as metrics.final.val/loss, where a number belongs"),
    "object for a metric": ("metrics.best", {"val/loss": {}}, "an object as metrics.best.val/loss, where a number"),
    "true for a number": ("seconds", True, "true as seconds, where a number belongs"),
    "number beyond all": ("steps", 10**400, "a number beyond 1e100 as steps, where a number belongs"),
    "list for the data": ("data", ["x"], "a list as data, where an object belongs"),
    "text for a count": ("data.train_titles", "many", "a text as data.train_titles, where a number belongs"),
    "object for the status": ("status", {}, "an object as status, where a text belongs"),
    "text for the attention": ("attention", "x", "a text as attention, where an object belongs"),
    "text for the test": ("test", "x", "a text as test, where an object belongs"),
    "list for the chances": ("metrics.chance", [0.5], "a list as metrics.chance, where an object belongs"),
    "text for a chance": (
        "metrics.chance",
        {"val/t": "half"},
        "a text as metrics.chance.val/t, where a number belongs",
    ),
    "list for the test's metrics": ("test", {"metrics": []}, "a list as test.metrics, where an object belongs"),
}
BYTES = {
    "no UTF-8": b'{"status": "\xff"}',
    "NaN": b'{"status": "finished", "seconds": NaN}',
    "nested too deep": b"[" * 100_000,
    "nothing": b"",
}


def put(directory, place, value):
    """A run with `value` at a dotted place of its record."""
    write_run(directory)
    record = copy.deepcopy(RECORD)
    *groups, last = place.split(".") if "/" not in place else ["metrics", "final", "val/loss"]
    node = record
    for group in groups:
        node = node[group]
    if place:
        node[last] = value
    (directory / "run.json").write_text(json.dumps(record if place else value))
    return directory


def tabulated(folder, tmp_path, capfd):
    """The rows of a table and the text of a page about a folder of runs, by the scripts."""
    output, page = tmp_path / "table.json", tmp_path / "page.html"
    words = ["--json", output, "--csv", tmp_path / "table.csv", "--markdown", tmp_path / "table.md"]
    for ended in (
        run_script(capfd, "collect_runs", folder, *words),
        run_script(capfd, "report", folder, "--output", page),
    ):
        assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    return {row["run"]: row for row in json.loads(output.read_text())["runs"]}, page.read_text()


@pytest.mark.parametrize(("place", "value", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_listed_with_the_reason_beside_the_others(tmp_path, place, value, reason):
    whole, damaged = write_run(tmp_path / "whole"), put(tmp_path / "broken", place, value)
    broken, found = collect_runs(tmp_path)
    assert (broken["status"], found["status"]) == ("damaged", "finished") and reason in broken["reason"]
    assert reason in damage_of(damaged) and read_record(damaged) is None
    assert str(damaged) in notices()[0] and reason in notices()[0] and len(notices()) == 1
    assert damage_of(whole) is None and read_record(whole) == json.loads((whole / "run.json").read_text())


def test_the_scripts_show_every_damage_on_one_page(tmp_path, capfd):
    folder = tmp_path / "logs"
    write_run(folder / "whole")
    for number, (place, value, _) in enumerate(DAMAGE.values()):
        put(folder / f"damaged{number}", place, value)
    for number, content in enumerate(BYTES.values()):
        directory = write_run(folder / f"bytes{number}")
        (directory / "run.json").write_bytes(content)
    rows, page = tabulated(folder, tmp_path, capfd)
    assert [name for name, row in rows.items() if row["status"] != "damaged"] == ["whole"]
    assert len(rows) == 1 + len(DAMAGE) + len(BYTES)
    for name, row in rows.items():
        assert name in page and (row["status"] == "finished" or str(row["reason"]) in page.replace("&#39;", "'"))


def test_no_key_of_a_config_takes_the_place_of_what_a_record_says(tmp_path, capfd):
    taken = {"status": [], "directory": 5, "run": {}, "val/loss": "low", "val/bits_per_byte": [], "seconds": "x"}
    write_run(tmp_path / "logs" / "a")
    record = RECORD | {"config": CONFIG | taken | {"x_bytes": "many"}}
    (write_run(tmp_path / "logs" / "b") / "run.json").write_text(json.dumps(record))
    rows, page = tabulated(tmp_path / "logs", tmp_path, capfd)
    assert (rows["b"]["status"], rows["b"]["val/loss"], rows["b"]["seconds"]) == ("finished", FINAL["val/loss"], 2.5)
    assert rows["b"]["directory"] == str(tmp_path / "logs" / "b") and rows["b"]["x_bytes"] == "many"


def test_damaged_lines_of_curves_are_left_out_and_counted(tmp_path, capfd):
    run = write_run(tmp_path / "logs" / "run")
    event = {"event": "training_step", "step": 2, "elapsed_time": 0.5, "loss": 3.0}
    lines = [json.dumps(event | {"step": step}).encode() for step in (2, 4)]
    lines[1:1] = [b"[1]", b'"text"', b"5", b"null", b"\xff\xfe", b"[" * 100_000, b'{"event": []}']
    lines += [json.dumps(event | {"step": 6}).replace("6", "1e400").encode()]
    lines += [json.dumps(event | {"step": 8, "loss": 10**400}).encode(), json.dumps(event | {"step": -1}).encode()]
    (run / "events.jsonl").write_bytes(b"\n".join(lines))
    table = b"step,time/elapsed_seconds,train/learning_rate\n1,0.5,0.01\n\xff,0.6,0.02\n5,0.7,0.03\n7,1e999,0.04\n"
    (run / "metrics.csv").write_bytes(table)
    curves = read_curves(run)
    assert [point.update for point in curves["train/loss"]] == [2, 4]
    assert [point.update for point in curves["train/learning_rate"]] == [2, 6]
    assert [f"{run / name}: 1 damaged lines are left out" in notices() for name in ("events.jsonl", "metrics.csv")]
    assert len(notices()) == 2
    (run / "metrics.csv").write_bytes(table.replace(b"0.02", b"0" * 200_000).replace(b"\xff", b"3"))
    assert "train/loss" in read_curves(run)
    (run / "samples.txt").write_bytes(b"update 14\n  \xff\xfe\n")
    assert "learning_rate" in tabulated(tmp_path / "logs", tmp_path, capfd)[1]


def test_a_run_that_cannot_be_scored_is_left_out_of_the_comparison(tmp_path, monkeypatch):
    runs = [put(tmp_path / name, "seed", 1) for name in ("one", "two")]
    with pytest.raises(UserError, match="no best checkpoint"):
        compare(runs[:1])
    with pytest.raises(UserError, match="no best checkpoint"):
        compare(runs)
    for run, content in zip(runs, (b"not: [yaml", b"\xff\xfe"), strict=True):
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.ckpt").write_bytes(b"weights")
        (run / "config.yaml").write_bytes(content)
        (run / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError):
        compare(runs)
    assert all(any(str(run) in said for said in notices()) for run in runs)


@pytest.mark.slow
def test_a_damaged_record_of_a_trial_is_said_on_the_page_of_the_study(tmp_path, capfd):
    pytest.importorskip("plotly", reason="needs frontpage[report]")
    study = new_study(tmp_path / "study")
    for loss in (1.5, 1.6, 1.7):
        add(study, {"optimizer.lr": 0.01 * loss}, loss, record=record_of(loss))
    damaged = [[1], record_of(1.8) | {"metrics": "x"}, record_of(1.8) | {"metrics": {"final": None}}]
    for record in [*damaged, record_of(1.8) | {"seconds": "long"}, record_of(1.8) | {"config": {"data": 5}}]:
        add(study, {"optimizer.lr": 0.02}, 1.8, record=record)
    page, output = tmp_path / "page.html", tmp_path / "told.json"
    ended = run_script(capfd, "sweep_report", tmp_path / "study", "--output", page, "--json", output)
    assert (ended.status, ended.stderr) == (0, "")
    told = json.loads(output.read_text())
    reasons = [trial["reason"] for trial in told["trials"]]
    assert reasons[:3] == [None] * 3 and reasons[3] == "its run.json holds a list, no object" and reasons[5] is None
    assert ["a text as metrics" in reasons[4], "a text as seconds" in reasons[6], "config.data" in reasons[7]] == [
        True
    ] * 3
    assert len(told["notices"]) >= 4 and "its run.json holds a list" in page.read_text()


def test_what_a_continued_run_reads_of_its_record_is_sound_or_nothing(tmp_path):
    run = write_run(tmp_path / "run")
    for micro, taken in ((4, 4), (0, None), (-1, None), (2.5, None), ("4", None), (None, None)):
        (run / "run.json").write_text(json.dumps(RECORD | {"micro_batch": micro, "precision": "bf16-mixed"}))
        assert recorded_batch(run) == taken
    for content in ([], {"precision": ["32-true"]}, "x"):
        (run / "run.json").write_text(json.dumps(content))
        before = (read_record(run) or {}).get("precision")
        assert settle_precision("auto", "mps", before) == "32-true"
        assert any("was not measured" in one for one in notices())
    assert read_record(tmp_path) is None and Run(tmp_path).record is None and len(notices()) == 1
    assert Run(run).record is None
    assert notices()[-1] == f"{run}: its run.json holds a text, no object; it counts as if it were not there"


def test_hashes_of_training_titles_that_are_none_are_unknown(tmp_path):
    for content in (b"", b"damaged", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<u8'"):
        Run(tmp_path).titles_file.write_bytes(content)
        assert load_training_titles(Run(tmp_path)) is None
