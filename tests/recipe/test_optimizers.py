"""Promises of every optimizer: it trains under every schedule and precision, goes on from its state, and counts."""

import functools
import importlib.util
import io
import itertools
import math
import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from omegaconf import OmegaConf
from tiny import CONFIGS, TINY, composed, options

from frontpage.attention.causal import CausalAttention
from frontpage.command.build import build
from frontpage.command.endings import Interrupted
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data.epoch_sizes import EpochSizes
from frontpage.data.packing import TitleBatch
from frontpage.recipe.modules import GPTModule
from frontpage.recipe.optimizer_memory import optimizer_bytes
from frontpage.recipe.optimizers import muon
from frontpage.recipe.optimizers.lion import Lion
from frontpage.recipe.optimizers.muon import Muon
from frontpage.recipe.parameter_groups import decay_groups, optimizer_of
from frontpage.runs.checkpoint import check_continues, open_checkpoint
from frontpage.training.memory.fake_step import dtypes_of

VOCABULARY, ROWS, TIME = 40, 4, 12
NEEDS = {"adamw_8bit": "bitsandbytes"}  # optimizer -> its extra's package


def missing(name):
    """Marks for an optimizer whose package is not installed."""
    package = NEEDS.get(name)
    absent = package is not None and importlib.util.find_spec(package) is None
    return [pytest.mark.skip(reason=f"{package} is not installed")] if absent else []


OPTIMIZERS = [pytest.param(name, marks=missing(name)) for name in options("optimizer")]


@functools.cache
def chosen(group, name):
    """The factory that a config of an optimizer or a schedule stands for."""
    return build(OmegaConf.load(CONFIGS / group / f"{name}.yaml"), group)


