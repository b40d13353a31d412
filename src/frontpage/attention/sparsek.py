"""SparseK attention (Lou et al. 2024, arXiv 2406.16747): a window, and the k earlier tokens of the largest scores."""

from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from frontpage.attention.kernels.executors import sdpa
from frontpage.attention.kernels.gathered_keys import gathered
from frontpage.attention.kernels.listed_kernel import by_kernel, kernel_refusal
from frontpage.attention.kernels.routes import Routed
from frontpage.attention.kernels.sparsek_choice import ChosenGates, choice_problem, choose, gates_of, lists_of
from frontpage.attention.kernels.sparsek_kernel import sparsek_by_kernel
from frontpage.attention.kernels.sparsek_operator import Gates, Ranking, candidate_ranges, inside
from frontpage.attention.parts.cache import HeadCache
from frontpage.attention.parts.contract import places
from frontpage.attention.parts.documents import places_in_documents
from frontpage.attention.parts.pairs import triangle
from frontpage.attention.parts.projected import ProjectedAttention
from frontpage.attention.parts.softmax import repeat_heads, softmax_attention
from frontpage.command.limits import Between
from frontpage.command.notices import notice
from frontpage.machine.as_gpu import on_cpu

KERNEL_LENGTH = 64  # tokens from which the compiled kernel was measured to be faster than a mask (docs/attention.md)
CHUNK_LENGTH = 512  # tokens from which squares are avoided without it, too


