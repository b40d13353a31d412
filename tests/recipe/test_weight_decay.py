"""Promises of the decay: a number or a course over the run, of matrices and of the other weights, for any optimizer."""

import csv
import math

import pytest
import torch
from omegaconf import OmegaConf
from optimizers import OPTIMIZERS, TIME, VOCABULARY, chosen, module_of
from programs import record_of, train_tiny
from refusals import mistake_fixture  # noqa: F401
from run_outputs import checkpoint_of
from tiny import CONFIGS, TINY
from watched_training import trained

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.command.points import Points
from frontpage.recipe.modules import GPTModule
from frontpage.recipe.parameter_groups import decay_groups, optimizer_of, weight_decay_of
from frontpage.recipe.precision.own_adamw import PlainState, torchao_adamw
from frontpage.recipe.weight_decay import WeightDecay

COURSE = [[0, 0.8], [0.5, 0.1], [1, 0.9]]
OF_TEN = [0.8, 0.66, 0.52, 0.38, 0.24, 0.1, 0.26, 0.42, 0.58, 0.74]  # at updates 0 to 9 of ten
COUPLED = {"adam", "adagrad", "rmsprop", "sgd"}  # their decay is part of the gradient


def decaying(name, course, others=0.0):
    """A module whose optimizer has a course, and a rate of a tenth."""
    config = OmegaConf.load(CONFIGS / "optimizer" / f"{name}.yaml")
    factory = build(OmegaConf.merge(config, {"weight_decay": course, "lr": 0.1}), "optimizer")
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "block_size": TIME, "d_model": 16, "n_layer": 1, "n_head": 2}
    recipe = {"optimizer": factory, "scheduler": chosen("scheduler", "constant"), "weight_decay_of_others": others}
    return GPTModule(**sizes, **recipe, attention=CausalAttention, tie_embeddings=False)


def follow(module, updates):
    """Updates without a gradient, so that nothing but the decay moves a weight that decays by itself."""
    optimizer = optimizer_of(module.net, module.make_optimizer)
    for update in range(updates):
        for weight in module.net.parameters():
            weight.grad = torch.zeros_like(weight)
        module.weight_decay.set(optimizer, update, updates)
        optimizer.step()


@pytest.mark.parametrize("name", [one for one in OPTIMIZERS if one.values[0] not in COUPLED])
@pytest.mark.parametrize("others", [0.0, 0.5, [[0, 0.5], [10, 0.5]]])
def test_a_decoupled_decay_multiplies_by_one_minus_rate_times_its_course(name, others):
    module = decaying(name, COURSE, others)
    before = {one: weight.detach().clone() for one, weight in module.net.named_parameters()}
    follow(module, 10)
    kept = math.prod(1 - 0.1 * decay for decay in OF_TEN)
    kept_of_others = (1 - 0.1 * 0.5) ** 10 if others else 1.0
    matrices = {id(w) for group in decay_groups(module.net, 1.0) if group["name"] != "others" for w in group["params"]}
    assert len(matrices) == 5
    for one, weight in module.net.named_parameters():
        share = kept if id(weight) in matrices else kept_of_others
        torch.testing.assert_close(weight.detach(), share * before[one], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("decay", [0.8, 1.6])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_heavy_decay_is_the_rate_times_it_whatever_the_gradient(name, decay):
    """The same updates without a decay differ by what decays, in closed form: w_n = (1 - lr d) w_(n-1) + step."""
    ends = {}
    for strength in (0.0, decay):
        module = decaying(name, strength)
        optimizer = optimizer_of(module.net, module.make_optimizer)
        weight = module.net.get_parameter("blocks.0.mlp.down.weight")
        path = [weight.detach().double()]
        for seed in range(4):
            for one in module.net.parameters():
                one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
            path.append(weight.detach().double())
        ends[strength] = path
    steps = [after - before for before, after in zip(ends[0.0], ends[0.0][1:], strict=False)]
    expected = ends[0.0][0]
    for step in steps:
        expected = (1 - 0.1 * decay) * expected + step
    torch.testing.assert_close(ends[decay][-1], expected, rtol=0, atol=1e-6)


def test_a_decay_that_is_part_of_the_gradient_has_its_course_too():
    module = decaying("sgd", [[0, 0.2], [4, 1.0]])
    weight = module.net.get_parameter("blocks.0.mlp.down.weight")
    before = weight.detach().clone()
    follow(module, 8)
    decays = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0]
    torch.testing.assert_close(weight.detach(), before * math.prod(1 - 0.1 * decay for decay in decays))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_number_leaves_optimizer_and_factory_as_they_are(name):
    factory = chosen("optimizer", name)
    module = module_of(name)
    assert module.make_optimizer is factory and module.weight_decay.as_built and not module.weight_decay.scheduled
    for others, course in ((0.1, 0.3), (0.0, [[0, 0.3], [1, 1.0]])):
        changed = decaying(name, course, others)
        assert not changed.weight_decay.as_built and weight_decay_of(changed.make_optimizer) == 0.3
        assert changed.make_optimizer.func is factory.func
        assert changed.make_optimizer.keywords == factory.keywords | {"weight_decay": 0.3, "lr": 0.1}


