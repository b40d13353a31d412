"""The promise of parameter groups: every weight of every net is in one, and its kind decides in which."""

import functools
import itertools

import pytest
import torch
from optimizers import VOCABULARY, chosen, missing
from tiny import architectures, composed, options

from frontpage.command.build import build
from frontpage.recipe.parameter_groups import decay_groups, optimizer_of

COMBINATIONS = list(itertools.product(architectures(), options("model/attention"), ["true", "false"]))


@functools.cache
def net_of(model, attention, tied):
    sizes = ("data.block_size=16", "model.d_model=32", "model.n_layer=3", "model.n_head=4")
    named = (f"model={model}", f"model/attention={attention}", f"model.tie_embeddings={tied}")
    return build(composed(*sizes, *named).model, "model", vocab_size=VOCABULARY).net


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
