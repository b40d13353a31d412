"""Promises of promotion: an experiment composes to exactly what the trial trained, whatever kinds of keys it had."""

import copy
import json
import random

import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from programs import run_script, train_tiny
from studies import add, new_study, record_of
from tiny import CONFIGS, TINY, options

from frontpage.command.errors import UserError
from frontpage.command.leaves import leaves
from frontpage.command.notices import forget_notices, notices
from frontpage.command.override_words import word
from frontpage.runs.save import masked
from frontpage.sweeps import promotion
from frontpage.sweeps.promotion import composed, promotion_of, resolved
from frontpage.training.preflight import check_config

PROMOTED = {path.stem for path in (CONFIGS / "experiment").glob("*_best.yaml")} - {*options("experiment")}


@pytest.fixture(autouse=True)
def experiments(tmp_path, monkeypatch):
    """Experiments are written to a folder of this test's own."""
    folder = tmp_path / "written" / "experiment"
    folder.mkdir(parents=True)
    monkeypatch.setattr(promotion, "EXPERIMENTS", folder)
    forget_notices()
    return folder


def means(overrides, folder=None):
    """The resolved config of a command line, without what belongs to a run: {dotted path: value}."""
    return dict(leaves(resolved(composed(overrides, folder)[0])))


def typed(leaves):
    """Values with their types, to tell 1 from 1.0 and true."""
    leaves = dict(leaves)
    return {path: (type(value).__name__, repr(value)) for path, value in leaves.items()}