def test_training_sets_the_decay_of_every_update_by_the_course(monkeypatch):
    seen, set_decay = [], WeightDecay.set

    def note(self, optimizer, update, total):
        set_decay(self, optimizer, update, total)
        seen.append((update, total, {group["name"]: group["weight_decay"] for group in optimizer.param_groups}))

    monkeypatch.setattr(WeightDecay, "set", note)
    trained(decaying("adamw", COURSE, others=0.25), count=5, accumulate_grad_batches=2)
    assert [(update, total) for update, total, _ in seen] == [(0, 3), (1, 3), (2, 3)]
    expected = [0.8, 0.8 - 0.7 / 1.5, 0.1 + 0.8 / 3]
    assert [groups["matrices"] for _, _, groups in seen] == pytest.approx(expected)
    assert all(groups["head"] == groups["matrices"] and groups["others"] == 0.25 for _, _, groups in seen)
    seen.clear()
    trained(decaying("adamw", 0.8), count=2)
    assert seen == []


@pytest.mark.slow
def test_a_run_logs_its_decay_where_it_has_a_course(tmp_path):
    settings = ("optimizer.weight_decay=[[0,0.8],[0.5,0.1],[1,0.9]]", "trainer.max_steps=10", "log_interval=1")
    run = train_tiny(tmp_path / "run", *settings, "trainer.max_epochs=9")
    with (run / "metrics.csv").open() as file:
        logged = [float(row["train/weight_decay"]) for row in csv.DictReader(file) if row.get("train/weight_decay")]
    assert logged == pytest.approx(OF_TEN)
    assert record_of(run)["metrics"]["final"]["train/weight_decay"] == pytest.approx(0.74)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1: must be a number or a list, at least 0"),
        ("optimizer.weight_decay=[[0,1],[0,2]]", "a course [[update, number], ...] from update 0 on"),
        ("model.weight_decay_of_others=[[1,1]]", "model.weight_decay_of_others=[[1, 1]]: must be"),
    ],
)
def test_what_is_no_course_is_refused(mistake, override, words):
    mistake(override, words)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["int8_optim", "bf16_true"])
def test_a_mode_with_an_adamw_of_its_own_takes_the_course_over(command, tmp_path, mode):
    pytest.importorskip("torchao.optim", reason="needs the extra quantised")
    own = ("trainer.precision=auto", f"precision={mode}", f"optimizer.weight_decay={COURSE}".replace(" ", ""))
    everything = (*own, "model.weight_decay_of_others=${optimizer.weight_decay}", "trainer.max_steps=10")
    outcome = command(*TINY, *everything, f"hydra.run.dir={tmp_path}/run")
    assert outcome.status == 0, outcome.stderr
    groups = checkpoint_of(tmp_path / "run")["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == pytest.approx([OF_TEN[-1]] * 2)


def test_a_course_is_of_the_update_alone():
    decay = WeightDecay(Points.of(COURSE), Points.of(0.0))
    module = decaying("adamw", 0.0)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    found = []
    for update in reversed(range(10)):
        decay.set(optimizer, update, 10)
        found.append(optimizer.param_groups[0]["weight_decay"])
    assert found[::-1] == pytest.approx(OF_TEN)


def test_a_modes_own_adamw_is_given_what_changes_as_tensors_so_that_nothing_is_compiled_anew():
    class Seen(torch.optim.Optimizer):
        def step(self):
            self.seen = [dict(group) for group in self.param_groups]

    settings = {"lr": 0.1, "weight_decay": 0.7}
    optimizer = type("Own", (PlainState, Seen), {})([torch.nn.Parameter(torch.ones(2))], settings)
    optimizer.step()
    for name, value in settings.items():
        assert torch.equal(optimizer.seen[0][name], torch.tensor(value)) and optimizer.param_groups[0][name] == value


@pytest.mark.parametrize("kind", ["_AdamW", "AdamW8bit"])
def test_the_decay_that_a_closure_sets_counts_in_a_modes_own_adamw_too(kind):
    """Lightning's closure holds the whole step, in which the module sets the decay."""
    pytest.importorskip("torchao.optim", reason="needs the extra quantised")
    weight = torch.nn.Parameter(torch.ones(64, 64))
    groups = [{"name": "matrices", "params": [weight], "weight_decay": 0.1}]
    optimizer = torchao_adamw(groups, lr=0.1, kind=kind, mode="int8_optim")

    def closure():
        weight.grad = torch.zeros_like(weight)
        optimizer.param_groups[0]["weight_decay"] = 0.7
        return 5.0

    assert optimizer.step(closure) == 5.0
    assert optimizer.param_groups[0]["weight_decay"] == 0.7 and optimizer.param_groups[0]["lr"] == 0.1
    torch.testing.assert_close(weight.detach(), torch.full((64, 64), 0.93))
