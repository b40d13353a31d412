"""Promises of exports of nets to which something is added: our own names keep it, other programs' layouts refuse it."""

import pytest
import torch
from exports import exportable
from omegaconf import OmegaConf
from tiny import CONFIGS, options

from frontpage.command.errors import UserError
from frontpage.export.formats import export
from frontpage.export.own_names import load_export

SHARED = {"positions": "rotary", "rotary_share": 0.5, "n_layer": 3}


def added(*names):
    nodes = OmegaConf.merge(*(OmegaConf.load(CONFIGS / "model/addition" / f"{name}.yaml") for name in names))
    return {"addition": OmegaConf.to_container(nodes)}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt", "deep_narrow"])
def test_our_own_names_keep_all_additions(model, tmp_path):
    config, module = exportable(model, SHARED | added(*options("model/addition")))
    result = export(tmp_path, config, module, form="safetensors", output=tmp_path / "out")
    assert result["verified"].largest_difference == 0
    again = load_export(tmp_path / "out")[1].net  # without trust: configs/ offer these classes there
    assert [*again.additions] == options("model/addition")
    assert again.state_dict().keys() == module.net.state_dict().keys()
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in module.net.state_dict().items())


@pytest.mark.parametrize("name", options("model/addition"))
@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_other_programs_do_not_compute_an_addition(name, form, tmp_path):
    config, module = exportable("modern", SHARED | added(name))
    with pytest.raises(UserError, match=rf"^model.addition=\[{name}\]: no standard architecture computes it"):
        export(tmp_path, config, module, form=form, output=tmp_path / form)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_other_programs_turn_all_of_a_head(form, tmp_path):
    config, module = exportable("modern", SHARED)
    with pytest.raises(UserError, match="^model.rotary_share=0.5: .* the nearest, qwen3, has 1.0 there"):
        export(tmp_path, config, module, form=form, output=tmp_path / form)


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_other_programs_have_no_heads_of_tasks(form, tmp_path):
    config, module = exportable("deep_narrow", {"norm": "rmsnorm"})
    module.net.add_head("coherence", torch.nn.Linear(32, 2))
    with pytest.raises(UserError, match=r"^tasks=\[coherence\]: of their heads no standard architecture computes it"):
        export(tmp_path, config, module, form=form, output=tmp_path / form)
    assert [*tmp_path.iterdir()] == []
