"""Promises of scripts/: a run's numbers come back, what was seen in training is known, mistakes are said in a line."""

import json
import math
import runpy
import shutil

import numpy as np
import pytest
from programs import run_script, train_tiny, training_titles, write_csv
from tiny import ROOT

from frontpage.analysis import smoke
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles, seen_in_training, title_hashes

NEW = [f"Nobody wrote this title number {number}" for number in range(10)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run."""
    return train_tiny(tmp_path_factory.mktemp("scripts") / "run")


@pytest.fixture(scope="module")
def titles(run):
    """(training titles, validation titles) of the run."""
    return training_titles(run)


@pytest.fixture
def evaluate(capfd, tmp_path):
    """evaluate(run, titles, ...) scores a file of these titles and returns the JSON."""

    def scored(run, titles, *arguments):
        path, output = write_csv(tmp_path / "titles.csv", titles), tmp_path / "scored.json"
        ended = run_script(capfd, "evaluate", run, f"data.path={path}", "--json", output, *arguments)
        assert (ended.status, ended.stderr) == (0, ""), ended.stderr
        return strict(output)

    return scored


def strict(path):
    """The JSON of a file, which must not hold NaN or Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def recorded(run):
    final = json.loads((run / "run.json").read_text())["metrics"]["final"]
    return {name: value for name, value in final.items() if name.startswith("val/")}


def test_evaluate_gives_a_run_its_own_numbers_back(run, titles, evaluate):
    result = evaluate(run, titles[1], "--all-metrics")
    assert result["metrics"] == pytest.approx(recorded(run), rel=1e-6)
    assert result["metrics"]["val/coverage"] == 1
    assert (result["titles"], result["seen_titles"], result["seen_share"]) == (len(titles[1]), 0, 0.0)
    assert result["metrics_unseen"] == result["metrics"]


def test_evaluate_sets_titles_of_the_training_apart(run, titles, evaluate):
    mixed = ["", *titles[0][:20], *NEW, "   ", f"  {titles[0][0]}\t", NEW[0]]
    result = evaluate(run, mixed)
    assert (result["titles"], result["seen_titles"]) == (30, 20)
    assert result["seen_share"] == pytest.approx(2 / 3)
    assert result["metrics_unseen"] == pytest.approx(evaluate(run, NEW)["metrics"], rel=1e-6)
    assert result["metrics"]["val/loss"] != result["metrics_unseen"]["val/loss"]


def test_evaluate_has_no_unseen_numbers_where_all_was_seen(run, titles, evaluate):
    result = evaluate(run, titles[0])
    assert result["seen_share"] == 1
    assert result["metrics_unseen"] is None


def test_evaluate_says_when_the_training_titles_are_unknown(run, tmp_path, evaluate):
    copy = shutil.copytree(run, tmp_path / "copy")
    Run(copy).titles_file.unlink()
    result = evaluate(copy, NEW)
    assert result["seen_titles"] is result["seen_share"] is result["metrics_unseen"] is None
    assert "unknown" in result["notices"][-1]


def test_evaluate_writes_null_for_what_has_no_value(run, evaluate):
    # One title has no standard error and fills no span of the original's.
    metrics = evaluate(run, NEW[:1], "--all-metrics")["metrics"]
    assert metrics["val/nats_per_char_se"] is metrics["val/mainrun_loss"] is None
    assert metrics["val/mainrun_coverage"] == 0


@pytest.mark.parametrize("choice", ["last", "path"])
def test_evaluate_takes_the_checkpoint_that_is_named(run, evaluate, choice):
    checkpoint = run / "checkpoints" / "last.ckpt" if choice == "path" else choice
    assert evaluate(run, NEW, "--checkpoint", checkpoint)["metrics"] == evaluate(run, NEW)["metrics"]  # one validation


def test_evaluate_reads_another_column_and_quotes(run, capfd, tmp_path):
    path, output = write_csv(tmp_path / "two words.csv", NEW, column="headline"), tmp_path / "scored.json"
    arguments = (run, "--json", output, f"data.path='{path}'", "data.column=headline")
    assert run_script(capfd, "evaluate", *arguments).status == 0
    assert strict(output)["titles"] == len(NEW)


def test_a_run_remembers_the_titles_that_its_weights_had_seen(run, titles, tmp_path):
    other = train_tiny(tmp_path / "other", f"init_from={run}", "data.seed=3")
    known, own = load_training_titles(Run(other)), training_titles(other)[0]
    assert seen_in_training([*titles[0], *own], known).all()
    assert not seen_in_training(NEW, known).any()
    assert not set(own) <= set(titles[0])


def test_hashes_tell_titles_apart_by_text_and_nothing_else():
    assert title_hashes([" a ", "b"]).tolist() == title_hashes(["a", "b"]).tolist()
    assert len({*title_hashes(["a", "A", "a.", "\u00e9", "e\u0301"]).tolist()}) == 5
    assert seen_in_training([], np.zeros(0, np.uint64)).tolist() == []


def generated(capfd, tmp_path, run, *arguments):
    output = tmp_path / "invented.json"
    ended = run_script(capfd, "generate", run, "--json", output, *arguments)
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    return strict(output), ended.stdout


def test_generate_gives_the_same_titles_for_the_same_seed(run, capfd, tmp_path):
    arguments = ("--prompt", "Show HN:", "--num", 4, "--top-k", 50)
    first, _ = generated(capfd, tmp_path, run, *arguments, "--seed", 5)
    assert first == generated(capfd, tmp_path, run, *arguments, "--seed", 5)[0]
    assert first != generated(capfd, tmp_path, run, *arguments, "--seed", 6)[0]
    assert len(first) == 4
    for one in first:
        assert one["title"].startswith("Show HN:")
        assert math.isfinite(one["log_prob"]) and one["log_prob"] < 0


def test_generate_marks_training_titles(run, capfd, tmp_path):
    plain, text = generated(capfd, tmp_path, run, "--num", 3)
    assert [one["in_training"] for one in plain] == [False] * 3  # an untrained model does not hit one by chance
    assert " * " not in text
    copy = shutil.copytree(run, tmp_path / "copy")
    np.save(Run(copy).titles_file, np.sort(title_hashes([plain[1]["title"], *NEW])))
    marked, text = generated(capfd, tmp_path, copy, "--num", 3)
    assert [one["in_training"] for one in marked] == [False, True, False]
    assert text.count(" * ") == 1


def test_generate_leaves_the_mark_open_where_it_is_unknown(run, capfd, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    Run(copy).titles_file.unlink()
    assert generated(capfd, tmp_path, copy, "--num", 1)[0][0]["in_training"] is None


@pytest.fixture(scope="module")
def broken(run, tmp_path_factory):
    """Folders that cannot be reopened, and files that are no titles, by name."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("without_checkpoint", "corrupt_checkpoint", "without_tokenizer"):
        shutil.copytree(run, folder / name)
    (folder / "without_checkpoint" / "checkpoints" / "best.ckpt").unlink()
    (folder / "without_tokenizer" / "tokenizer.json").unlink()
    checkpoint = folder / "corrupt_checkpoint" / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    write_csv(folder / "titles.csv", NEW)
    write_csv(folder / "blank.csv", [" ", ""])
    return folder


FILE_OF_TITLES = "data.path={broken}/titles.csv"
MISTAKES = {
    "a folder of runs": ("evaluate", ["{broken}", FILE_OF_TITLES], "a folder of 3 runs; name one of them"),
    "a folder of a run": ("generate", ["{run}/checkpoints"], "config.yaml"),
    "no folder": ("generate", ["{broken}/nothing"], "there is no {broken}/nothing"),
    "a folder misspelt": ("generate", ["{broken}/without_chekpoint"], "(did you mean 'without_checkpoint'?)"),
    "a folder above misspelt": ("generate", ["{run}/checkpoint/x"], "{run}/checkpoint (did you mean 'checkpoints'?)"),
    "a file": ("generate", ["{broken}/titles.csv"], "titles.csv: a file, but no checkpoint in a run's directory"),
    "no tokenizer": ("generate", ["{broken}/without_tokenizer"], "tokenizer.json"),
    "no checkpoint": (
        "evaluate",
        ["{broken}/without_checkpoint", FILE_OF_TITLES],
        "no such checkpoint; this run has: last",
    ),
    "corrupt checkpoint": ("generate", ["{broken}/corrupt_checkpoint"], "not a readable checkpoint"),
    "unknown checkpoint": ("generate", ["{run}", "--checkpoint", "middle"], "middle"),
    "no arguments": ("evaluate", [], "required"),
    "no file": ("evaluate", ["{run}"], "data.path"),
    "missing file": ("evaluate", ["{run}", "data.path={broken}/none.csv"], "no such file"),
    "blank file": ("evaluate", ["{run}", "data.path={broken}/blank.csv"], "blank"),
    "missing column": ("evaluate", ["{run}", FILE_OF_TITLES, "data.column=titel"], "did you mean 'title'"),
    "other key": ("evaluate", ["{run}", "data.num_titles=3"], "data.column=NAME and data.root=FOLDER\n"),
    "key misspelt": ("evaluate", ["{run}", "data.colum=a"], "(did you mean 'data.column'?)\n"),
    "key without its place": ("evaluate", ["{run}", "path=a.csv"], "(did you mean 'data.path'?)\n"),
    "no folder for JSON": ("evaluate", ["{run}", FILE_OF_TITLES, "--json", "{broken}/none/x.json"], "--json"),
    "no folder for JSON, before anything is measured": ("doctor", ["--json", "{broken}/none/x.json"], "--json"),
    "unknown device": ("generate", ["{run}", "--device", "tpu"], "cpu"),
    "negative temperature": ("generate", ["{run}", "--temperature", "-1"], "at least 0"),
    "no temperature": ("generate", ["{run}", "--temperature", "nan"], "at least 0"),
    "no titles": ("generate", ["{run}", "--num", "0"], "at least 1"),
    "no tokens": ("generate", ["{run}", "--max-tokens", "0"], "at least 1"),
    "no candidates": ("generate", ["{run}", "--top-k", "0"], "at least 1"),
    "negative seed": ("generate", ["{run}", "--seed", "-1"], "at least 0"),
    "long prompt": ("generate", ["{run}", "--prompt", "x" * 200], "block of 32"),
    "unknown option": ("generate", ["{run}", "--nun", "3"], "--nun"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(mistake, run, broken, capfd):
    name, arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, name, *(argument.format(run=run, broken=broken) for argument in arguments))
    assert ended.status == 2, ended
    assert said.format(run=run, broken=broken) in ended.stderr
    assert 1 <= len(ended.stderr.splitlines()) <= 3


@pytest.mark.parametrize("change", ["none", "status", "steps", "coverage", "loss", "exit status", "no record"])
def test_smoke_finds_what_is_wrong_with_a_run(change, tmp_path, capsys):
    record = {
        "status": "running" if change == "status" else "finished",
        "steps": 1 if change == "steps" else 2,
        "metrics": {
            "final": {
                "val/coverage": 0.9 if change == "coverage" else 1.0,
                "val/loss": None if change == "loss" else 5.0,
            }
        },
        "config": {"trainer": {"max_steps": 2}},
    }
    if change != "no record":
        (tmp_path / "run.json").write_text(json.dumps(record))
    problem, loss = smoke.look(tmp_path / "run.json", 1 if change == "exit status" else 0, None)
    assert (problem is None) == (change == "none"), problem
    script = runpy.run_path(str(ROOT / "scripts" / "smoke.py"), run_name="smoke")
    status = script["report"]([smoke.Result("an_experiment", 1.0, loss, problem, "its output")])
    output = capsys.readouterr().out
    assert status == (change != "none")
    assert ("FAILED: an_experiment" in output) == (change != "none")


def test_smoke_runs_every_experiment_and_every_debug_option():
    assert {"quickstart", "mainrun_baseline"} <= {*smoke.EXPERIMENTS}
    assert {"fast", "anomaly", "overfit", "profile"} <= {*smoke.DEBUGS}
    assert {"batch_size", "gpt", "unet", "sparse", "sparsek", "gpt_sparse", "attention"} <= {*smoke.SEARCHES}
