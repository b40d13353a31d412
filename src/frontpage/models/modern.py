"""Modern: the blocks of today's open language models, those of Qwen3 (arXiv 2505.09388) and Llama."""

from collections.abc import Callable

from frontpage.attention.parts.base import SelfAttention
from frontpage.models.gpt import GPT
from frontpage.recipe.language_module import LanguageModule


class Modern(GPT):
    """RMSNorm, rotary positions, SwiGLU, QK-norm, grouped queries, no biases; tokens (B, T) -> logits (B, T, V).

    With causal attention it computes what Qwen3 does (without `qk_norm`: Llama) from the same matrices: `qkv` holds
    queries, keys and values one after the other, `up` gate and up. Queries and keys are normalised a head at a time,
    before they are turned. Raises ValueError for other `positions`, an unknown name or sizes that do not fit.
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
        n_kv_head: int | None = 2,
        d_ff: int | None = None,
        positions: str = "rotary",
        rotary_base: float = 10_000.0,
        qk_norm: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        init: str = "normal",
        init_std: float = 0.02,
        scaled_residual_init: bool = True,
        activation_checkpointing: str = "none",
    ) -> None:
        if positions != "rotary":
            raise ValueError(f"positions={positions}: modern has rotary positions")
        super().__init__(
            vocab_size,
            block_size,
            d_model,
            n_layer,
            n_head,
            attention,
            n_kv_head=n_kv_head,
            d_ff=d_ff,
            activation="swiglu",
            norm="rms",
            norm_position="pre",
            positions=positions,
            rotary_base=rotary_base,
            qk_norm=qk_norm,
            bias=False,
            tie_embeddings=True,
            dropout=dropout,
            attention_dropout=attention_dropout,
            init=init,
            init_std=init_std,
            scaled_residual_init=scaled_residual_init,
            activation_checkpointing=activation_checkpointing,
        )


class ModernModule(LanguageModule):
    """Trains a Modern: the keys of LanguageModule and those of Modern."""

    architecture = Modern
