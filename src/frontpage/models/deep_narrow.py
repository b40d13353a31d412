"""DeepNarrow: many narrow layers, normalised before them, or after them with the constants of DeepNet."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from torch import Tensor, nn

from frontpage.attention.parts.contract import SelfAttention
from frontpage.command.limits import Amount, Count, OneOf, Positive, ShareBelow1
from frontpage.models.additions.addition import Addition
from frontpage.models.block import MLP, Block
from frontpage.models.decoder import CHECKPOINTING, Decoder, LayerCount, at_least_1
from frontpage.models.deepnet import deepnet_constants, initialise_deepnorm
from frontpage.models.norms import make_norm

NORMS = {  # what each normalises by, and where
    "layernorm": ("layer", "pre"),
    "rmsnorm": ("rms", "pre"),
    "deepnorm": ("layer", "post"),
    "postnorm": ("layer", "post"),
}


class DeepNarrow(Decoder):
    """`n_layer` blocks with SwiGLU and without biases in linear layers, tokens (B, T) -> logits (B, T, V).

    `norm` is `layernorm` or `rmsnorm`, before each part and with a gain alone; or `deepnorm`, `LN(alpha x + G(x))`
    after each part G, with DeepNet's alpha and initial weights (Wang et al. 2022, arXiv 2203.00555); or `postnorm`, the
    same with alpha = 1 and the usual initial weights (`init`, `init_std`, `scaled_residual_init`). `final_norm` is one
    more of the same kind before the heads; behind `deepnorm` and `postnorm` an RMSNorm. `d_ff` is 4 `d_model` unless
    given. What the language head reads is multiplied by `logit_scale` (None: `usual_logit_scale`), so that the first
    loss is near ln V; `scale_gate` gives DeepNet's beta to the gate of the MLP, too. Raises ValueError for an unknown
    name or sizes that do not fit.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: Count,
        d_model: Count,
        n_layer: LayerCount,
        n_head: Count,
        attention: Callable[..., SelfAttention],
        *,
        n_kv_head: Count | None = None,
        d_ff: Count | None = None,
        norm: Annotated[str, OneOf(*NORMS)] = "layernorm",
        final_norm: bool = True,
        logit_scale: Positive | None = None,
        scale_gate: bool = False,
        positions: str = "rotary",
        rotary_base: Positive = 10_000.0,
        qk_norm: bool = False,
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
        at_least_1(d_model=d_model, n_layer=n_layer)
        if norm not in NORMS:
            raise ValueError(f"norm={norm}: one of {' '.join(NORMS)}")
        if logit_scale is not None and not logit_scale > 0:
            raise ValueError(f"logit_scale={logit_scale}: above 0")
        kind, place = NORMS[norm]
        super().__init__(
            *[d_model] * n_layer,
            vocab_size=vocab_size,
            block_size=block_size,
            n_head=n_head,
            attention=attention,
            n_kv_head=n_kv_head,
            d_ff=4 * d_model if d_ff is None else d_ff,
            activation="swiglu",
            norm=kind,
            norm_position=place,
            positions=positions,
            rotary_base=rotary_base,
            qk_norm=qk_norm,
            bias=False,
            tie_embeddings=tie_embeddings,
            logit_cap=logit_cap,
            dropout=dropout,
            attention_dropout=attention_dropout,
            init=init,
            init_std=init_std,
            scaled_residual_init=scaled_residual_init,
            activation_checkpointing=activation_checkpointing,
            addition=addition,
        )
        self.norm = norm
        last = make_norm("rms" if place == "post" else kind, d_model, bias=False)
        self.final_norm = last if final_norm else nn.Identity()
        usual = usual_logit_scale(d_model, copies=place == "post" and tie_embeddings)
        self.logit_scale = usual if logit_scale is None else logit_scale
        if norm == "deepnorm":
            alpha, beta = deepnet_constants(n_layer)
            initialise_deepnorm(self.blocks, beta, scale_gate)
            for block in self.blocks:
                block.residual_scale = alpha

    def make_block(self, attention: SelfAttention, mlp: MLP, width: int, **settings: Any) -> Block:
        """A LayerNorm after the sum has a bias, as in DeepNet."""
        return super().make_block(attention, mlp, width, **settings | {"bias": settings["norm_position"] == "post"})

    def hidden(
        self,
        tokens: Tensor,
        document_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: list[Any] | None = None,
    ) -> Tensor:
        """Tokens (B, T) -> what the language head reads (B, T, C): `logit_scale` times the states of the trunk."""
        return super().hidden(tokens, document_ids, positions, cache) * self.logit_scale


def usual_logit_scale(d_model: int, copies: bool) -> float:
    """What brings the first loss near ln V where the rows of the head are N(0, 0.02).

    The states of a head have a mean square of 1, so that logits deviate by 0.02 sqrt(`d_model`): at most 0.32 here. A
    deep net that is normalised after its layers and has a tied head `copies`: it starts near the identity, and its
    states lie along the token's own embedding, whose logit is `d_model` x 0.02 without a scale.
    """
    return d_model**-0.5 if copies else min(1.0, 16 * d_model**-0.5)
