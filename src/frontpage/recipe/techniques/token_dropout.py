"""Token dropout: some of the tokens that the net reads are hidden (Bowman et al. 2016, arXiv 1511.06349)."""

import torch
from torch import Tensor

from frontpage.command.limits import ShareBelow1
from frontpage.data.packing import TitleBatch
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.recipe.techniques.technique import Reopen, Technique


class TokenDropout(Technique):
    """`share` of the tokens that are read become `<unk>`, which no text has; what is to be predicted stays.

    A token and not a zero in place of its embedding, so that nothing that looks tokens up sees a hidden one. The
    `<eos>` that opens a title is never hidden. Drawn anew for each pass.
    """

    def __init__(self, *, share: ShareBelow1 = 0.1) -> None:
        self.share = share
        self.eos_id = self.unk_id = -1  # known when the data is read

    def connect(self, tokenizer: TitleTokenizer, block_size: int, reopen: Reopen) -> None:
        """Take the numbers of the two tokens."""
        self.eos_id, self.unk_id = tokenizer.eos_id, tokenizer.unk_id

    def read(self, batch: TitleBatch) -> TitleBatch:
        """With some tokens hidden."""
        if self.unk_id < 0:
            raise RuntimeError("connect() has not said which token is <unk>")
        hidden = self.hidden(batch.inputs) & (batch.inputs != self.eos_id)
        return batch._replace(inputs=batch.inputs.masked_fill(hidden, self.unk_id))

    def hidden(self, inputs: Tensor) -> Tensor:
        """Which places of (B, T) are drawn, bool: each by itself."""
        return torch.rand(inputs.shape, dtype=torch.float32, device=inputs.device) < self.share
