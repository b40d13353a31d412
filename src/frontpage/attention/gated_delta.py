"""Gated delta rule (Yang et al. 2024, "Gated Delta Networks", arXiv 2412.06464): linear in time, constant memory."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frontpage.attention.kernels.delta_kernel import by_kernel, kernel_problem
from frontpage.attention.kernels.delta_rule import chunked, recurrent
from frontpage.attention.kernels.routes import Routed
from frontpage.attention.parts.cache import HeadCache
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.attention.parts.unit_vectors import unit
from frontpage.command.notices import notice
from frontpage.machine.as_gpu import on_cpu

DECAY_RATES = 1.0, 16.0  # from Mamba-2, as the paper's: A is drawn between these
DECAY_STEPS = 1e-3, 1e-1  # the step with which A is multiplied where the input says nothing, log-uniform
KEY_EPS = 1e-6  # of the squared length of keys and queries
KERNEL_WIDTH = 64  # of a head: up to here the kernel was measured to be faster than chunks (docs/attention.md)
NORM_EPS = 1e-5  # outputs of a first token are small where its query and key are almost orthogonal


class StateCache(HeadCache):
    """The state (B, Hkv, D, D) after the tokens seen: as large after one token as after a thousand."""

    def __init__(self) -> None:
        self.state: Tensor | None = None
        self.seen = 0

    def __len__(self) -> int:
        """Tokens seen."""
        return self.seen

    def append(self, state: Tensor, time: int) -> None:
        """Replace the state by the one `time` tokens later."""
        self.state, self.seen = state, self.seen + time


class GatedDeltaAttention(Routed, ProjectedAttention):
    """A matrix for each key/value head, in which a token replaces what is stored under its key by its value.

    S_t = alpha_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t', o_t = S_t' q_t, with q and k of length 1 (therefore
    no scale), then an RMSNorm of each head. beta = sigmoid(W x) is the share that is replaced, alpha =
    exp(-A softplus(W x + b)) the share of the state that is kept. Without the paper's short convolutions (and the SiLU
    behind them) and without its output gate. `chunk` tokens are computed at once. `dropout` drops, in training, the
    values that whole tokens write: there are no attention weights. Sees what causal attention sees:

    >>> from frontpage.attention.causal import Causal
    >>> from frontpage.attention.parts.picture import picture
    >>> print(picture(Causal(), 4))
    #...
    ##..
    ###.
    ####
    """

    backends = ("cpp", "chunk", "recurrent")
    mixes_values = False  # what a state gives is normalised

    def __init__(self, d_model: int, n_head: int, block_size: int, *, chunk: int = 16, **shared: Any) -> None:
        if chunk < 1:
            raise ValueError(f"chunk={chunk}: at least 1")
        super().__init__(d_model, n_head, block_size, **shared)
        self.chunk = chunk
        self.gates = nn.Linear(d_model, 2 * self.n_kv_head, bias=False)
        # Parameters, not the bias of a linear layer: that a net sets to zero (models/initialisation.py).
        low, high = DECAY_STEPS
        step = torch.exp(math.log(low) + torch.rand(self.n_kv_head) * math.log(high / low))
        self.log_rate = nn.Parameter(torch.empty(self.n_kv_head).uniform_(*DECAY_RATES).log())  # A_log
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # dt_bias: softplus of it is the step
        self.norm = nn.RMSNorm(self.head_width, eps=NORM_EPS)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D); in fp32 at least, the state sums over many tokens."""
        kind = torch.promote_types(torch.float32, q.dtype)
        step, write = self.gates(x).to(kind).transpose(1, 2).chunk(2, dim=1)  # (B, Hkv, T)
        log_decay = -self.log_rate.to(kind).exp()[:, None] * F.softplus(step + self.step_bias.to(kind)[:, None])
        q, k, v = unit(q.to(kind), KEY_EPS), unit(k.to(kind), KEY_EPS), v.to(kind)
        if self.training and self.dropout:
            v = v * F.dropout(v.new_ones(*v.shape[:3], 1), self.dropout)
        gates = log_decay, F.logsigmoid(write)
        state = None if cache is None else cache.state
        y, state = self.rule(q.shape[2], q.device)(q, k, v, *gates, document_ids=document_ids, state=state)
        if cache is not None:
            cache.append(state, q.shape[2])
        width = self.head_width  # RMSNorm: as long as `width` numbers of mean square 1 are
        return (unit(y, width * self.norm.eps) * (self.norm.weight.to(kind) * width**0.5)).to(x.dtype)

    def rule(self, length: int, device: torch.device) -> Callable[..., tuple[Tensor, Tensor]]:
        """The function of the backend that computes `length` tokens there."""
        rules = {"cpp": by_kernel, "chunk": partial(chunked, chunk=self.chunk), "recurrent": recurrent}
        return rules[self.route(length, device)]

    def new_cache(self) -> StateCache:
        """An empty cache, of a state."""
        return StateCache()

    def cache_numbers(self, length: int) -> int:
        """The state's, whatever the length; none before the first token."""
        return self.n_kv_head * self.head_width**2 if length else 0

    def visible(self, length: int) -> Tensor:
        """(1, length, length), True up to the query."""
        return torch.ones(1, length, length, dtype=torch.bool).tril()

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """On CPU the compiled kernel, where there is one; else chunks, except for a single token."""
        if on_cpu(device) and self.head_width <= KERNEL_WIDTH:
            problem = kernel_problem(self.head_width)
            if problem is None:
                return "cpp"
            if not torch.compiler.is_compiling():
                notice(f"model.attention.backend=auto: gated_delta without its faster kernel: {problem}")
        return "chunk" if length > 1 else "recurrent"

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """`cpp` is for the CPU, and is compiled there."""
        if backend != "cpp":
            return None
        return kernel_problem(self.head_width) if on_cpu(device) else "for the CPU only"

    def mixing_flops(self, length: int) -> float:
        """Of a state read by key and query, decayed, and written: whatever the length."""
        read, query = self.n_kv_head * 5 * self.head_width**2, self.n_head * 2 * self.head_width**2
        return read + query