class SparseKAttention(Routed, ProjectedAttention):
    """Queries see the last `window` tokens and, of the document's tokens before, the `k` of the largest scores.

    A token's score is a learned product with the layer's input plus `epsilon` times its place in the document; all
    heads share it (equation 6). Values of chosen tokens are multiplied by a gate, without normalising again. `gate` is
    `soft` (the SparseK operator of the scores), `straight_through` (1, with the gradient of the soft gate) or `hard`
    (1, and the scores are not trained). Raises ValueError where `k`, `window`, `epsilon` or `gate` is none of these.

    What nine queries see, with scores 1.6 -2 0.2 1 0.6 3 0 2.8 2.4, k = 3 and a window of 1 (the paper's Figure 1):

    >>> import torch
    >>> from frontpage.attention.parts.picture import picture
    >>> from frontpage.attention.kernels.sparsek_operator import causal_sparsek
    >>> _, chosen = causal_sparsek(torch.tensor([[1.6, -2.0, 0.2, 1.0, 0.6, 3.0, 0.0, 2.8, 2.4]]), k=3, window=1)
    >>> print(picture(lambda query, key: (query == key) | chosen[0, query, key], 9))
    #........
    ##.......
    ###......
    ####.....
    #.###....
    #..###...
    #..#.##..
    #..#.#.#.
    #....#.##
    """

    backends = ("sdpa", "math", "cpp", "chunk")

    def __init__(
        self,
        d_model: int,
        n_head: int,
        block_size: int,
        *,
        k: Annotated[int, Between(1, 1_000_000)],
        window: int,
        epsilon: float,
        gate: Literal["straight_through", "soft", "hard"] = "straight_through",
        **shared: Any,
    ) -> None:
        super().__init__(d_model, n_head, block_size, **shared)
        if k < 1:
            raise ValueError(f"k={k}: at least 1")
        if window < 0:
            raise ValueError(f"window={window}: at least 0")
        if epsilon < 0:
            raise ValueError(f"epsilon={epsilon}: at least 0")
        if gate not in ("straight_through", "soft", "hard"):
            raise ValueError(f"gate={gate}: straight_through soft or hard")
        if gate == "soft" and self.backend == "sdpa":
            raise ValueError("backend=sdpa: has no gates on the values, and gate=soft; auto math")
        self.k, self.window, self.epsilon, self.gate = k, window, epsilon, gate
        # Not an nn.Linear: the net's initialisation would make those scores so small that soft gates fade to k / t.
        # No bias either: the operator does not change when all scores are shifted.
        self.scorer = nn.Parameter(torch.randn(d_model) * 2 * d_model**-0.5, requires_grad=gate != "hard")

    def refusal(self, backend: str, device: torch.device, documents: bool, training: bool) -> str | None:
        """Soft gates need the weights as a tensor, straight-through ones in training with dropout."""
        if backend == "sdpa" and self.gate == "soft":
            return "values have no gates there, and gate=soft"
        if backend == "sdpa" and self.gate == "straight_through" and self.dropout and training:
            return f"gives the scores no gradient through attention_dropout={self.dropout}"
        if backend == "cpp":
            return kernel_refusal(self.head_width, device, self.dropout if training else 0.0) or choice_problem()
        return None

    def fastest(self, length: int, device: torch.device, documents: bool, training: bool) -> str:
        """On CPU lists of keys, by the compiled kernel where there is one; else, or where the row is short, a mask."""
        problem = self.refusal("cpp", device, documents, training)
        if length >= KERNEL_LENGTH and problem is None:
            return "cpp"
        dropped = self.dropout and training  # which no kernel does
        if length >= KERNEL_LENGTH and on_cpu(device) and not dropped and not torch.compiler.is_compiling():
            notice(f"model.attention.backend=auto: sparsek without its faster kernel: {problem}")
        if length < CHUNK_LENGTH or not on_cpu(device):
            return super().fastest(length, device, documents, training)
        return "chunk"

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, H, T, D), (B, Hkv, T, D) twice -> (B, H, T, D); where a cache is continued the scores get no gradient."""
        time, dropout = x.shape[1], self.dropout if self.training else 0.0
        scores = self._scores(x, document_ids, cache)
        training = cache is None and torch.is_grad_enabled() and (q.requires_grad or scores.requires_grad)
        drops = dropout > 0  # also where nothing has a gradient, as in the first of several rounds
        trains = (training and self.training) or drops
        path = self.route(time, x.device, documents=document_ids is not None, training=trains)
        if cache is not None:  # what it holds lies in the order of time, so that candidates are a range as before
            k, v, scores = cache.append(k, v, scores)
        if path in ("cpp", "chunk"):
            return self._over_lists(path, q, k, v, scores, document_ids, cache, training)
        first, last = self._candidates(time, scores.shape[1], document_ids, x.device)
        ranking = Ranking(scores, first, last)
        chosen = ranking.top(self.k)
        keys = torch.arange(scores.shape[1], device=x.device)[None]
        visible = chosen | inside(keys, torch.maximum(first, last + 1), last + self.window)
        if self.gate == "hard" or (self.gate == "straight_through" and not training):
            run = softmax_attention if path == "math" else sdpa
            return run(q, k, v, mask=visible[:, None], dropout=dropout)
        if cache is not None:  # the soft gates depend on tokens that it no longer holds
            every = cache.all_scores
            ranking = Ranking(every, *self._candidates(time, every.shape[1], None, x.device))
        gates = Gates.apply(scores, ranking.thresholds(self.k), first, last)
        if path == "sdpa":
            return StraightThrough.apply(q, k, v, gates, visible)
        if self.gate == "straight_through":
            gates = 1 + (gates - gates.detach())
        return gated(q, k, v, visible, torch.where(chosen, gates, 1), dropout)

    def _over_lists(
        self,
        path: str,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scores: Tensor,
        document_ids: Tensor | None,
        cache: Any,
        training: bool,
    ) -> Tensor:
        """`attend` where the keys of a query are a list: no tensor has a place for every query and every key."""
        compiled, dropout = path == "cpp", self.dropout if self.training else 0.0
        first, _ = candidate_ranges(k.shape[2], self.window, document_ids, q.device)
        if compiled and cache is None:
            return sparsek_by_kernel(q, k, v, scores, first, chosen=self.k, window=self.window, gate=self.gate)
        run = by_kernel if compiled else partial(gathered, window=self.window, dropout=dropout)
        choice = choose(scores, first, self.k, self.window, q.shape[2], by_kernel=compiled)
        keys = lists_of(choice, first, self.window)
        if self.gate == "hard" or (self.gate == "straight_through" and not training):
            return run(q, k, v, keys)
        if cache is None:
            gates = ChosenGates.apply(scores, first, *choice, self.window)
            return run(q, k, v, keys, 1 + (gates - gates.detach()) if self.gate == "straight_through" else gates)
        every = cache.all_scores  # the soft gates depend on tokens that it no longer holds
        first, _ = candidate_ranges(every.shape[1], self.window, None, q.device)
        thresholds = choose(every, first, self.k, self.window, q.shape[2], by_kernel=compiled).thresholds
        return run(q, k, v, keys, gates_of(scores, choice._replace(thresholds=thresholds)))

    def new_cache(self) -> "SparseKCache":
        """An empty cache of a window and k tokens; for soft gates also of the scores of all."""
        return SparseKCache(self.k, self.window, all_scores=self.gate == "soft")

    def cache_numbers(self, length: int) -> int:
        """Key, value and score of each token that the cache keeps after `length`, and with soft gates all scores."""
        kept = min(length, self.k + max(self.window - 1, 0))
        return kept * (2 * self.n_kv_head * self.head_width + 1) + (length if self.gate == "soft" else 0)

    def visible(self, length: int) -> Tensor:
        """(1, length, length), True where a query may see a key: everywhere up to itself, as the scores decide."""
        return torch.ones(1, length, length, dtype=torch.bool).tril()

    def visible_pairs(self, length: int) -> float:
        """Pairs that are seen, whatever the scores."""
        return float(triangle(length) - triangle(max(length - self.window - self.k, 0)))

    def _scores(self, x: Tensor, document_ids: Tensor | None, cache: Any) -> Tensor:
        """(B, T), at least in float32: bfloat16 has too few digits for `epsilon` times the place."""
        place = places(x.shape[1], cache, x.device) if document_ids is None else places_in_documents(document_ids)
        exact = torch.promote_types(x.dtype, torch.float32)
        return (x.to(exact) * self.scorer.to(exact)).sum(-1) + self.epsilon * place.to(exact)

    def _candidates(
        self, time: int, length: int, document_ids: Tensor | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The ranges (1 or B, time) of the last `time` queries among `length` tokens."""
        first, last = candidate_ranges(length, self.window, document_ids, device)
        return first[:, -time:], last[:, -time:]


