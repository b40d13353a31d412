"""Promises of callbacks=noise_scale: the number is the known one, training is not disturbed, a resume goes on."""

import csv
import json
import os
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import torch.distributed as dist
from tiny import TINY
from two_ranks import in_two_ranks

from frontpage.command.endings import Interrupted
from frontpage.command.errors import UserError
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.training.callbacks.gradient_noise_scale import GradientNoiseScale, _even_rows, estimate

WIDTH, ROW = 12, 5  # numbers a row, and tokens it stands for
SPREAD = torch.linspace(0.5, 2.0, WIDTH)  # standard deviation of each number
VARIANCE = float((SPREAD**2).sum())
GRADIENT = torch.full((WIDTH,), 0.6)  # the true one: the weight less the mean of the rows
SCALE = VARIANCE / float((GRADIENT**2).sum())  # 4.7 rows


class Batches:
    """A loader of ready batches; a plain list would be several loaders to Lightning."""

    def __init__(self, batches):
        self.batches = list(batches)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Quadratic(L.LightningModule):
    """Half the squared distance of a weight to the rows of a batch: a row's gradient is the weight less the row."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(WIDTH))

    def loss_of(self, batch):
        return 0.5 * ((self.weight - batch.inputs) ** 2).sum(1).mean()

    def training_step(self, batch, batch_idx):
        """An update descends the mean of its batches, also the shorter one at the end, as LanguageModule's does."""
        of_update, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        return self.loss_of(batch) * of_update / min(of_update, batches - batch_idx // of_update * of_update)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def batches(number, sizes, padded=()):
    """Batches of rows drawn around -GRADIENT; those at the places `padded` are far off and hold an ignored target."""
    generator = torch.Generator().manual_seed(5)
    for index in range(number):
        rows = sizes[index % len(sizes)]
        inputs = torch.randn(rows, WIDTH, generator=generator) * SPREAD - GRADIENT
        targets = torch.zeros(rows, ROW, dtype=torch.int64)
        if index % 10 in padded:
            inputs, targets[-1, -1] = inputs + 1e3, IGNORED
        yield TitleBatch(inputs, targets, targets, targets)


def measured(data, every=1, **trainer):
    """The callback after a pass over the batches."""
    callback = GradientNoiseScale(every=every, smoothing=0.9999)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer,
    )
    trainer.fit(Quadratic(), Batches(data))
    return callback


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "sizes", "padded", "accumulate"),
    [(503, [16], (), 1), (503, [17], (4,), 1), (1503, [8], (), 2), (1503, [4], (9,), 4)],
)
def test_the_noise_scale_is_the_known_one(number, sizes, padded, accumulate, capsys):
    data = batches(number, sizes, padded)  # with accumulation the last update is a shorter one
    callback = measured(data, accumulate_grad_batches=accumulate, gradient_clip_val=1e-3)
    assert callback.average.variance == pytest.approx(VARIANCE, rel=0.05)
    assert callback.average.gradient_square == pytest.approx(float((GRADIENT**2).sum()), rel=0.05)
    assert callback.rows == pytest.approx(SCALE, rel=0.05)
    assert f"{callback.rows * ROW:,.0f} tokens ({callback.rows:,.1f} rows)" in capsys.readouterr().out


def test_an_update_of_fewer_micro_batches_is_weighed_by_their_number():
    data = [*batches(3, [8])]
    expected = [one.inputs.mean(0) for one in data]
    small, big = (float((mean**2).sum()) for mean in (expected[0], sum(expected) / 3))
    callback = measured(data, accumulate_grad_batches=4)
    assert callback.measurements == 1
    assert callback.average == pytest.approx(estimate(small, big, 8, 24), rel=1e-4)


def test_micro_batches_of_unequal_size_and_all_padding_are_left_out():
    assert measured(batches(20, [8, 6]), accumulate_grad_batches=2).measurements == 0
    assert measured(batches(20, [8], padded=range(10))).measurements == 0
    assert measured(batches(20, [1])).measurements == 0
    assert measured(batches(20, [8]), every=3).measurements == 7


def of_two_processes(folder, accumulate):
    """What each of two processes of DDP measures, with batches of its own."""
    rank = dist.get_rank()
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    data = [*batches(8, [8])][rank::2]
    if rank and accumulate == 1:
        data[1] = next(batches(1, [8], padded=[0]))  # measured by the other process alone
    callback = measured(data, accumulate_grad_batches=accumulate, devices=2, strategy="ddp")
    (folder / f"{rank}.json").write_text(json.dumps([callback.measurements, callback.average, callback._rows]))


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_of_several_processes_it_is_the_mean_of_theirs(tmp_path, accumulate):
    in_two_ranks(of_two_processes, tmp_path, accumulate)
    (count, average, rows), other = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert other == [count, average, rows] and count == 4 // accumulate and rows == 16 * accumulate
    data = [*batches(8, [8])]
    expected = []
    for update in range(count):
        own = [data[rank::2][update * accumulate : (update + 1) * accumulate] for rank in (0, 1)]
        if accumulate == 2:
            small = sum(float((one[0].inputs.mean(0) ** 2).sum()) for one in own) / 2
            big = torch.cat([part.inputs for one in own for part in one]).mean(0)
            expected.append(estimate(small, float((big**2).sum()), 8, 32))
            continue
        found = []
        for (one,) in own[: 1 if update == 1 else 2]:
            halves = [one.inputs[:4].mean(0), one.inputs[4:].mean(0)]
            squares = [float((half**2).sum()) for half in (*halves, sum(halves) / 2)]
            found.append(estimate(sum(squares[:2]) / 2, squares[2], 4, 8))
        expected.append([sum(values) / len(found) for values in zip(*found, strict=True)])
    weights = [0.9999 ** (count - 1 - update) for update in range(count)]
    means = [sum(w * one[i] for w, one in zip(weights, expected, strict=True)) / sum(weights) for i in (0, 1)]
    assert average == pytest.approx(means, rel=1e-4)


