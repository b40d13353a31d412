"""What all techniques promise: none on the way when off or in a validation, their FLOPs, memory and micro-batches."""

import pytest
import torch
from optimizers import TIME, module_of
from technique_parts import NAMES, Tokens, teacher, technique, titles, with_techniques

from frontpage.command.errors import BadValue
from frontpage.command.notices import forget_notices, notices
from frontpage.data.packing import TitleBatch, rows_of
from frontpage.evaluation.losses import next_token_loss
from frontpage.machine.flops import training_flops_per_token
from frontpage.models.language_head import LanguageHead
from frontpage.recipe.techniques.composed import Techniques
from frontpage.recipe.techniques.technique import Moment
from frontpage.training.memory.estimate import estimate_training
from frontpage.training.memory.fake_step import fake_step

TEACHER = {"distillation": {"teacher": "3"}}


def chosen(names=NAMES):
    return {name: technique(name, **TEACHER.get(name, {})) for name in names}


def test_without_a_technique_the_loss_is_the_very_function():
    module, batch = with_techniques(None, dropout=0.2), titles()
    assert not module.techniques and module.passes == 1
    torch.manual_seed(0)
    found = module.loss_of(batch)
    torch.manual_seed(0)
    expected = next_token_loss(module.hidden(batch), module.language_head.weight, batch.targets)
    assert torch.equal(found, expected) and type(found.grad_fn) is type(expected.grad_fn)
    assert module.training_values() == {} and module.loss_unit == "nats a token"


def test_in_evaluation_no_technique_is_on_the_way():
    module, batch = with_techniques(chosen(), dropout=0.2).eval(), titles()
    expected = next_token_loss(module.hidden(batch), module.language_head.weight, batch.targets)
    assert torch.equal(module.loss_of(batch), expected) and module.loss_unit is None


@pytest.mark.parametrize("name", NAMES)
def test_an_option_is_named_as_its_file_and_descends_something_else(name):
    module, batch = with_techniques(chosen([name]), dropout=0.2), titles()
    assert type(module.techniques.chosen[name]).__module__ == f"frontpage.recipe.techniques.{name}"
    torch.manual_seed(1)
    found = module.loss_of(batch)
    torch.manual_seed(1)
    plain = next_token_loss(module.hidden(batch), module.language_head.weight, batch.targets)
    assert found.item() != pytest.approx(plain.item(), rel=1e-6)
    found.backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in module.net.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if "dropout" not in name])
def test_rows_at_once_and_in_micro_batches_descend_the_same(name):
    module, batch = with_techniques(chosen([name])), titles()
    whole = torch.autograd.grad(module.loss_of(batch), list(module.net.parameters()))
    losses = [module.loss_of(rows_of(batch, slice(row, row + 1))) * share / 18 for row, share in ((0, 12), (1, 6))]
    parts = torch.autograd.grad(sum(losses), list(module.net.parameters()))
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(whole, parts, strict=True))


def test_operations_of_passes_and_teachers_are_counted():
    once = with_techniques(None).flops_per_token(TIME)
    assert once == training_flops_per_token(with_techniques(None).net, TIME)
    assert with_techniques(chosen(["r_drop"])).flops_per_token(TIME) == 2 * once
    distilled = {"distillation": technique("distillation", teacher=["3", "4"])}
    assert with_techniques(distilled).flops_per_token(TIME) == pytest.approx(once * (1 + 2 / 3))
    halfway = with_techniques({"distillation": technique("distillation", teacher="3", weight=[[0, 0.9], [5, 0.0]])})
    working = halfway.phase
    assert halfway.flops_per_token(TIME) == pytest.approx(once * (1 + 1 / 3))
    assert halfway.techniques.chosen["distillation"].term(titles(), Moment(5, 10)) is None
    assert halfway.flops_per_token(TIME) == once and halfway.phase != working
    cheap = chosen(["label_smoothing", "multi_token_prediction", "token_dropout", "span_dropout"])
    assert with_techniques(cheap).flops_per_token(TIME) == once and Techniques(cheap).passes == 1


def test_a_small_weight_of_a_teacher_leaves_room_for_others_in_the_estimate_too():
    both = {
        "distillation": technique("distillation", teacher="3", weight=0.2),
        "label_smoothing": technique("label_smoothing", share=0.6),
    }
    assert with_techniques(both).techniques.planned().chosen["distillation"].replaced == 0.2


