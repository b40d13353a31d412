"""Promises about a stored config whose values somebody has changed: refused by name before anything is computed."""

import json
import shutil

import pytest
from messages import check_message, contents
from omegaconf import OmegaConf
from programs import run_script, train_tiny, write_csv
from run_outputs import checkpoint_of

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices
from frontpage.runs.reopen import load_run

DEEP = "[" * 2000 + "]" * 2000


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("stored") / "run", "trainer.max_steps=2")


@pytest.fixture
def changed(finished, tmp_path):
    """changed(key, value) gives a copy of the run with another value in its config.yaml; ... takes the key away."""
    forget_notices()

    def copied(key, value):
        run = shutil.copytree(finished, tmp_path / "run")
        config = OmegaConf.load(run / "config.yaml")
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(config, group) if group else config
        if value is ...:
            del node[name]
        else:
            node[name] = value
        OmegaConf.save(config, run / "config.yaml")
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(record | {"config": {}}))
        return run

    return copied


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.d_model", "x", "model.d_model=x: must be a whole number"),
        ("model.d_model", [1], "model.d_model=[1]: must be a whole number"),
        ("model.d_model", 0, "model.d_model=0: must be a whole number, at least 1"),
        ("model.attention", 5, "model.attention=5"),
        ("model.dropout", 7, "model.dropout=7"),
        ("model.n_layer", 100_000_000, "model.n_layer=100000000: must be a whole number"),
        ("model.n_layer", 10_000, "best.ckpt: has 1 blocks, and {run}/config.yaml says model.n_layer=10000"),
        ("model.d_model", 10_000_000, "weights do not fit this model"),
        (
            "data.block_size",
            "x",
            "data.block_size=x: must be a whole number, at least 1; it stands in {run}/config.yaml",
        ),
        ("data.block_size", 0, "data.block_size=0: must be a whole number, at least 1"),
        ("data.block_size", ..., "data.block_size: {run}/config.yaml lacks it"),
        ("data.evaluation_tokens", "x", "must be a whole number, at least 1"),
        ("data.evaluation_tokens", ..., "data.evaluation_tokens: {run}/config.yaml lacks it"),
        ("data.evaluation_row", -4, "data.evaluation_row=-4: must be a whole number, at least 1, or null"),
        ("data.column", [1], "data.column=[1]: must be text, not empty"),
        ("data.unescape_html", ["x"], "data.unescape_html=['x']: must be true or false"),
        ("data", ..., "data.block_size: {run}/config.yaml lacks it"),
    ],
    ids=str,
)
def test_a_value_of_a_wrong_type_or_size_is_refused_with_its_key(changed, tmp_path, capfd, key, value, said):
    run, titles = changed(key, value), write_csv(tmp_path / "titles.csv", ["One", "Two"])
    ended = run_script(capfd, "evaluate", run, f"data.path={titles}")
    assert ended.status == 2, ended
    check_message(ended.stderr, [said.format(run=run)])


@pytest.mark.parametrize(
    "text", ["model: 5\n", "model:\n", "model: [1]\n", "model: {}\ndata: []\n", f"model: {'[' * 2000}{']' * 2000}\n"]
)
def test_what_is_no_config_of_a_run_is_taken_from_elsewhere(changed, tmp_path, capfd, text):
    run, titles = changed("seed", 1), write_csv(tmp_path / "titles.csv", ["One", "Two"])
    (run / "config.yaml").write_text(f"{text}\n")
    ended = run_script(capfd, "evaluate", run, f"data.path={titles}")
    assert ended.status == 0, ended.stderr
    assert f"{run}/config.yaml is damaged; the run's settings are those in {run}/checkpoints/last.ckpt" in ended.stdout


@pytest.mark.parametrize("levels", [45, 60, 150, 250, 400, 900])
def test_levels_upon_levels_are_damage_or_a_key_of_the_model(changed, levels):
    run = changed("seed", 1)
    with (run / "config.yaml").open("a") as file:
        file.write(f"more: {'[' * levels}{']' * levels}\n")
    load_run(run)


@pytest.mark.parametrize("form", ["hf", "gguf", "safetensors"])
@pytest.mark.parametrize("name", ["../../../PRECIOUS", "{folder}/PRECIOUS", "", ".", [1], None, ...], ids=str)
def test_an_export_writes_nothing_by_a_name_that_is_none(changed, tmp_path, capfd, form, name):
    run = changed("name", name.format(folder=tmp_path) if isinstance(name, str) else name)
    (tmp_path / "PRECIOUS-fp32.gguf").write_text("somebody's")
    before = contents(tmp_path)
    options = ["--no-verify"] if form == "hf" else []
    ended = run_script(capfd, "export", run, "--format", form, *options)
    assert ended.status == 2, ended
    check_message(ended.stderr, ["name=", "text"])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("value", [..., {}])
def test_a_gguf_file_of_a_run_without_a_tokenizer_in_its_config_is_refused(changed, capfd, value):
    run = changed("tokenizer", value)
    ended = run_script(capfd, "export", run, "--format", "gguf")
    assert ended.status == 2, ended
    check_message(ended.stderr, ["tokenizer"])


def test_sizes_that_fit_are_built_as_they_were(finished):
    module = load_run(finished, "last")[1]
    weights = checkpoint_of(finished)["state_dict"]
    assert all(
        weight.device.type == "cpu" and weight.equal(weights[name]) for name, weight in module.state_dict().items()
    )


def test_an_empty_checkpoint_is_not_the_best(finished, capfd):
    ended = run_script(capfd, "generate", finished, "--checkpoint", "", "--num", "1")
    assert ended.status == 2
    check_message(ended.stderr, ["--checkpoint=: best, last or the path of a checkpoint, not empty"])


def test_a_size_that_fits_no_memory_is_refused_before_it_is_built(changed):
    run = changed("model.d_ff", 10**12)
    with pytest.raises(UserError, match="weights do not fit this model"):
        load_run(run)
