"""Promises of the table of an ablation: differences are paired by seed and title, and their intervals hold for both."""

import json
import math

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution
from programs import run_script
from scipy.stats import norm, t
from studies import add, new_study
from tiny import TINY

from frontpage.analysis.ablation import Effect, ablation, cells_of, effect_of
from frontpage.analysis.comparison import TitleNats
from frontpage.analysis.pages.sweeps.sweep import Sweep, SweepTrial
from frontpage.command.errors import UserError
from frontpage.sweeps.storage import open_storage


def nats(*values, characters=10.0):
    nll = torch.tensor(values, dtype=torch.float64)
    return TitleNats(np.arange(len(nll), dtype=np.uint64), nll, torch.full_like(nll, characters))


def test_an_effect_by_value():
    """Two titles of 10 characters: over titles and seeds the differences are 0.1 and 0.3, 0.2 and 0.6 nats a title."""
    base = nats(20.0, 30.0)
    pairs = [(nats(20.1, 30.3), base), (nats(20.2, 30.6), base)]
    difference, reach = effect_of(pairs)
    assert difference == pytest.approx(0.03)  # seeds: 0.02 and 0.04
    deviation = 0.01 * math.sqrt(2)
    of_seeds = t.ppf(0.975, 1) * deviation / math.sqrt(2)
    of_titles = norm.ppf(0.975) * 0.015  # means of titles 0.015 and 0.045: a deviation of 0.015 sqrt(2) over sqrt(2)
    assert reach == pytest.approx(math.hypot(of_seeds, of_titles))
    assert effect_of(pairs[:1])[1] == pytest.approx(norm.ppf(0.975) * 0.01)
    with pytest.raises(UserError, match="different titles"):
        effect_of([(nats(1.0, 2.0, 3.0), nats(1.0, 2.0, 3.0)), *pairs])


PRUNED = "pruned: worse than the base"


@pytest.mark.parametrize(
    ("verdict", "difference", "reach", "seeds", "unfinished"),
    [
        ("better", -0.02, 0.01, 3, []),
        ("worse", 0.02, 0.01, 3, ["running"]),
        ("failed", -0.02, 0.01, 2, ["failed: train/loss is no number"]),
        ("no base", -0.02, 0.01, 2, ["no base of its seed"]),
        ("no", -0.01, 0.01, 3, []),
        ("one seed", -0.02, 0.01, 1, ["running"]),
        ("pruned", -0.02, 0.01, 2, [PRUNED]),
        ("pruned", None, None, 0, [PRUNED, PRUNED]),
        ("", None, None, 3, []),
    ],
)
def test_only_what_all_seeds_have_said_is_clear(verdict, difference, reach, seeds, unfinished):
    one = Effect("wide", [], seeds, 1.5, difference, reach, 1.25, unfinished)
    assert one.verdict == one.as_dict()["verdict"] == verdict
    assert cells_of([one])[1][6:8] == [verdict, "1.25"]


def test_a_loss_is_of_the_seeds_that_the_base_has_too(monkeypatch, tmp_path):
    """The variant's lucky third seed has no base, and operations are those of the pairs."""
    losses = {("base", 1): 20.0, ("base", 2): 30.0, ("wide", 1): 21.0, ("wide", 2): 32.0, ("wide", 3): 5.0}
    study = new_study(tmp_path / "s", variants={"base": [], "wide": ["x=1"]})
    space = {"variant": CategoricalDistribution(["base", "wide"]), "seed": CategoricalDistribution([1, 2, 3])}
    for variant, seed in losses:
        add(study, {"variant": variant, "seed": seed}, 1.0, space=space)
    trials = [
        SweepTrial(trial, tmp_path / str(number), {"training_flops": 2e9 + 1e9 * (variant == "wide")})
        for number, (trial, (variant, _)) in enumerate(zip(study.trials, losses, strict=True))
    ]
    scored = {str(number): nats(value, value) for number, value in enumerate(losses.values())}
    monkeypatch.setattr("frontpage.analysis.ablation.title_nats", lambda directory, _: scored[directory.name])
    base, wide = ablation(Sweep(study, tmp_path, trials))
    assert (base.seeds, base.loss, base.operations) == (2, pytest.approx(2.5), 1.0)
    assert (wide.seeds, wide.loss, wide.operations) == (2, pytest.approx(2.65), 1.5)
    assert wide.difference == pytest.approx(0.15) and wide.unfinished == ["no base of its seed"]


