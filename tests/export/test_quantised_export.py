"""Promises of exports as integers: another folder that loads again, and whose honest loss is the run's."""

import json

import pytest
import torch
from precision_modes import needs_torchao
from programs import run_script, train_tiny

from frontpage.command.errors import BadValue
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.export.formats import quantising_mode
from frontpage.runs.reopen import load_run

pytestmark = needs_torchao


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    path = tmp_path_factory.mktemp("titles") / "titles.txt"
    path.write_text("\n".join(title_grammar().sample(200, seed=7)), encoding="utf-8")
    return path


def scored(capfd, run, titles, result):
    ended = run_script(capfd, "evaluate", run, f"data.path={titles}", "--json", result)
    assert ended.status == 0, ended.stderr
    return json.loads(result.read_text())["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bits"), [("int8_qat", 8), ("int4_qat", 4)])
def test_the_integers_of_a_run_score_as_the_rounding_that_it_was_trained_with(capfd, name, bits, titles, tmp_path):
    run, folder = tmp_path / "run", tmp_path / "folder"
    train_tiny(run, "trainer.precision=auto", f"precision={name}", "precision.lightning=32-true")
    ended = run_script(capfd, "export", run, "--format", "quantised", "--output", folder, "--verify")
    assert ended.status == 0, ended.stderr
    felt = scored(capfd, run, titles, tmp_path / "felt.json")["val/nats_per_char"]
    real = scored(capfd, folder, titles, tmp_path / "real.json")["val/nats_per_char"]
    assert real == pytest.approx(felt, abs=1e-6)
    config, module = load_run(folder)
    up = module.net.blocks[0].mlp.up.weight
    assert up.qdata.dtype == torch.int8 and 2 ** (bits - 1) - 1 <= up.qdata.int().abs().max() <= 2 ** (bits - 1)
    assert quantising_mode(config).bits == bits


@pytest.mark.slow
def test_a_run_that_was_not_trained_for_integers_is_refused(capfd, tmp_path):
    run = tmp_path / "run"
    train_tiny(run)
    ended = run_script(capfd, "export", run, "--format", "quantised", "--output", tmp_path / "folder")
    assert ended.status == 2 and not (tmp_path / "folder").exists()
    assert ended.stderr.startswith("--format=quantised: of a run with precision=int8_qat or int4_qat")
    with pytest.raises(BadValue, match="precision=null"):
        quantising_mode(load_run(run)[0])
