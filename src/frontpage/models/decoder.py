"""Decoder: what the architectures share - embedding, blocks, cache, activation checkpointing, heads."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frontpage.attention.parts.contract import SelfAttention
from frontpage.command.limits import Amount, AtLeast, Count, Matching, Positive, ShareBelow1
from frontpage.models.additions.addition import Addition, Stream
from frontpage.models.block import MLP, Block, default_d_ff
from frontpage.models.initialisation import initialise
from frontpage.models.language_head import LanguageHead
from frontpage.models.norms import make_norm

CHECKPOINTING = Matching("none|full|every_([1-9][0-9]*)", "none, full or every_k such as every_2")
LayerCount = Annotated[int, AtLeast(1, 10_000)]


class Decoder(nn.Module):
    """Decoder-only Transformer with a block for each of `widths`, tokens (B, T) -> logits (B, T, V).

    `attention` is a factory, called once a layer with that layer's width. The embedding, the final norm and the head
    are as wide as the first layer; a subclass with other widths joins them in `through_blocks`. All but `head` is the
    trunk, which other heads may read as well (`add_head`). `logit_scale` is a constant that `hidden` has multiplied by,
    for the sake of the language head: 1 where an architecture has none. `logit_cap` is the soft cap of the logits,
    wherever they are computed. `addition` has factories `make(net)` of what is added, by name (models/additions/).
    Raises ValueError for an unknown name or sizes that do not fit.
    """

    logit_scale: float = 1.0

    def __init__(
        self,
        *widths: int,
        vocab_size: int,
        block_size: Count,
        n_head: Count,
        attention: Callable[..., SelfAttention],
        n_kv_head: Count | None = None,
        d_ff: Count | None = None,
        activation: str = "gelu",
        norm: str = "layer",
        norm_position: str = "pre",
        positions: str = "learned",
        rotary_base: Positive = 10_000.0,
        qk_norm: bool = False,
        bias: bool = True,
        tie_embeddings: bool = True,
        logit_cap: Positive | None = None,
        dropout: ShareBelow1 = 0.0,
        attention_dropout: ShareBelow1 = 0.0,
        init: str = "normal",
        init_std: Amount = 0.02,
        scaled_residual_init: bool = True,
        activation_checkpointing: Annotated[str, CHECKPOINTING] = "none",
        addition: Mapping[str, Callable[..., Addition]] | None = None,
    ) -> None:
        super().__init__()
        at_least_1(n_head=n_head, block_size=block_size, d_ff=d_ff)
        if logit_cap is not None and not logit_cap > 0:
            raise ValueError(f"logit_cap={logit_cap}: above 0")
        if positions not in ("learned", "rotary"):
            raise ValueError(f"positions={positions}: learned or rotary")
        self.vocab_size, self.block_size, self.widths = vocab_size, block_size, list(widths)
        self.checkpoint_every = checkpoint_interval(activation_checkpointing)
        self.token_embedding = nn.Embedding(vocab_size, widths[0])
        self.position_table = nn.Parameter(torch.zeros(block_size, widths[0])) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)

        def block(layer: int, width: int) -> Block:
            mixer = attention(
                d_model=width,
                n_head=n_head,
                block_size=block_size,
                layer=layer,
                n_kv_head=n_kv_head,
                bias=bias,
                dropout=attention_dropout,
                rotary=positions == "rotary",
                rotary_base=rotary_base,
                qk_norm=qk_norm,
            )
            mlp = MLP(width, default_d_ff(width, activation) if d_ff is None else d_ff, activation, bias)
            norms = {"norm": norm, "norm_position": norm_position, "bias": bias}
            return self.make_block(mixer, mlp, width, **norms, dropout=dropout)

        self.blocks = nn.ModuleList([block(layer, width) for layer, width in enumerate(widths)])
        self.final_norm = make_norm(norm, widths[0], bias) if norm_position == "pre" else nn.Identity()
        self.head = LanguageHead(widths[0], vocab_size, logit_cap)
        if tie_embeddings:
            self.head.weight = self.token_embedding.weight
        self.other_heads = nn.ModuleDict()
        self.init, self.init_std = init, init_std
        residual_writers = [linear for block in self.blocks for linear in (block.attention.out, block.mlp.down)]
        initialise(self, init, init_std, residual_writers if scaled_residual_init else [], len(widths))
        self.additions = nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):  # what the net and its training draw stays the same with an addition
            for name, make in (addition or {}).items():
                self.additions[name] = make(self)

    def make_block(self, attention: SelfAttention, mlp: MLP, width: int, **settings: Any) -> Block:
        """A block of these parts; an architecture with norms of its own changes the settings."""
        return Block(attention, mlp, width, **settings)

    def add_head(self, name: str, head: nn.Module) -> None:
        """Let another head read what the trunk gives, (B, T, C) or what is pooled of it; it keeps its own weights."""
        self.other_heads[name] = head

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The heads by name; `language` is what text is scored with and drawn from."""
        return {"language": self.head, **self.other_heads}

    def looked_up(self) -> list[nn.Parameter]:
        """Tables of which a token reads one row, so that they multiply nothing: the embedding, learned positions."""
        tables = [] if self.position_table is None else [self.position_table]
        return [*tables, *(module.weight for module in self.modules() if isinstance(module, nn.Embedding))]

    def block_tables(self) -> list[Tensor]:
        """Weights and buffers that grow with the block: learned positions, masks."""
        of_trunk = [buffer for name, buffer in self.named_buffers() if not name.startswith("other_heads.")]
        return [*([] if self.position_table is None else [self.position_table]), *of_trunk]

    def mixing_flops(self, block_size: int) -> float:
        """Operations a token of what the layers do between their projections, in a document of `block_size` tokens."""
        return sum(block.attention.mixing_flops(block_size) for block in self.blocks)

    def new_cache(self) -> list[Any]:
        """An empty cache for each layer, for generation; further ones of an architecture come after these."""
        return [block.attention.new_cache() for block in self.blocks]

    def cache_numbers(self, length: int) -> int:
        """How many numbers the caches keep for each row after `length` tokens."""
        return sum(block.attention.cache_numbers(length) for block in self.blocks)

    def checkpointed(self, index: int) -> bool:
        """Whether training keeps of block `index` its input only, and computes the rest again in the backward pass."""
        return bool(self.checkpoint_every) and index % self.checkpoint_every == 0

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
        return self.final_norm(self.through_blocks(self.embedded(tokens, positions), document_ids, positions, cache))

    def embedded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens (B, T) -> what the first block reads (B, T, C)."""
        x = self.token_embedding(tokens)
        return self.dropout(x if self.position_table is None else x + self.position_table[positions])

    def layer_states(
        self, tokens: Tensor, layers: Collection[int], read: Callable[[Tensor], Tensor] = lambda states: states
    ) -> dict[int, Tensor]:
        """Tokens (B, T), each row one document -> of each chosen layer its states (B, T, W), W being its own width.

        Layer 0 is the embedding, layer l what the l-th block gives. `read` makes something smaller of states at once.
        """
        found: dict[int, Tensor] = {}

        def keep(layer: int, states: Tensor) -> None:
            if layer in layers:
                found[layer] = read(states)

        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedded(tokens, positions)
        keep(0, x)
        self.through_blocks(x, None, positions, None, keep)
        return found

    def through_blocks(self, x: Tensor, *context: Any) -> Tensor:
        """Embedded tokens (B, T, C) -> (B, T, C), layer after layer."""
        stream = Stream(x, [])
        for index in range(len(self.blocks)):
            x = self.through_layer(index, x, stream, *context)
        return x

    @property
    def keeps_outputs(self) -> bool:
        """Whether what a layer gives is kept until the last one has read it."""
        return any(addition.reads_outputs for addition in self.additions.values())

    def through_layer(self, index: int, x: Tensor, stream: Stream, *context: Any) -> Tensor:
        """Block `index` and what is added before and after it, (B, T, its width) -> the same."""
        for addition in self.additions.values():
            x = addition.before_layer(index, x, stream)
        after = self.through_block(index, x, stream.first if self.additions else None, *context)
        for addition in self.additions.values():
            after = addition.after_layer(index, x, after)
        if self.keeps_outputs:
            stream.outputs.append(after)
        return after

    def through_block(
        self,
        index: int,
        x: Tensor,
        first: Tensor | None,
        document_ids: Tensor | None,
        positions: Tensor,
        cache: list[Any] | None,
        keep: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), where C is the width of block `index`; `keep` is given layer `index` + 1."""
        block = self.blocks[index]
        if keep is not None:
            keep(index + 1, x := block(x, document_ids, positions, first=first))
            return x
        if cache is not None:
            return block(x, document_ids, positions, cache[index], first)
        if self.training and torch.is_grad_enabled() and self.checkpointed(index):
            return checkpoint(block, x, document_ids, positions, None, first, use_reentrant=False)
        return block(x, document_ids, positions, first=first)

    def forward(
        self,
        tokens: Tensor,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: list[Any] | None = None,
    ) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V); without `document_ids` each row is one document."""
        return self.head(self.hidden(tokens, document_ids, positions, cache))


def at_least_1(**sizes: int | None) -> None:
    """Raise ValueError for a size below 1; None is no size."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}={size}: at least 1")


def checkpoint_interval(activation_checkpointing: str) -> int:
    """Of how many blocks one is checkpointed: `none` 0, `full` 1, `every_k` k; else ValueError."""
    found = re.fullmatch(CHECKPOINTING.pattern, activation_checkpointing)
    if not found:
        raise ValueError(f"activation_checkpointing={activation_checkpointing}: {CHECKPOINTING.words}")
    return int(found[1] or (activation_checkpointing == "full"))