class SparseKCache(HeadCache):
    """Keys and values (B, Hkv, S, D) and scores (B, S) of what later queries may see, in the order of time.

    These are the last `window` - 1 tokens and the `k` of the largest scores before: a token that leaves these never
    returns. With `all_scores` the scores of all tokens are kept beside.
    """

    def __init__(self, k: int, window: int, all_scores: bool = False) -> None:
        self.k, self.recent, self.seen = k, max(window - 1, 0), 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.scores: Tensor | None = None
        self.all_scores: Tensor | None = None  # (B, seen)
        self._keeps_all_scores = all_scores

    def __len__(self) -> int:
        """Tokens seen, kept or not."""
        return self.seen

    def append(self, keys: Tensor, values: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens; the keys, values and scores of those kept before and the new ones."""
        self.seen += scores.shape[1]
        if self._keeps_all_scores:
            self.all_scores = scores if self.all_scores is None else torch.cat((self.all_scores, scores), dim=1)
        if self.keys is not None:
            keys, values = torch.cat((self.keys, keys), dim=2), torch.cat((self.values, values), dim=2)
            scores = torch.cat((self.scores, scores), dim=1)
        self.keys, self.values, self.scores = keys, values, scores
        length = scores.shape[1]
        if length > self.k + self.recent:
            oldest = torch.zeros(1, 1, dtype=torch.int64, device=scores.device)
            chosen = Ranking(scores, oldest, oldest + length - 1 - self.recent).top(self.k)[:, 0]
            chosen[:, length - self.recent :] = True
            kept = chosen.int().sort(dim=1, descending=True, stable=True).indices[:, : self.k + self.recent]
            wide = kept[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[3])
            self.keys, self.values, self.scores = keys.gather(2, wide), values.gather(2, wide), scores.gather(1, kept)
        return keys, values, scores


def gated(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, gates: Tensor, dropout: float = 0.0) -> Tensor:
    """Softmax attention over the pairs `visible` (B, T, S), whose values are multiplied by `gates` (B, T, S)."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~visible[:, None], -torch.inf)
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights * gates[:, None].to(weights.dtype)) @ v


class StraightThrough(torch.autograd.Function):
    """What `gated` gives for gates of 1, by SDPA, with the gradient towards `gates` as if they had been multiplied in.

    Takes q (B, H, T, D), k and v (B, Hkv, T, D), gates and visible (B, T, T). The window's pairs get a gradient too,
    which Gates ignores: they are no candidates. The weights are computed again in the backward pass, head by head, as
    one head's (B, T, T) stay in the processor's cache (measured: 0.6 of the time of all heads at once).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, gates: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, D)."""
        y = sdpa(q, k, v, mask=visible[:, None])
        ctx.save_for_backward(q, k, v, visible, y)
        ctx.gate_type = gates.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Softmax attention's gradients, and towards a gate the sum over heads of weight times (upstream . value)."""
        *inputs, visible, y = ctx.saved_tensors
        exact = torch.promote_types(inputs[0].dtype, torch.float32)
        q, k, v, upstream, y = (part.to(exact) for part in (*inputs, upstream, y))
        scale, shared = q.shape[-1] ** -0.5, q.shape[1] // k.shape[1]
        bias = visible.to(exact).sub_(1).mul_(torch.finfo(exact).max / 2)  # 0 or a weight of exactly 0
        means = (upstream * y).sum(-1, keepdim=True)  # (B, H, T, 1): what the softmax takes off
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        to_gates = torch.zeros_like(bias)
        for head in range(q.shape[1]):
            group = head // shared
            weights = torch.baddbmm(bias, q[:, head], k[:, group].mT, alpha=scale).softmax(-1)
            to_scores = (upstream[:, head] @ v[:, group].mT).mul_(weights)
            to_gates += to_scores
            to_scores.addcmul_(weights, means[:, head], value=-1)
            to_q[:, head] = to_scores @ k[:, group] * scale
            to_k[:, group] += to_scores.mT @ q[:, head] * scale
            to_v[:, group] += weights.mT @ upstream[:, head]
        to_inputs = (part.to(given.dtype) for part, given in zip((to_q, to_k, to_v), inputs, strict=True))
        return *to_inputs, to_gates.to(ctx.gate_type), None
