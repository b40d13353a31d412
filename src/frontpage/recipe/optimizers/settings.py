"""What the settings of optimizers may be: of ours in their signatures, of PyTorch's in TORCH_OPTIMIZERS."""

from typing import Annotated

from frontpage.command.limits import Amount, Between, Each, Positive, Share, ShareBelow1
from frontpage.command.points import Course

Decay = Course  # of the module, which sets it; an optimizer is built with the number of the first update
Betas = Annotated[tuple[float, float], Each(Between(0, 1, "[)"))]
# Of torch.optim, whose constructors say the types, and the limits too late or not at all (fused Adam takes a nan).
TORCH_OPTIMIZERS = {
    "lr": Amount,
    "weight_decay": Decay,
    "betas": Betas,
    "eps": Positive,
    "momentum": ShareBelow1,
    "dampening": Share,
    "alpha": ShareBelow1,  # of RMSprop
    "lr_decay": Amount,  # of Adagrad
    "initial_accumulator_value": Amount,  # of Adagrad
}