VARIANTS = (
    "{base: ['optimizer.lr=1e-2'], plain: ['optimizer.lr=1e-2','model.dropout=0.0'],"
    " broken: ['model.n_head=3'], slow: ['optimizer.lr=1e-9']}"
)
SEARCH = (
    *TINY,
    "--multirun",
    "hydra/sweeper=optuna",
    "hydra/sweeper/sampler=grid",
    "hydra/sweeper/pruner=against_base",
    "hydra.sweeper.pruner.after=0.0",
    "hydra.sweeper.study_name=s",
    "hydra.sweeper.n_trials=99",
    f"hydra.sweeper.variants={VARIANTS}",
    "seed=choice(1,2)",
    "trainer.max_epochs=2",
    "trainer.evals_per_epoch=1",
    "scheduler.warmup=0",
)


@pytest.mark.slow
def test_a_search_over_variants_ends_in_a_table(command, tmp_path, capfd):
    outcome = command(*SEARCH)
    assert outcome.status == 0, outcome.stdout[-2000:] + outcome.stderr
    place, output, page = tmp_path / "logs/sweeps/s", tmp_path / "effects.json", tmp_path / "table.md"
    ended = run_script(capfd, "ablation", place, "--json", output, "--markdown", page)
    assert ended.status == 0, ended.stderr
    effects = {one["variant"]: one for one in json.loads(output.read_text())["effects"]}
    losses = {}
    for file in place.glob("*/run.json"):
        record = json.loads(file.read_text())
        if record["status"] == "finished":
            key = record["config"]["model"]["dropout"], record["config"]["seed"]
            losses[key] = record["metrics"]["best"]["val/nats_per_char"]
    paired = [losses[0.0, seed] - losses[0.1, seed] for seed in (1, 2)]
    assert effects["plain"]["difference"] == pytest.approx(sum(paired) / 2, abs=1e-6)
    assert effects["plain"]["seeds"] == effects["base"]["seeds"] == 2
    assert effects["plain"]["reach"] >= t.ppf(0.975, 1) * abs(paired[0] - paired[1]) / 2
    assert len(effects["broken"]["unfinished"]) == 2 and "model.n_head" in effects["broken"]["unfinished"][0]
    assert all("pruned" in one for one in effects["slow"]["unfinished"]) and effects["slow"]["loss"] is None
    assert (
        next(iter(effects)) == "base" and "| plain | `optimizer.lr=1e-2` `model.dropout=0.0` | 2 |" in page.read_text()
    )
    assert command(*SEARCH).status == 0  # nothing is left to do
    study = optuna.load_study(study_name="s", storage=open_storage(f"{place}/study.journal"))
    assert [trial.state.name for trial in study.trials] == [*["COMPLETE"] * 4, "FAIL", "FAIL", "PRUNED", "PRUNED"]


def test_what_has_no_pairs_is_told(capfd, tmp_path):
    new_study(tmp_path / "plain")
    ended = run_script(capfd, "ablation", tmp_path / "plain")
    assert ended.status == 2 and "has no variants" in ended.stderr
    study = new_study(tmp_path / "begun", variants={"base": [], "other": ["x=1"]})
    choices = {"variant": CategoricalDistribution(["base", "other"])}
    add(study, {"variant": "other"}, 1.0, space=choices)
    for word, said in {"base": "no trial of base has finished", "bsae": "bsae is none of them"}.items():
        ended = run_script(capfd, "ablation", tmp_path / "begun", "--base", word)
        assert ended.status == 2 and said in ended.stderr, ended