def test_another_teacher_than_before_is_said():
    def kept(seed):
        module = module_of(technique={"distillation": technique("distillation", teacher="3")}).double()
        module.connect(Tokens(), TIME, lambda path: teacher(seed))
        return module, {"newest": {"opened": module.techniques.opened}}

    (module, mine), (_, other) = kept(3), kept(4)
    forget_notices()
    module.on_load_checkpoint(mine)
    assert notices() == [] and len(mine["newest"]["opened"]) == 1
    module.on_load_checkpoint(other)
    assert notices() == [
        "model.technique.distillation.teacher: its weights are others than before, and the run goes on so"
    ]


def estimated(names, rows=4):
    module = module_of(technique=chosen(names), dropout=0.1)
    module.connect(Tokens(), TIME, lambda path: teacher(int(path)))
    settings = {"loss": module.planned_loss, "passes": module.passes}
    return estimate_training(module.net, module.make_optimizer, rows, TIME, **settings)


@pytest.mark.slow
def test_the_estimate_of_memory_counts_passes_and_what_terms_hold():
    plain, of_twice_the_rows, dropped = estimated([]), estimated([], 8), estimated(["r_drop"])
    assert of_twice_the_rows.step <= dropped.step < 1.5 * of_twice_the_rows.step and dropped.weights == plain.weights
    teacher_bytes = sum(weight.numel() for weight in module_of().net.parameters()) * 4
    assert estimated(["distillation"]).step > plain.step + teacher_bytes / 2


class LossOnly(torch.nn.Module):
    """A net of which `fake_step` sees the loss alone: 4 x 64 states of 8 numbers, 512 tokens."""

    def __init__(self):
        super().__init__()
        self.states, self.blocks = torch.nn.Parameter(torch.empty(4, 64, 8)), torch.nn.ModuleList()
        self.heads = torch.nn.ModuleDict({"language": LanguageHead(8, 512)})

    def hidden(self, tokens):
        return self.states


@pytest.mark.slow
def test_the_estimate_does_not_hold_the_graph_of_more_than_a_chunk(monkeypatch):
    peaks, loss = [], module_of(technique=chosen(["label_smoothing"])).planned_loss
    for numbers in (2**17, 2**14):  # all logits of the 256 places, and an eighth of them
        monkeypatch.setattr("frontpage.evaluation.losses.CHUNK_NUMBERS", {"cpu": numbers, "gpu": numbers})
        peaks.append(fake_step(LossOnly(), loss, 4, 64, precision="32-true", document_mask=False).peak)
    assert peaks[0] > 3 * 2**17 * 4 and peaks[1] < peaks[0] / 4


def test_bf16_is_close_to_fp32():
    module, batch = (
        with_techniques(chosen(["label_smoothing", "multi_token_prediction", "distillation"])).float(),
        titles(),
    )
    exact = module.loss_of(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.loss_of(batch)
    assert exact.dtype == rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_shares_that_are_more_than_the_target_are_refused():
    both = {"label_smoothing": {"share": 0.6}, "distillation": {"teacher": "3", "weight": [[0, 0.1], [1, 0.5]]}}
    with pytest.raises(ValueError, match="label_smoothing takes 0.6 and distillation takes 0.5"):
        Techniques({name: technique(name, **settings) for name, settings in both.items()})


def test_a_teacher_of_other_tokens_or_a_shorter_block_is_refused():
    distilled, other = technique("distillation", teacher="runs/a"), teacher(3)
    with pytest.raises(BadValue, match=r"distillation\.teacher=runs/a: its block has 12 tokens"):
        distilled.connect(Tokens(), 13, lambda path: other)
    other.tokenizer = type("Others", (), {"to_json": lambda self: "others"})()
    with pytest.raises(BadValue, match=r"distillation\.teacher=runs/a: its tokenizer is another"):
        distilled.connect(Tokens(), TIME, lambda path: other)


def test_a_teacher_is_no_part_of_the_student():
    module = with_techniques(chosen(["distillation"]))
    assert len(list(module.parameters())) == len(list(module.net.parameters()))
    assert module.state_dict().keys() == with_techniques(None).state_dict().keys()
    assert not any(weight.requires_grad for weight in module.techniques.chosen["distillation"].teachers[0].parameters())


def test_a_teacher_reads_what_is_hidden_from_the_student():
    seen = []
    module = with_techniques(chosen(["distillation", "token_dropout"]))
    one = module.techniques.chosen["distillation"].teachers[0]
    hidden = one.hidden
    one.hidden = lambda batch: seen.append(batch) or hidden(batch)
    module.loss_of(titles())
    assert isinstance(seen[0], TitleBatch) and torch.equal(seen[0].inputs, titles().inputs)