@pytest.mark.parametrize("size", [1.0, 8.0])
def test_both_estimates_are_unbiased(size):
    squares = [float((GRADIENT**2).sum()) + VARIANCE / rows for rows in (size, 3 * size)]
    got = estimate(*squares, size, 3 * size)
    assert got == pytest.approx((float((GRADIENT**2).sum()), VARIANCE))


MEASURED = (*TINY, "callbacks=noise_scale", "callbacks.gradient_noise_scale.every=1", "log_interval=1")
NOISY = ("model.dropout=0.2", "model.attention_dropout=0.1")


def last_checkpoint(directory):
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("more", [(), ("trainer.accumulate_grad_batches=2",), ("trainer.precision=bf16-mixed",)])
@pytest.mark.slow
def test_training_is_not_disturbed(command, tmp_path, more):
    for name, start in (("with", MEASURED), ("without", TINY)):
        assert command(*start, *NOISY, *more, f"hydra.run.dir={tmp_path}/{name}").status == 0
    got, expected = (last_checkpoint(tmp_path / name)["state_dict"] for name in ("with", "without"))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    with (tmp_path / "with" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["noise_scale/variance"]]
    assert len(rows) >= 4
    assert float(rows[-1]["noise_scale/batch_tokens"]) == 32 * 8 * (2 if "accumulate" in str(more) else 1)
    known = [row for row in rows if row["noise_scale/rows"]]
    assert known and all(
        float(row["noise_scale/tokens"]) == pytest.approx(32 * float(row["noise_scale/rows"])) for row in known
    )


@pytest.mark.slow
def test_the_share_of_right_tokens_counts_none_twice(command, tmp_path):
    for name, start in (("with", MEASURED), ("without", (*TINY, "log_interval=1"))):
        assert command(*start, "model.accuracy=true", f"hydra.run.dir={tmp_path}/{name}").status == 0
    shares = []
    for name in ("with", "without"):
        with (tmp_path / name / "metrics.csv").open() as file:
            shares.append([row["train/accuracy"] for row in csv.DictReader(file) if row["train/accuracy"]])
    assert shares[0] == shares[1] != []


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_resumed_run_has_the_averages_of_an_uninterrupted_one(command, tmp_path, monkeypatch, accumulate):
    import frontpage.training.callbacks.stop_on_signal as module

    def stop(self, trainer):
        if trainer.global_step == 5:
            raise Interrupted("stopped")

    arguments = (*MEASURED, *NOISY, f"trainer.accumulate_grad_batches={accumulate}", "trainer.max_epochs=2")
    assert command(*arguments, f"hydra.run.dir={tmp_path}/whole").status == 0
    with monkeypatch.context() as patch:
        patch.setattr(module.StopOnSignal, "_stop_if_asked", stop)
        assert command(*arguments, f"hydra.run.dir={tmp_path}/broken").status == 130
    assert command(*arguments, f"hydra.run.dir={tmp_path}/broken", "ckpt_path=last").status == 0
    whole, broken = (
        last_checkpoint(tmp_path / name)["callbacks"]["GradientNoiseScale"] for name in ("whole", "broken")
    )
    assert whole == broken and whole["measurements"] > 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "pieces"),
    [
        (["data.batch_size=1"], ["data.batch_size=1", "at least 2", "trainer.accumulate_grad_batches"]),
        (["trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu"], ["callbacks=noise_scale", "strategy=fsdp"]),
        (["callbacks.gradient_noise_scale.every=0"], ["gradient_noise_scale.every=0", "at least 1"]),
        (["callbacks.gradient_noise_scale.smoothing=1"], ["gradient_noise_scale.smoothing=1", "below 1"]),
    ],
    ids=lambda value: value[0],
)
def test_mistakes(command, tmp_path, overrides, pieces):
    ended = command(*TINY, "callbacks=noise_scale", *overrides)
    assert ended.status == 2
    assert len(ended.stderr.splitlines()) <= 3 and all(piece in ended.stderr for piece in pieces), ended.stderr
    assert not list((tmp_path / "logs").glob("runs/*/*"))


def test_scaled_gradients_are_refused():
    trainer = SimpleNamespace(strategy=None, precision="16-mixed", accumulate_grad_batches=1)  # the CPU has none
    with pytest.raises(UserError, match="trainer.precision=16-mixed: .*32-true bf16-mixed bf16-true"):
        GradientNoiseScale().check(trainer, batch_size=8)


@pytest.mark.slow
def test_one_row_is_enough_with_accumulation(command, tmp_path):
    more = ("data.batch_size=1", "trainer.accumulate_grad_batches=4", "trainer.max_steps=3")
    assert command(*MEASURED, *more, f"hydra.run.dir={tmp_path}/run").status == 0
    assert last_checkpoint(tmp_path / "run")["callbacks"]["GradientNoiseScale"]["measurements"] == 3


def test_rows_count_where_each_has_as_many_targets():
    """Of a question the answer alone is one; a row with padding has fewer than others."""
    targets = torch.full((4, 5), IGNORED)
    batch = SimpleNamespace(targets=targets)
    assert _even_rows(batch) == (0, 0)
    targets[:, -1] = 3
    assert _even_rows(batch) == (4, 1)
    targets[2, 0] = 1
    assert _even_rows(batch) == (0, 0) == _even_rows(SimpleNamespace())
    assert _even_rows(SimpleNamespace(targets=torch.ones(2, 7))) == (2, 7)
