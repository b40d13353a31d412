"""Dense causal attention (Vaswani et al. 2017) on PyTorch's fused kernel."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from frontpage.attention.base import SelfAttention


class CausalAttention(SelfAttention):
    """Every token sees itself and all tokens before it.

    >>> from frontpage.attention.picture import picture
    >>> print(picture(CausalAttention.pattern(4)))
    #...
    ##..
    ###.
    ####
    """

    backend = "sdpa"

    @staticmethod
    def pattern(length: int) -> Tensor:
        """(length, length), True where the row's query may see the column's key."""
        return torch.ones(length, length, dtype=torch.bool).tril()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, document_ids: Tensor | None) -> Tensor:
        """(B, H, T, D) queries over (B, Hkv, S, D) keys and values -> (B, H, T, D)."""
        time, seen = q.shape[2], k.shape[2]
        mask = None
        if document_ids is not None:
            same = document_ids[:, None, :, None] == document_ids[:, None, None, :]  # (B, 1, T, T)
            mask = same.tril()
        elif 1 < time < seen:  # a continued cache: the last `time` rows of the square picture
            mask = torch.ones(time, seen, dtype=torch.bool, device=q.device).tril(seen - time)
        return scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and time > 1,
            enable_gqa=self.n_kv_head != self.n_head,
        )
