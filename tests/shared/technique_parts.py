"""What the tests of techniques share: the options of configs/, the smallest net with some, and a batch of titles."""

import torch
from omegaconf import OmegaConf
from optimizers import TIME, VOCABULARY, module_of
from tiny import CONFIGS, options

from frontpage.command.build import build
from frontpage.data.packing import IGNORED, TitleBatch

NAMES = options("model/technique")
EOS, UNK = 1, 2


class Tokens:
    """A tokenizer as far as a technique looks at one."""

    eos_id, unk_id = EOS, UNK

    def to_json(self):
        return "the same"


def technique(name, **changed):
    """The technique that an option of configs/ stands for, with other values."""
    node = OmegaConf.load(CONFIGS / "model/technique" / f"{name}.yaml")[name]
    return build(OmegaConf.merge(node, changed), f"model.technique.{name}")


def with_techniques(chosen, **changes):
    """The smallest GPT in fp64, ready to train, with techniques by name."""
    module = module_of(technique=chosen, **changes).double().train()
    module.connect(Tokens(), TIME, lambda path: teacher(int(path)))
    return module


def teacher(seed, **changes):
    """Another net of the same size, as a run is reopened."""
    torch.manual_seed(seed)
    found = module_of(**changes).double().eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in found.net.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    found.tokenizer = Tokens()
    return found


def titles():
    """Two rows of 12: titles of 5, 4 and the first 3 of another; its other 6, and 6 of padding."""
    draws = torch.Generator().manual_seed(3)
    inputs = torch.randint(3, VOCABULARY, (2, TIME), generator=draws)
    inputs[0, [0, 5, 9]] = EOS
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [2] * 6 + [3] * 6])
    positions = torch.tensor([[*range(5), *range(4), *range(3)], [*range(3, 9), *[0] * 6]])
    stream = torch.cat([inputs.flatten(), torch.tensor([EOS])])
    targets = stream[1:].view(2, TIME).clone()
    targets[1, 5], targets[1, 6:] = EOS, IGNORED
    return TitleBatch(inputs, targets, documents, positions)
