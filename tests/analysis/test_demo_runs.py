"""Promises of the demonstration runs: six that differ, trained once, at the places that the published table has."""

import json

import pytest
from omegaconf import OmegaConf
from programs import run_script

from frontpage.analysis.demonstration import RUNS, choices
from frontpage.analysis.published import CLAIMS, TABLE, UPDATES
from frontpage.training.preflight import check_config


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_demonstration_run_composes(config, name):
    check_config(config(*choices(name), f"name={name}"))


@pytest.mark.slow
def test_they_differ_in_architecture_attention_optimizer_and_batch(config):
    runs = [config(*choices(name)) for name in RUNS]
    assert len(runs) == 6
    for key in ("model._target_", "model.attention._target_", "optimizer._target_", "data.batch_size"):
        assert len({str(OmegaConf.select(run, key)) for run in runs}) > 1, key


@pytest.mark.slow
def test_the_pair_is_validated_at_the_23_points_of_the_published_table(config):
    for name in ("baseline", "adamw"):
        run = config(*choices(name))
        steps, interval = run.trainer.max_steps, run.trainer.val_interval
        points = {1, *range(interval, steps + 1, interval), steps}
        assert run.trainer.validate_first_step and run.model.original_metric == "always"
        assert len(points) == len(TABLE) == 23
        for mine, (published, _, _) in list(zip(sorted(points), TABLE, strict=True))[1:]:
            assert mine / steps == pytest.approx(published / UPDATES, abs=0.005)


def test_finished_ones_are_not_trained_again(tmp_path, capfd):
    for name in RUNS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"status": "finished", "steps": 1}))
    ended = run_script(capfd, "demo_runs", tmp_path, "--json", tmp_path / "told.json")
    assert (ended.status, ended.stderr) == (0, "") and "6 finished before" in ended.stdout
    assert json.loads((tmp_path / "told.json").read_text())["trained"] == []
    assert not [*tmp_path.glob("*.log")]


@pytest.mark.slow
def test_a_mistake_is_said_in_the_words_of_the_run(tmp_path, capfd):  # `make notebooks` trains them all
    place = [f"paths.cache_dir={tmp_path}/cache", f"paths.log_dir={tmp_path}/logs"]
    refused = run_script(capfd, "demo_runs", tmp_path / "wrong", "optimizer.lr=-1", *place, "--jobs", 1)
    assert refused.status == 2 and "optimizer.lr=-1" in refused.stderr and len(refused.stderr.splitlines()) <= 2
    assert len([*(tmp_path / "wrong").glob("*.log")]) == 1


def test_the_published_claims_at_full_coverage_are_those_that_have_been_worked_out():
    """Worked out by hand from 14 and 3 and 1 spans of the 121,400 tokens."""
    assert [round(claim.corrected(), 2) for claim in CLAIMS] == [1.86, 1.41, 1.97, 1.57, 1.75]
    assert CLAIMS[0].coverage() == pytest.approx(14 * 8192 / 121_400)
    assert TABLE[-1] == (UPDATES, CLAIMS[0].loss, CLAIMS[1].loss)
    assert round(100 * (1 - TABLE[-1][2] / TABLE[-1][1]), 1) == 24.2
