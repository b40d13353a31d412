"""GPT: a stack of equal blocks (Radford et al. 2019)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frontpage.attention.base import SelfAttention
from frontpage.models.block import MLP, Block, default_d_ff
from frontpage.models.initialisation import initialise
from frontpage.models.language_module import LanguageModule
from frontpage.models.norms import make_norm


class GPT(nn.Module):
    """Decoder-only Transformer, tokens (B, T) -> logits (B, T, V).

    `attention` is a factory, called once a layer. Raises ValueError for an unknown name or sizes that do not fit.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int,
        d_model: int,
        n_layer: int,
        n_head: int,
        attention: Callable[..., SelfAttention],
        *,
        n_kv_head: int | None = None,
        d_ff: int | None = None,
        activation: str = "gelu",
        norm: str = "layer",
        norm_position: str = "pre",
        positions: str = "learned",
        rotary_base: float = 10_000.0,
        qk_norm: bool = False,
        bias: bool = True,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        init: str = "normal",
        init_std: float = 0.02,
        scaled_residual_init: bool = True,
    ) -> None:
        super().__init__()
        d_ff = default_d_ff(d_model, activation) if d_ff is None else d_ff
        sizes = {"d_model": d_model, "n_layer": n_layer, "n_head": n_head, "block_size": block_size, "d_ff": d_ff}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}={size}: at least 1")
        if positions not in ("learned", "rotary"):
            raise ValueError(f"positions={positions}: learned or rotary")
        self.vocab_size, self.block_size = vocab_size, block_size
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_table = nn.Parameter(torch.zeros(block_size, d_model)) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)

        def layer(index: int) -> Block:
            mixer = attention(
                d_model=d_model,
                n_head=n_head,
                block_size=block_size,
                layer=index,
                n_kv_head=n_kv_head,
                bias=bias,
                dropout=attention_dropout,
                rotary=positions == "rotary",
                rotary_base=rotary_base,
                qk_norm=qk_norm,
            )
            mlp = MLP(d_model, d_ff, activation, bias)
            return Block(mixer, mlp, d_model, norm=norm, norm_position=norm_position, bias=bias, dropout=dropout)

        self.blocks = nn.ModuleList([layer(index) for index in range(n_layer)])
        self.final_norm = make_norm(norm, d_model, bias) if norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        if tie_embeddings:
            self.head.weight = self.token_embedding.weight
        residual_writers = [linear for block in self.blocks for linear in (block.attention.out, block.mlp.down)]
        initialise(self, init, init_std, residual_writers if scaled_residual_init else [], n_layer)

    def new_cache(self) -> list[Any]:
        """An empty cache for each layer, for generation."""
        return [block.attention.new_cache() for block in self.blocks]

    def hidden(
        self,
        tokens: Tensor,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: list[Any] | None = None,
    ) -> Tensor:
        """Tokens (B, T) -> what the head reads (B, T, C)."""
        if positions is None:
            seen = len(cache[0]) if cache is not None else 0
            positions = torch.arange(seen, seen + tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens)
        if self.position_table is not None:
            x = x + self.position_table[positions]
        x = self.dropout(x)
        for index, block in enumerate(self.blocks):
            x = block(x, document_ids, positions, cache[index] if cache is not None else None)
        return self.final_norm(x)

    def forward(
        self,
        tokens: Tensor,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: list[Any] | None = None,
    ) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V); without `document_ids` each row is one document."""
        return self.head(self.hidden(tokens, document_ids, positions, cache))


class GPTModule(LanguageModule):
    """Trains a GPT: the keys of LanguageModule and those of GPT."""

    architecture = GPT
