"""SampleTitles: what the model would post."""

from pathlib import Path

import lightning as L
from tqdm import tqdm

from frontpage.generate import generate
from frontpage.run_directory import keep_lines
from frontpage.terminal import printable


class SampleTitles(L.Callback):
    """Prints `num` invented titles after each validation and appends them to `path`; training is not disturbed.

    `max_tokens` bounds a title (null: the block); `temperature` 0 takes the likeliest token.
    """

    def __init__(
        self,
        path: Path | str,
        num: int = 5,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        self.path, self.num, self.prompt = Path(path), num, prompt
        self.temperature, self.top_k, self.max_tokens, self.seed = temperature, top_k, max_tokens, seed
        self.titles: list[str] = []  # of the newest validation, a line each

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
        if not trainer.is_global_zero:
            return
        invented = generate(
            pl_module,
            trainer.datamodule.tokenizer,
            prompt=self.prompt,
            num=self.num,
            temperature=self.temperature,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )
        self.titles = [printable(one.title) for one in invented]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"update {trainer.global_step}\n" + "".join(f"  {title}\n" for title in self.titles))
        for title in self.titles:
            tqdm.write(f"    {title}")
