"""Promises of the runs of the notebook about several tasks: what differs between them, and what does not."""

import pytest
import torch
from omegaconf import OmegaConf

from frontpage.analysis.notebooks.multitask_runs import (
    SEEDS,
    SHAPES,
    language_updates,
    runs_folder,
    runs_of,
    train_missing,
)
from frontpage.analysis.notebooks.notebook_run import ROOT, SIZES
from frontpage.command.build import build
from frontpage.data.parallel.examples import PairBatch
from frontpage.data.parallel.task_order import BLOCK
from frontpage.training.preflight import check_config

KINDS = (*SHAPES, "lm_only_updates", "lm_only_tokens")
MAY_DIFFER = {"lm_only_updates": {"tasks"}, "lm_only_tokens": {"tasks", "trainer.max_steps"}}


@pytest.fixture(scope="module")
def planned():
    return {size: runs_of(size) for size in SIZES}


@pytest.mark.slow
def test_each_size_has_every_kind_of_every_seed(planned):
    for size, runs in planned.items():
        assert [*runs] == [f"{kind}-{seed}" for seed in SEEDS[size] for kind in KINDS]
    assert SEEDS["small"] == (1,) and SEEDS["full"] == (1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_run_composes_and_differs_from_the_mixture_in_what_it_is_for(config, planned, size, kind):
    runs = planned[size]
    run, mixture = config(*runs[f"{kind}-1"]), config(*runs["mixture-1"])
    check_config(run)
    allowed = MAY_DIFFER.get(kind, {"model.n_layer", "model.d_model"})
    for key in ("tasks", "trainer.max_steps", "model.n_layer", "model.d_model"):
        same = OmegaConf.select(run, key) == OmegaConf.select(mixture, key)
        assert same == (key not in allowed or kind == "mixture"), key
    for key in ("data.seed", "seed", "data.books", "data.batch_size", "tokenizer", "optimizer", "scheduler"):
        assert OmegaConf.select(run, key) == OmegaConf.select(mixture, key), key


@pytest.mark.slow
def test_the_updates_of_the_next_token_follow_the_order_of_tasks():
    """Without a course by its share; with one, by the sum of its shares over the updates."""
    base = ("experiment=quick_prototype", "trainer.max_steps=400")
    assert language_updates(*base, "tasks=four") == 280
    assert language_updates(*base, "tasks=four", "trainer.accumulate_grad_batches=2") == 280
    assert language_updates(*base, "tasks=lm_only") == 400

    def weight(update):  # of the language task in tasks=pairs_first, whose weights sum to 1
        return 0.1 if update <= 2200 else min(0.1 + 0.6 * (update - 2200) / 200, 0.7)

    whole = sum(weight(update // BLOCK * BLOCK) for update in range(4500))  # a block has the weight of its beginning
    assert language_updates("experiment=quick_prototype") == pytest.approx(whole, abs=5)  # half a block is shuffled


@pytest.mark.slow
def test_the_shapes_need_equal_operations(config, planned):
    updates = 4500
    language = language_updates(*planned["full"]["mixture-1"])
    tokens = torch.zeros(32, 2, 24, dtype=torch.int64)
    pairs = PairBatch(tokens, torch.full((32, 2), 17), torch.zeros(32), "coherence", 32 * 2 * 17)
    operations = {}
    for kind in SHAPES:
        node = config(*planned["full"][f"{kind}-1"])
        module = build(node.model, "model", vocab_size=node.tokenizer.vocab_size)
        windows = node.data.batch_size * node.data.block_size * module.flops_per_token(node.data.block_size)
        operations[kind] = language * windows + (updates - language) * module.flops_of_examples(pairs)
    assert max(operations.values()) / min(operations.values()) < 1.05


def test_the_runs_of_a_size_lie_in_a_folder_of_their_own(tmp_path):
    assert runs_folder("small", {}) == ROOT / "logs" / "multitask" / "small"
    assert runs_folder("full", {"FRONTPAGE_MULTITASK_RUNS": str(tmp_path)}) == tmp_path / "full"


@pytest.mark.slow
def test_finished_runs_are_not_trained_again(tmp_path, planned):
    for name in planned["small"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text('{"status": "finished"}')
    assert train_missing("small", tmp_path) == [] and not [*tmp_path.glob("*.log")]
