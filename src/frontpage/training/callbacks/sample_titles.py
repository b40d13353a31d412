"""SampleTitles: what the model would post."""

from pathlib import Path
from typing import Annotated

import lightning as L
from tqdm import tqdm

from frontpage.command.disk_full import writing
from frontpage.command.errors import UserError
from frontpage.command.limits import Amount, AtLeast, Count, Matching, Seed
from frontpage.command.notices import notice
from frontpage.command.terminal import printable
from frontpage.data.tokenizer import TitleTokenizer
from frontpage.models.generate import Draft, generate
from frontpage.recipe.training_module import TrainingModule
from frontpage.runs.kept_lines import keep_lines


class SampleTitles(L.Callback):
    """Prints `num` invented titles after each validation and appends them to `path`; training is not disturbed.

    `max_tokens` bounds a title (null: the block); `temperature` 0 takes the likeliest token.
    """

    def __init__(
        self,
        path: Path | str,
        num: Annotated[int, AtLeast(1, 10_000)] = 5,
        prompt: Annotated[str, Matching(r"(\S.*)?", "no blank at its beginning")] = "",
        temperature: Amount = 1.0,
        top_k: Count | None = None,
        max_tokens: Count | None = None,
        seed: Seed = 0,
    ) -> None:
        self.path = Path(path)
        self._settings = {"prompt": prompt, "num": num, "temperature": temperature, "top_k": top_k}
        self._settings |= {"max_tokens": max_tokens, "seed": seed}
        self.titles: list[str] = []  # of the newest validation, a line each

    def check(self, module: TrainingModule, tokenizer: TitleTokenizer) -> None:
        """Raise a UserError for a prompt that cannot begin a title of this model, before the first is invented."""
        if not module.writes_text:
            notice(f"callbacks.sample_titles: {type(module).__name__} writes no text, so none is invented")
            return
        try:
            Draft(module, tokenizer, **{name: self._settings[name] for name in ("prompt", "max_tokens", "seed")}, num=1)
        except ValueError as error:
            raise UserError(f"callbacks.sample_titles.{error}") from error

    def rewind(self, step: int) -> None:
        """Forget the titles of updates behind `step`: a run that continues there invents them again."""
        kept = True

        def keep(line: str) -> bool:
            nonlocal kept
            kept = int(line.split()[1]) <= step if line.startswith("update ") else kept
            return kept

        keep_lines(self.path, keep)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Invent, print, append."""
        if not (trainer.is_global_zero and pl_module.writes_text):
            return
        invented = generate(pl_module, trainer.datamodule.tokenizer, **self._settings)
        self.titles = [printable(one.title) for one in invented]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"update {trainer.global_step}\n" + "".join(f"  {title}\n" for title in self.titles))
        for title in self.titles:
            tqdm.write(f"    {title}")
