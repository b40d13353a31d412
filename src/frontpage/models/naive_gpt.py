"""The original exercise's GPT, written plainly: what `GPT` must agree with, and what its speed is compared with."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.models.gpt import GPT


class NaiveAttention(nn.Module):
    """Causal attention whose (B, H, T, T) weights are tensors."""

    def __init__(self, d_model: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        batch, time, width = x.shape
        q, k, v = (part.view(batch, time, self.n_head, -1).transpose(1, 2) for part in self.qkv(x).split(width, dim=-1))
        scores = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:time, :time] == 0, float("-inf"))
        y = F.softmax(scores, dim=-1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(batch, time, width))


class NaiveBlock(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, d_model: int, n_head: int, block_size: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(d_model), NaiveAttention(d_model, n_head, block_size)
        self.mlp_norm = nn.LayerNorm(d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)))))


class NaiveGPT(nn.Module):
    """`n_layer` blocks between a token embedding with learned positions and a head tied to it."""

    def __init__(
        self, vocab_size: int, block_size: int, d_model: int, n_layer: int, n_head: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_table = nn.Parameter(torch.zeros(block_size, d_model))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([NaiveBlock(d_model, n_head, block_size, dropout) for _ in range(n_layer)])
        self.final_norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.head.weight = self.token_embedding.weight

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Tokens and targets (B, T) -> mean nats a target, a scalar, from all logits at once."""
        x = self.dropout(self.token_embedding(tokens) + self.position_table[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.final_norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))

    def take_weights(self, net: GPT) -> None:
        """The weights of a GPT of the same sizes; RuntimeError for one with other options than this has."""
        self.load_state_dict({name.replace(".mlp.", "."): weight for name, weight in net.state_dict().items()})
