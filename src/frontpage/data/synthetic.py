"""SyntheticTitles: the embedded corpus, drawn from a grammar whose entropy is known."""

from typing import Any

import torch

from frontpage.data.title_data import TitleData
from frontpage.data.title_rules import title_grammar
from frontpage.evaluation.metrics import honest_metrics


class SyntheticTitles(TitleData):
    """Titles drawn from the grammar of `title_rules`, unless `path` names a file.

    `num_titles` (null: 20,000) titles are taken; slightly more are drawn, since repeats are passed over.
    """

    DEFAULT_TITLES = 20_000

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)

    def source(self) -> list[str]:
        """Draws from the grammar, a few more than are taken; where no number is set, exactly the default's."""
        asked = [count for count in (self.num_titles, self.max_titles) if count]
        wanted = min(asked, default=self.DEFAULT_TITLES)
        drawn = title_grammar().sample(wanted + wanted // 50 + 20, seed=self.seed)
        return drawn if asked else list(dict.fromkeys(drawn))[:wanted]

    @property
    def source_name(self) -> str:
        """The embedded grammar."""
        return "embedded grammar"

    def floor(self) -> dict[str, float] | None:
        """The metrics of a model that knows the grammar, on this very validation set: none can do better."""
        if self.path:
            return None
        grammar = title_grammar()
        nll = torch.tensor([-grammar.log_prob(title) for title in self.selection.validation], dtype=torch.float64)
        return honest_metrics(nll, self.sizes.tokens, self.sizes, prefix="floor/")
