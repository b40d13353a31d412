"""Promises of the operations of several tasks: each is counted where it is done, and a run's record sums them."""

from types import SimpleNamespace

import pytest
import torch
from parallel_runs import FOUR, SMALL, data_of, first_of_each_task, module_of
from programs import record_of
from torch.utils.flop_counter import FlopCounterMode

from frontpage.data.parallel.examples import PairBatch
from frontpage.machine.flops import training_flops_per_token
from frontpage.training.callbacks.run_clock import RunClock


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("parallel"))


def products_of(call):
    """Operations of the matrix products in a call, those of attention left out, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    return sum(count for operation, count in counts.items() if "mm" in operation)


def vectors_in(*modules):
    """Weights that multiply no vector: those of norms, biases, single numbers."""
    return sum(weight.numel() for module in modules for weight in module.parameters() if weight.dim() < 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR[1:])
def test_operations_of_examples_are_three_times_the_counted_forward_products(data, name):
    """Of texts without padding; what the formula adds for norms, biases and attention is taken off again."""
    module = module_of(data, "model.norm=rmsnorm").eval()
    batch = first_of_each_task(data.loader_of())[name]
    examples, members, row = batch.tokens.shape
    full = batch._replace(lengths=torch.full_like(batch.lengths, row), tokens_read=batch.tokens.numel())
    head = module.net.heads[name]
    counted = products_of(lambda: head(module.vectors(full)))
    calls = examples if name == "coherence" else examples * members
    trunk = vectors_in(module.net) - sum(vectors_in(module.net.heads[one]) for one in FOUR[1:])
    of_others = 6 * (trunk * full.tokens_read + vectors_in(head) * calls)
    of_others += 3 * module.net.mixing_flops(row) * full.tokens_read
    assert module.flops_of_examples(full) - of_others == pytest.approx(3 * counted, rel=1e-12)


def test_operations_of_examples_follow_the_rounds_of_the_net(data):
    module = module_of(data, "model/addition=recurrence")
    batch = first_of_each_task(data.loader_of())["paraphrase"]
    once, head = module.flops_of_examples(batch), module.net.heads["paraphrase"]
    module.net.additions["recurrence"].at(1.0)
    of_head = 6 * sum(weight.numel() for weight in head.parameters()) * batch.lengths.numel() / head.texts_read
    trunk = training_flops_per_token(module.net, batch.tokens.shape[-1], heads=())
    assert module.flops_of_examples(batch) == batch.tokens_read * trunk + of_head > once


def test_a_predicted_token_goes_through_the_language_head_and_no_other(data):
    alone, mixture = module_of(data, "tasks=lm_only"), module_of(data)
    assert mixture.flops_per_token(64) == alone.flops_per_token(64)
    batch = PairBatch(torch.zeros(2, 2, 64), torch.full((2, 2), 64), torch.zeros(2), "paraphrase", 256)
    head = sum(weight.numel() for weight in mixture.net.heads["paraphrase"].parameters())
    language = 6 * mixture.language_head.weight.numel()
    expected = 256 * (mixture.flops_per_token(64) - language) + 6 * head * 4
    assert mixture.flops_of_examples(batch) == pytest.approx(expected)


@pytest.mark.slow
def test_a_run_records_the_sum_over_its_micro_batches(command, run_directories, tmp_path):
    outcome = command(*SMALL, "trainer.max_steps=40", "val_interval=40", "callbacks.sample_titles=null")
    assert outcome.status == 0, outcome.stderr
    record = record_of(run_directories()[-1])
    data = data_of(tmp_path)
    module, loader = module_of(data), data.loader_of()
    tokens = operations = 0
    for step in range(40):
        batch = loader.batch(*divmod(step, loader.batches))
        if isinstance(batch, PairBatch):
            tokens += batch.tokens_read
            operations += module.flops_of_examples(batch)
        else:
            tokens += batch.targets.numel()
            operations += batch.targets.numel() * module.flops_per_token(64)
    assert record["tokens_seen"] == tokens and record["training_flops"] == pytest.approx(operations, rel=1e-9)
    rate = record["training_flops"] / tokens * record["tokens_per_second"]
    assert record["model_flops_utilization"] == pytest.approx(rate / record["matmul_peak_flops"], rel=1e-2)


def test_a_clock_goes_on_from_a_checkpoint_that_counted_no_operations(data):
    module = module_of(data)
    trainer = SimpleNamespace(datamodule=data, precision="32-true", world_size=1)
    state = RunClock().state_dict() | {"tokens_seen": 500}
    older = {key: value for key, value in state.items() if key != "training_flops"}
    assert [*RunClock().unlike_state(older, "clock")] == [*RunClock().unlike_state(state, "clock")] == []
    assert [*RunClock().unlike_state({}, "clock")][0] == "clock lacks tokens_seen"
    assert [*RunClock().unlike_state([], "clock")] == ["clock is a list, not a dictionary"]
    for saved, expected in ((older, 500 * module.flops_per_token(64)), (state | {"training_flops": 7.0}, 7.0)):
        clock = RunClock()
        clock.load_state_dict(saved)
        clock.on_fit_start(trainer, module)
        assert clock.training_flops == expected
