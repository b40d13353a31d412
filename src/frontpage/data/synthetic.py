"""SyntheticTitles: the embedded corpus, drawn from a grammar whose entropy is known."""

from datetime import datetime, timedelta
from typing import Any

import torch
from torch import Tensor

from frontpage.command.errors import BadValue
from frontpage.command.notices import notice
from frontpage.data.grammar.title_rules import title_grammar
from frontpage.data.title_data import TitleData


class SyntheticTitles(TitleData):
    """Titles drawn from the grammar of `title_rules`, unless `path` names a file.

    `num_titles` (null: 20,000) titles are taken; slightly more are drawn, since repeats are passed over.
    """

    DEFAULT_TITLES = 20_000
    TITLES_A_DAY = 100  # of draws, with join=day; they are independent, so that a day tells nothing of its next title
    MOST_TITLES = 5_000_000  # of that many draws one in fifty repeats another, as many as are drawn beside

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        for key, count in (("data.num_titles", self.num_titles), ("data.max_titles", self.max_titles)):
            if not self.path and count is not None and count == self._wanted():
                allowed = f"the embedded grammar gives at most {self.MOST_TITLES}; give a file with data.path=..."
                if count > self.MOST_TITLES:
                    raise BadValue(key, count, allowed)

    def source(self) -> list[str]:
        """Draws from the grammar, a few more than are taken; where no number is set, exactly the default's."""
        if self.column != "title":
            notice(f"data.column={self.column}: the embedded grammar has no columns")
        wanted = self._wanted()
        drawn = title_grammar().sample(wanted + wanted // 50 + 20, seed=self.seed)
        rows = drawn if self.num_titles or self.max_titles else list(dict.fromkeys(drawn))[:wanted]
        self._rows_drawn = len(rows)
        return rows

    def source_times(self) -> list[datetime]:
        """A made-up calendar: a hundred draws a day, one a second, in their order."""
        places = (divmod(row, self.TITLES_A_DAY) for row in range(self._rows_drawn))
        return [datetime(2016, 1, 1) + timedelta(days=day, seconds=second) for day, second in places]

    def _wanted(self) -> int:
        return min((count for count in (self.num_titles, self.max_titles) if count), default=self.DEFAULT_TITLES)

    @property
    def source_name(self) -> str:
        """The embedded grammar."""
        return "embedded grammar"

    def least_nats(self) -> Tensor | None:
        """Nats of each validation document (documents,) float64 to whoever knows the grammar: none can do better."""
        if self.path:
            return None
        grammar = title_grammar()
        nats = torch.tensor([-grammar.log_prob(title) for title in self.selection.validation], dtype=torch.float64)
        return self.selection.validation_documents.sums(nats)