VALUED = [
    "optimizer.lr=1e-3",
    "optimizer.eps=1e-12",
    "scheduler.warmup=3",
    "model.dropout=0.1",
    "optimizer.betas=[0.8,0.9]",
]
VALUED += ["model.bias=false", "data.num_titles=null", "callbacks.progress=null", "test=true", 'model.init="1e-3"']
VALUED += [
    r'data.path="it\'s \"so\" a\b: #1.csv"',
    "data.column='null'",
    "tokenizer._target_='x y'",
    "objective=val/loss",
]
GROUPED = ["model/attention=local", "model.attention.window=7", "optimizer=lion", "scheduler=wsd", "callbacks=ema"]
ADDED = ["+model.attention.window=4", "++optimizer.lr=2", "+data.extra={a:1,b:[x,null]}", "data.packing_seed=5"]
OWN = ["name=other", "hydra.sweep.dir=x", "hydra.job.num=3", "paths.log_dir=y", "ckpt_path=last"]
slow = pytest.mark.slow
KINDS = {
    "values and what belongs to a run": ["experiment=quickstart", *VALUED, *OWN],
    "groups": ["experiment=quickstart", *GROUPED, "logger=[csv,tensorboard]", "tokenizer=bytes", "model=modern"],
    "keys added and interpolations": [
        "experiment=quickstart",
        *ADDED,
        "model.block_size=${data.batch_size}",
        "model.optimizer.lr=7.0",
    ],
    "a debug option": ["experiment=quickstart", "debug=fast", "trainer.max_steps=3"],
    "no experiment": ["optimizer.lr=0.25"],
    "another attention than the experiment's": ["experiment=sparsek_gpt", "model/attention=local", "seed=7"],
    "a knob of the experiment's attention": ["experiment=sparsek_gpt", "model.attention.k=5"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [next(iter(KINDS)), *(pytest.param(kind, marks=slow) for kind in [*KINDS][1:])])
def test_an_experiment_composes_to_what_the_trial_was(kind, experiments):
    overrides = KINDS[kind]
    own = ("name=", "hydra.", "paths.", "ckpt_path=")
    wanted = means([one for one in overrides if not one.startswith(own)])
    made = promotion_of(overrides, None, "trial 1")
    (experiments / "x_best.yaml").write_text(made.text("x_best", ["A header."]))
    assert typed(means(["experiment=x_best"], experiments.parent)) == typed(wanted)
    assert typed(means(made.overrides())) == typed(wanted)
    assert composed(["experiment=x_best"], experiments.parent)[0]["name"] == "x_best"


VALUES = [
    0,
    1,
    -3,
    1.0,
    1e-3,
    1e-12,
    1e22,
    True,
    False,
    None,
    "",
    " ",
    "a b",
    "1e-3",
    "0x1f",
    "true",
    "null",
    "~",
    "on",
]
VALUES += [
    "1_000",
    "1:30",
    "inf",
    "nan",
    "a,b",
    "[x]",
    "{y}",
    "#",
    "a: b",
    "'",
    '"',
    "\\",
    '\\"',
    "\\\\'",
    "é<>&",
    "-x",
]
VALUES += [
    "val/loss",
    "*a",
    "a\\",
    "$",
    "=",
    "2026-01-31",
    [],
    [1, [2.5, "x"]],
    [True, None],
    {"a": 1, "b": {"c": [2]}},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_survives_the_file_and_the_command_line(value):
    made = promotion.Promotion([], {}, set(), {"k": {"a": value}}, set())
    written = OmegaConf.to_container(OmegaConf.create(made.text("n", ["h"])))
    assert typed(leaves({"k": written["k"]})) == typed(leaves({"k": {"a": value}}))
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(f"k={word(value)}").value()
    assert typed({"k": _unquoted(parsed)}) == typed({"k": value})


def _unquoted(value):
    """What Hydra's parser gives, as the config takes it."""
    if isinstance(value, dict):
        return {str(key): _unquoted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_unquoted(one) for one in value]
    return value if isinstance(value, int | float | None) else getattr(value, "text", value)


@slow
def test_random_trials_compose_to_themselves(experiments):
    draw = random.Random(3)
    for trial in range(3):
        picked = [
            f"{group}={draw.choice(options(group))}" for group in ("model", "model/attention", "optimizer", "scheduler")
        ]
        numbers = [f"optimizer.lr={10 ** draw.uniform(-6, 0)!r}", f"data.batch_size={draw.randint(1, 99)}"]
        overrides = [f"experiment={draw.choice(['unet_gpt', 'sparsek_gpt', 'scaling_gpt'])}", *picked, *numbers]
        made = promotion_of(overrides, None, f"trial {trial}")
        name = f"random_{trial}_best"
        (experiments / f"{name}.yaml").write_text(made.text(name, []))
        assert typed(means([f"experiment={name}"], experiments.parent)) == typed(means(overrides)), overrides


@slow
def test_only_keys_that_differ_are_written():
    made = promotion_of(["experiment=quickstart", "optimizer.lr=5e-3", "model.n_layer=5", "model=gpt"], None, "trial 1")
    assert (made.base, made.groups, made.keys) == (["quickstart"], {}, {"model": {"n_layer": 5}})


def recorded(*overrides):
    """The config that a run of today would record."""
    return masked(OmegaConf.create(composed(overrides)[0]))


@slow
def test_what_has_changed_in_the_configs_since_is_kept_as_the_trial_had_it(experiments):
    overrides = ["experiment=quickstart", "optimizer.lr=0.01"]
    then = recorded(*overrides)
    assert promotion_of(overrides, then, "trial 1").keys == {"optimizer": {"lr": 0.01}} and notices() == []
    old = copy.deepcopy(then)
    old["scheduler"]["floor"] = old["model"]["scheduler"]["floor"] = (
        0.125  # the second is an interpolation of the first
    )
    old["data"]["packing_seed"] = 99  # where today's config takes another key over
    old["model"]["gone"] = [1]
    del old["model"]["qk_norm"]
    made = promotion_of(overrides, old, "trial 1")
    (experiments / "old_best.yaml").write_text(made.text("old_best", []))
    found, wanted = means(["experiment=old_best"], experiments.parent), dict(leaves(old))
    same = {path for path in wanted if not path.startswith(("name", "paths", "ckpt_path"))}
    own = ("cache_dir", "run_dir", "path")
    assert {path for path in same if found.get(path) != wanted[path] and not path.endswith(own)} == set()
    assert made.keys["scheduler"] == {"floor": 0.125} and "scheduler" not in made.keys["model"]
    assert "scheduler.floor" in notices()[0] and "model.qk_norm" in notices()[1]


def test_a_key_that_was_left_out_cannot_be_promoted():
    with pytest.raises(UserError, match="cannot leave a key out"):
        promotion_of(["experiment=quickstart", "~model.bias"], None, "trial 1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a study of two real runs and a failed one."""
    folder = tmp_path_factory.mktemp("sweeps") / "tiny rates"
    study = new_study(folder, overrides=[*TINY])
    for number, rate in enumerate((1e-4, 1e-2)):
        launched = [f"optimizer.lr={rate}", "model.d_model=32"]
        record = json.loads((train_tiny(folder / str(number), *launched) / "run.json").read_text())
        loss = record["metrics"]["final"]["val/nats_per_char"]
        add(study, {"optimizer.lr": rate, "model.d_model": 32}, loss, overrides=[*TINY, *launched])
    add(study, {"optimizer.lr": 0.05}, state=TrialState.FAIL, overrides=[], reason="diverged")
    return folder


@slow
def test_promote_writes_the_winner_with_its_history(trained, capfd, experiments, tmp_path):
    ended = run_script(capfd, "promote", trained, "--json", tmp_path / "out.json")
    assert (ended.status, ended.stderr) == (0, "")
    result = json.loads((tmp_path / "out.json").read_text())
    record = json.loads((trained / str(result["trial"]) / "run.json").read_text())
    path = experiments / "tiny_rates_best.yaml"
    assert result["path"] == str(path) and result["notices"] == []
    wanted = {name: value for name, value in record["config"].items() if name not in ("name", "paths", "ckpt_path")}
    found = resolved(composed(["experiment=tiny_rates_best"], experiments.parent)[0], record["config"])
    assert typed(leaves(found)) == typed(leaves(wanted))
    text = path.read_text()
    final = record["metrics"]["final"]
    measured = f"{final['val/nats_per_char']:.4f} +- {final['val/nats_per_char_se']:.4f}"
    commit = record["git_commit"][:7] if record["git_commit"] else "outside git"
    for piece in (
        "python train.py experiment=tiny_rates_best",
        measured,
        commit,
        f"Trial {result['trial']} of the study",
    ):
        assert piece in text
    assert "2 finished, 1 failed" in text and max(map(len, text.splitlines())) <= 120
    check_config(OmegaConf.create({**record["config"], **found}))


@slow
def test_promote_never_overwrites_unless_told_to(trained, capfd, experiments):
    assert run_script(capfd, "promote", trained, "--name", "mine").status == 0
    before = (experiments / "mine_best.yaml").read_text()
    refused = run_script(capfd, "promote", trained, "--name", "mine", "--trial", 0)
    assert refused.status == 2 and "--force" in refused.stderr
    assert (experiments / "mine_best.yaml").read_text() == before
    assert run_script(capfd, "promote", trained, "--name", "mine_best", "--trial", 0, "--force").status == 0
    assert "Trial 0" in (experiments / "mine_best.yaml").read_text() != before


@slow
def test_promote_of_several_objectives_says_what_else_there_was(tmp_path, capfd, experiments):
    study = new_study(tmp_path / "two", objectives=("val/nats_per_char", "parameters"))
    for loss, size in ((1.0, 900.0), (2.0, 500.0), (2.5, 950.0)):
        add(study, {"model.d_model": 32}, [loss, size], record=record_of(loss), overrides=["model.d_model=32"])
    ended = run_script(capfd, "promote", tmp_path / "two")
    assert ended.status == 0 and "trial 0 is the best by val/nats_per_char" in ended.stdout
    assert "none beats in all: 1\n" in ended.stdout


@pytest.mark.parametrize("name", sorted(PROMOTED))
def test_a_promoted_experiment_of_this_checkout_composes_and_says_where_it_is_from(name, config):
    check_config(config(f"experiment={name}"))
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    assert "# Measured: " in text and f"python train.py experiment={name}" in text