def module_of(optimizer="adamw", scheduler="constant", **changes):
    """The smallest GPT, always with the same weights."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "block_size": TIME, "d_model": 16, "n_layer": 1, "n_head": 2}
    factories = {"optimizer": chosen("optimizer", optimizer), "scheduler": chosen("scheduler", scheduler)}
    return GPTModule(**{**sizes, **factories, "attention": CausalAttention, **changes})


def batch_of(seed):
    tokens = torch.randint(3, VOCABULARY, (ROWS, TIME + 1), generator=torch.Generator().manual_seed(seed))
    places = torch.arange(TIME).repeat(ROWS, 1)
    return TitleBatch(tokens[:, :-1], tokens[:, 1:], places * 0, places)


class Loader:
    """A few batches, as a run's own loader gives them."""

    def __init__(self, count):
        self.batches = [batch_of(seed) for seed in range(count)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Batches(L.LightningDataModule):
    """Data without titles."""

    batch_size = ROWS

    def __init__(self, count):
        super().__init__()
        self.loader = Loader(count)

    def epoch_sizes(self, trainer):
        tokens = len(self.loader) * ROWS * TIME
        return EpochSizes(tokens, TIME, ROWS, trainer.accumulate_grad_batches, limit=trainer.limit_train_batches)

    def train_dataloader(self):
        return self.loader


class Watch(L.Callback):
    """Keeps the loss, the rates and the gradient's norm of every update."""

    def __init__(self):
        self.losses, self.rates, self.norms = [], [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.losses.append(float(module.loss))
        self.norms += [] if module.grad_norm is None else [float(module.grad_norm)]


def trained(module, precision="32-true", count=3, **settings):
    """Train on `count` batches with the real Trainer and give back what was watched."""
    watch, quiet = Watch(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "max_epochs": 1, "accelerator": "cpu"}
    if "plugins" not in settings:
        quiet["precision"] = precision
    with warnings.catch_warnings(action="ignore"):
        trainer = L.Trainer(**quiet, callbacks=[watch], **settings)
        trainer.fit(module, datamodule=Batches(count))
    return watch


HALF, SCHEDULERS = ("bf16-mixed", "bf16-true"), options("scheduler")


@pytest.mark.parametrize(
    ("precision", "schedulers"),
    [("32-true", SCHEDULERS)]
    + [(precision, ["cosine"]) for precision in HALF]
    + [pytest.param(one, [s for s in SCHEDULERS if s != "cosine"], marks=pytest.mark.slow) for one in HALF],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-schedules",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_under_every_schedule(name, precision, schedulers):
    for scheduler in schedulers:
        module = module_of(name, scheduler)
        before = {key: weight.clone() for key, weight in module.state_dict().items()}
        watch = trained(module, precision)
        assert len(watch.losses) == 3 and all(map(math.isfinite, watch.losses)), scheduler
        for key, weight in module.state_dict().items():
            assert weight.isfinite().all(), (scheduler, key)
            assert weight.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
        same = [key for key, weight in module.state_dict().items() if torch.equal(weight, before[key].to(weight.dtype))]
        # 1 + 0.001 is 1 in bfloat16, so a few updates may leave a norm, and of small rates more, where they are
        assert len(same) < len(before) if precision == "bf16-true" else same == [], (scheduler, same)
        peak = chosen("optimizer", name).keywords["lr"]
        assert all(0 < rate <= peak for rates in watch.rates for rate in rates)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed is for CUDA")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_in_half_precision_on_cuda(name):
    watch = trained(module_of(name).cuda(), "16-mixed", accelerator="cuda")
    assert all(map(math.isfinite, watch.losses))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_lowers_the_loss(name):
    module, batch = module_of(name), batch_of(0)
    optimizer = optimizer_of(module.net, module.make_optimizer)
    if name == "sgd":
        for group in optimizer.param_groups:
            group["lr"] = 0.3  # its default is the original exercise's
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(module.net(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.01


def give_gradients(net, seed):
    generator = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_gives_the_same_next_updates_to_the_bit(name, dtype):
    module = module_of(name, d_model=64).to(dtype)  # large enough for 8 bits
    optimizer = optimizer_of(module.net, module.make_optimizer)
    for seed in range(3):
        give_gradients(module.net, seed)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"net": module.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = module_of(name, d_model=64).to(dtype)
    other.load_state_dict(saved["net"])
    resumed = optimizer_of(other.net, other.make_optimizer)
    resumed.load_state_dict(saved["optimizer"])
    for group in (*optimizer.param_groups, *resumed.param_groups):
        group["lr"] *= 3  # as a schedule does, which must reach the parts of an optimizer after loading, too
    for seed in range(3, 6):
        for one, its_optimizer in ((module, optimizer), (other, resumed)):
            before = [weight.clone() for weight in one.net.parameters()]
            give_gradients(one.net, seed)
            its_optimizer.step()
            if dtype == torch.float32:
                assert not any(map(torch.equal, before, one.net.parameters()))
        for mine, its in zip(module.net.parameters(), other.net.parameters(), strict=True):
            assert torch.equal(mine, its)


COMBINATIONS = list(itertools.product(options("model"), options("model/attention"), ["true", "false"]))


@functools.cache
def net_of(model, attention, tied):
    sizes = ("data.block_size=16", "model.d_model=32", "model.n_layer=3", "model.n_head=4")
    chosen = (f"model={model}", f"model/attention={attention}", f"model.tie_embeddings={tied}")
    return build(composed(*sizes, *chosen).model, "model", vocab_size=VOCABULARY).net


@pytest.mark.parametrize(("model", "attention", "tied"), COMBINATIONS, ids=lambda name: name)
def test_every_weight_is_in_one_group_and_only_matrices_inside_the_net_are_muons(model, attention, tied):
    net = net_of(model, attention, tied)
    groups = {group["name"]: group for group in decay_groups(net, 0.3)}
    names = {id(weight): name for name, weight in net.named_parameters()}
    everything = [id(weight) for group in groups.values() for weight in group["params"]]
    assert len(everything) == len(set(everything)) and set(everything) == set(names)
    untied = net.head.weight is not net.token_embedding.weight
    assert list(groups) == (["matrices", "head", "others"] if untied else ["matrices", "others"])
    assert not untied or [names[id(weight)] for weight in groups["head"]["params"]] == ["head.weight"]
    ours = {names[id(weight)] for weight in groups["matrices"]["params"]}
    linear = {f"{name}.weight" for name, part in net.named_modules() if isinstance(part, torch.nn.Linear)}
    assert ours == linear - {"head.weight"}
    assert all(weight.dim() == 2 for weight in groups["matrices"]["params"])
    for name in options("optimizer"):
        if missing(name):
            continue
        optimizer = optimizer_of(net, chosen("optimizer", name))
        decay = chosen("optimizer", name).keywords["weight_decay"]
        assert [(group["name"], group["weight_decay"]) for group in optimizer.param_groups] == [
            (group, 0.0 if group == "others" else decay) for group in groups
        ]
        held = [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]
        assert sorted(held) == sorted(names.values())


def lion_by_hand(weight, gradients, lr, b1, b2, decay):
    """Algorithm 2 of Chen et al. 2023, one number after the other."""
    weight, momentum = weight.double().tolist(), [0.0] * len(weight)
    for gradient in gradients:
        for place, g in enumerate(gradient.double().tolist()):
            c = b1 * momentum[place] + (1 - b1) * g
            sign = (c > 0) - (c < 0)
            weight[place] -= lr * (sign + decay * weight[place])
            momentum[place] = b2 * momentum[place] + (1 - b2) * g
    return torch.tensor(weight), torch.tensor(momentum)


def test_lion_is_its_algorithm():
    torch.manual_seed(0)
    weight, gradients = torch.nn.Parameter(torch.randn(50)), torch.randn(20, 50)
    gradients[:3, 0] = 0  # no direction: only the decay moves it
    expected = lion_by_hand(weight.detach(), gradients, 0.01, 0.8, 0.95, 0.5)
    optimizer = Lion([weight], lr=0.01, betas=(0.8, 0.95), weight_decay=0.5)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"lr": -1}, {"weight_decay": -1}, {"betas": (1, 0.9)}])
def test_lion_refuses_what_it_cannot_take(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}="):
        Lion([torch.nn.Parameter(torch.zeros(1))], **settings)


@pytest.fixture
def fast(monkeypatch):
    """fast(precision) is what the device is said to be fastest in."""
    return lambda precision: monkeypatch.setattr(muon, "best_precision", lambda kind: (precision, f"{kind} was asked"))


@pytest.mark.parametrize("tied", [True, False])
def test_muon_is_pytorchs_for_matrices_and_adamw_for_the_rest(tied, fast):
    fast("bf16-mixed")
    mine, plain = (module_of("muon", tie_embeddings=tied).net for _ in range(2))
    optimizer = Muon(decay_groups(mine, 0.3), lr=0.01, adamw_lr=0.002, weight_decay=0.3, momentum=0.9)
    matrices, *others = decay_groups(plain, 0.3)
    settings = {"momentum": 0.9, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3}
    pair = torch.optim.Muon([matrices], lr=0.01, **settings), torch.optim.AdamW(others, lr=0.002, betas=(0.9, 0.95))
    assert [group["lr"] for group in optimizer.param_groups] == [0.01] + [0.002] * len(others)
    for seed in range(4):
        give_gradients(mine, seed)
        give_gradients(plain, seed)
        for one in (optimizer, *pair):
            one.step()
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("precision", "kind"), [("32-true", "float32"), ("bf16-mixed", "bfloat16")])
def test_muons_iteration_is_in_the_type_that_is_fast_and_stays_in_it(fast, precision, kind):
    fast(precision)
    forget_notices()
    net = module_of("muon").net
    optimizer = Muon(decay_groups(net, 0.1))
    give_gradients(net, 0)
    optimizer.step()
    assert notices() == [f"optimizer=muon: its iteration is computed in {kind}, since cpu was asked"]
    fast("32-true" if kind == "bfloat16" else "bf16-mixed")
    continued = Muon(decay_groups(net, 0.1))
    continued.load_state_dict(optimizer.state_dict())
    continued.step()
    assert [group.get("iteration") for group in continued.param_groups if group["name"] == "matrices"] == [kind]
    assert len(notices()) == 1


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (96, 32)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_muons_iteration_brings_singular_values_near_one(shape, kind):
    """In either type as near: Jordan et al. have them between 0.7 and 1.2 or so behind five steps."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = muon.orthogonal(matrix, 5, kind)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.mT @ got.double() @ v.mT
    assert got.dtype == kind and got.shape == shape
    assert 0.3 < float(inside.diagonal().min()) and float(inside.diagonal().max()) < 1.3
    assert float((inside - inside.diagonal().diag()).abs().max()) < (1e-4 if kind == torch.float32 else 0.05)


def test_muon_leaves_the_momentum_of_bf16_weights_as_it_is(fast):
    """Dividing in place by the norm, where nothing is converted, would divide the momentum."""
    fast("bf16-mixed")
    weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.bfloat16))
    optimizer = Muon(
        [{"name": "matrices", "params": [weight]}, {"name": "others", "params": [torch.zeros(1)]}], nesterov=False
    )
    weight.grad = torch.full_like(weight, 8.0)
    optimizer.step()
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], (0.05 * weight.grad))


def test_muon_wants_named_groups():
    with pytest.raises(ValueError, match="one of them named matrices"):
        Muon([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}])


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_is_as_large_as_the_estimate(name, precision):
    net = module_of(name, d_model=64, n_layer=2, tie_embeddings=False).net
    net = net.bfloat16() if precision == "bf16-true" else net
    estimated = optimizer_bytes(net, chosen("optimizer", name), dtypes_of(precision).weights)
    optimizer = optimizer_of(net, chosen("optimizer", name))
    give_gradients(net, 0)
    optimizer.step()
    tensors = {id(value): value for state in optimizer.state.values() for value in state.values()}
    tensors = [value for value in tensors.values() if torch.is_tensor(value) and value.numel() > 1]
    real = sum(value.numel() * value.element_size() for value in tensors)
    if name == "adamw_8bit":
        assert estimated == pytest.approx(real, rel=0.03)  # two tables of 256 numbers are shared by all weights
    else:
        assert estimated == real
    assert (real == 0) == (name == "sgd")


def test_a_run_goes_on_with_the_optimizer_that_wrote_it_and_with_no_other(tmp_path):
    names = [name for name in options("optimizer") if not missing(name)]
    for written in names:
        module = module_of(written)
        state = optimizer_of(module.net, module.make_optimizer).state_dict()
        optimizer = optimizer_of(module.net, module.make_optimizer)
        schedules = [dict.fromkeys(module.make_scheduler(optimizer, total_steps=9).state_dict(), 0)]
        content = {"state_dict": module.state_dict(), "optimizer_states": [state], "lr_schedulers": schedules}
        torch.save(content, tmp_path / f"{written}.ckpt")
    for written, taken in itertools.product(names, names):
        path = tmp_path / f"{written}.ckpt"
        if written == taken:
            check_continues(module_of(taken), open_checkpoint(path, "ckpt_path"))
        else:
            with pytest.raises(UserError, match="another optimizer than"):
                check_continues(module_of(taken), open_checkpoint(path, "ckpt_path"))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(command, tmp_path, monkeypatch, name):
    def stop(self, trainer):
        if trainer.global_step >= 4 and not trainer.validating:
            raise Interrupted("stopped")

    run = (*TINY, f"optimizer={name}", "scheduler=wsd", "scheduler.warmup=2", "model.tie_embeddings=false")
    run += ("trainer.max_epochs=3", "callbacks.sample_titles=null", "model.original_metric=never")
    whole, broken = (f"hydra.run.dir={tmp_path}/{place}" for place in ("whole", "broken"))
    assert command(*run, whole).status == 0
    with monkeypatch.context() as patch:
        patch.setattr("frontpage.training.callbacks.stop_on_signal.StopOnSignal._stop_if_asked", stop)
        assert command(*run, broken).status == 130
    assert command(*run, broken, "ckpt_path=last").status == 0
    first, second = (
        torch.load(tmp_path / place / "checkpoints" / "last.ckpt", weights_only=True) for place in ("whole", "broken")
    )
    assert first["global_step"] == second["global_step"] > 4
    assert all(torch.equal(weight, second["state_dict"][key]) for key, weight in first["state_dict"].items())
    groups = [group["name"] for group in first["optimizer_states"][0]["param_groups"]]
    assert groups == ["matrices", "head", "others"]
    columns = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"train/learning_rate/{group}" for group in groups} <= set(columns)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("sqrt", 2), ("linear", 4)])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_learning_rate_follows_the_rows_of_an_update(name, rule, factor):
    forget_notices()
    module = module_of(name, "constant", lr_scaling=rule, lr_scaling_rows=2)
    watch = trained(module, accumulate_grad_batches=2, count=4)
    assert watch.rates[0] == pytest.approx([1e-3 * factor] * 2)
    said = [line for line in notices() if "lr_scaling" in line]
    assert said == (
        []
        if rule == "none"
        else [
            f"model.lr_scaling={rule}: 8 rows an update where 2 are meant; the peak learning rate is"
            f" {0.001 * factor:.4g}, {factor} x 0.001"
        ]
    )


def test_a_scaling_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="lr_scaling=cubic: one of none sqrt linear"):
        module_of(lr_scaling="cubic")


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_with_a_loss_scale_the_true_gradient_is_clipped(name):
    plain = trained(module_of(name), gradient_clip_val=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = trained(module_of(name), plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)], gradient_clip_val=0.1)
    assert scaled.norms == pytest.approx(plain.norms, rel=0.05)
    assert scaled.losses == pytest.approx(plain.losses, rel=0.01)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_8_bit_adamw_without_its_package_says_how_to_install_it(command):
    outcome = command(*TINY, "optimizer=adamw_8bit")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 3
    for words in ("optimizer=adamw_8bit", "extra adamw8bit", "pip install", "'.[adamw8bit]'", "optimizer=adamw"):
        assert words in outcome.stderr
