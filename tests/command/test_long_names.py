"""The promise of a path beyond what a file system takes: named with its key, wherever it was given."""

import pytest
from messages import check_message, contents, folders
from programs import run_script, train_tiny
from tiny import TINY

LONG = "x" * 300
TOLD = "too long for a path (300 bytes); most file systems take 255 bytes for each name"


@pytest.mark.parametrize("key", ["init_from", "ckpt_path", "hydra.run.dir"])
def test_a_long_path_of_a_run_is_named_with_its_key(command, tmp_path, key):
    outcome = command(*TINY, *([] if key == "hydra.run.dir" else [f"hydra.run.dir={tmp_path}/run"]), f"{key}={LONG}")
    assert outcome.status == 2, outcome.stdout
    check_message(outcome.stderr, [f"{key}={'x' * 60}...: {TOLD}"])
    assert contents(tmp_path) == {} and folders(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "words", "key"),
    [
        ("evaluate", [LONG, "data.path=x"], ""),
        ("report", [LONG], ""),
        ("collect_runs", [LONG], ""),
        ("promote", [LONG], ""),
        ("sweep_report", [LONG], ""),
        ("generate", ["{run}", "--trust", LONG], "--trust="),
        ("generate", ["{run}", f"--trust={LONG}"], "--trust="),
    ],
)
def test_a_long_path_given_to_a_script_is_named(tmp_path, capfd, name, words, key):
    ended = run_script(capfd, name, *(word.format(run=tmp_path) for word in words))
    assert ended.status == 2, ended
    check_message(ended.stderr, [f"{key}{'x' * 60}...: {TOLD}"])


@pytest.mark.slow
def test_long_paths_beside_a_run_are_named(tmp_path_factory, capfd):
    run = train_tiny(tmp_path_factory.mktemp("long") / "run", "trainer.max_steps=1")
    words = {"export": ["--format", "safetensors", "--output", LONG], "generate": ["--checkpoint", LONG]}
    for name, given in words.items():
        ended = run_script(capfd, name, run, *given)
        assert ended.status == 2, ended
        check_message(ended.stderr, [f"{given[-2]}={'x' * 60}...: {TOLD}"])
    ended = run_script(capfd, "generate", run, "--json", LONG)
    assert ended.status == 2
    check_message(ended.stderr, ["--json="])
