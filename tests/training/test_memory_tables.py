"""Promises of scripts/memory.py: layers, totals, generation and what fits, for any config, and mistakes in a line."""

import json

import pytest
from programs import run_script
from tiny import options

from frontpage.training.memory import tables
from frontpage.training.memory.estimate import TrainingMemory, generation_bytes


@pytest.mark.slow
def test_the_script_prints_layers_totals_generation_and_what_fits(capfd, tmp_path):
    small = ("model.n_layer=1", "model.d_model=32", "data.block_size=32")
    path = tmp_path / "memory.json"
    ended = run_script(capfd, "memory", "experiment=quickstart", *small, "--fits", "0.65", "--json", path)
    assert ended.status == 0, ended.stderr
    result = json.loads(path.read_text())
    assert [layer["name"] for layer in result["layers"]] == ["block 0", "ends"]
    assert [row["attention"] for row in result["generation"]] == options("model/attention")
    assert not any("refused" in row for row in result["generation"])
    totals = result["activation_checkpointing"]
    assert totals["none"]["total"] == result["training"]["total"] > totals["full"]["total"]
    assert result["fits"]["0.65"]["full"] > result["fits"]["0.65"]["none"] > 32
    for words in ("block 0", "total", "generation", "largest micro-batch", "attention_dropout", "0.6 GiB", "7%"):
        assert words in ended.stdout


OF_HEADS = ("value_embeddings", "head_gate", "exclusive", "shifted_keys")


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.slow
def test_generation_is_counted_for_every_attention_in_every_experiments_model(experiment):
    config = tables.composed([f"experiment={experiment}", "model.n_layer=2"])
    rows = tables.generation(config, [1])
    assert [row["attention"] for row in rows] == options("model/attention")
    heads = config.model.n_head
    wants = {"bottleneck": 64 % heads == 0, "fixed": heads % 4 == 0}
    wants |= dict.fromkeys(("differential", "strided"), heads % 2 == 0)
    unfit = {name for name, fits in wants.items() if not fits}
    of_heads = [name for name in config.model.addition or {} if name in OF_HEADS]
    unfit |= {"mla"} if of_heads else set()
    refused = {row["attention"]: row["refused"] for row in rows if "refused" in row}
    assert refused.keys() == unfit
    assert all(f"n_head={heads}" in said or any(name in said for name in of_heads) for said in refused.values())


@pytest.mark.slow
def test_generation_says_whose_sizes_do_not_fit_and_has_the_configs_own_knobs():
    sizes = ("model.n_layer=1", "model.n_head=6", "model.d_model=96", "model/attention=local")
    config = tables.composed([*sizes, "model.attention.window=5"])
    rows = {row["attention"]: row for row in tables.generation(config, [1])}
    assert "groups=4" in rows["fixed"]["refused"] and "refused" not in rows["causal"]
    assert rows["local"]["caches"] == {"1": generation_bytes(tables.on_meta(config).net, 1, 128)[1]}
    many = tables.generation(config, [1, 7], [4, 100])
    caches = {(row["attention"], row["length"]): row.get("caches") for row in many}
    token = 2 * 96 * 4  # bytes of its key and value
    assert caches["causal", 100]["7"] == 700 * token
    assert caches["local", 4] == caches["local", 100] == {"1": 4 * token, "7": 28 * token}  # a window of 5


def test_cards_are_sized_with_the_optimizers_temporaries_of_cuda(monkeypatch):

    def estimated(net, make_optimizer, batch_size, block_size, *, card, **options):
        assert card
        return TrainingMemory(0, 0, 0, 0, 0, 0, total=batch_size * (2 - net.checkpointed(0)) * 2**20)

    monkeypatch.setattr(tables, "estimate_training", estimated)
    found = tables.fits(tables.composed(["experiment=quickstart", "model.n_layer=1"]), [1.671, 1.1])
    assert found["1.671"] == {"none": 512, "full": 1024} and [*found] == ["1.671", "1.1"]
    assert found["1.1"]["none"] < found["1.1"]["full"] < 512


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("experiment=quikstart",), ("experiment=quikstart", "did you mean 'quickstart'")),
        (("model.n_head=3",), ("n_head=3",)),
        (("--fits", "0"), ("--fits", "at least 0.1")),
        (("experiment=quickstart", "--lengths", "16,4096"), ("--lengths 4096", "data.block_size=")),
        (("--fit", "8"), ("--fit",)),
        (("experiment=quickstart", "model.attention.backend=flex"), ("model.attention.backend=flex",)),
        (("model/attention=fixed", "model.attention.backend=reshape"), ("model.attention.backend=reshape",)),
        (
            ("model/attention=sparsek", "model.attention.backend=sdpa", "model.attention_dropout=0.1"),
            ("model.attention.backend=sdpa", "attention_dropout=0.1"),
        ),
    ],
)
def test_the_scripts_mistakes_are_said_in_one_line(capfd, arguments, words):
    ended = run_script(capfd, "memory", *arguments)
    assert ended.status == 2 and len(ended.stderr.splitlines()) <= 3
    assert all(word in ended.stderr for word in words), ended.stderr
