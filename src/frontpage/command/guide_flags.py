"""The flags of train_native_multi_task.py and of its later versions, and the words of train.py in their place.

docs/migration.md shows the same table, which a test compares.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from frontpage.command.arguments import number, several
from frontpage.command.errors import BadValue, UserError
from frontpage.command.override_words import literal, word

EXPERIMENT = "multitask"  # what the guide's program does without flags
FOLDER = "../../Bible"  # where it looks for the corpus, from the working directory
MODES = ("microscope", "deep_narrow_40", "deep_narrow_48", "deep_narrow_60", "deep_narrow_100", "tower")
ALONE = ("tasks.lm.weight=0.85", "tasks.cross_reference.weight=0", "tasks.paraphrase.weight=0")  # of one language


@dataclass(frozen=True)
class Flag:
    """A flag, the words that it stands for (`{}` is its value), and what is to be said of it.

    `takes` reads its value as argparse's types do; None: it takes none. `names` are values that are called otherwise
    here, with what is said of them. `refused` says what to write instead of a flag that has no words.
    """

    name: str
    takes: Callable[[str], Any] | None = None
    words: tuple[str, ...] = ()
    said: str = ""
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    refused: str = ""

    def words_for(self, value: Any) -> list[str]:
        """The words of train.py for a value."""
        spelled = self._renamed(value)[0] or _spelled(value)
        return [one.replace("{}", spelled) for one in self.words]

    def said_of(self, value: Any) -> str:
        """What is to be said where it is used; empty for nothing."""
        return self._renamed(value)[1] or self.said

    def refusal(self, given: Mapping[str, Any]) -> UserError:
        """What is raised where it is used, beside the other flags that are `given`."""
        value = given[self.name]
        instead = self.refused.replace("{words}", " ".join(course(given))).replace("{}", _spelled(value))
        return BadValue(self.name, value, instead) if self.takes else UserError(f"{self.name}: {instead}")

    def help(self) -> str:
        """One line for all values."""
        told = self.refused or " ".join(self.words) or self.said
        return told.replace("{words}", " ".join(course({}))).replace("{}", "VALUE")

    def _renamed(self, value: Any) -> tuple[str, str]:
        return self.names.get(value, ("", "")) if isinstance(value, str) else ("", "")


class Translation(NamedTuple):
    """The words of train.py, what is to be said of them, and the folder that they name unasked, if they do."""

    words: list[str]
    said: list[str]
    assumed: Path | None


def one_of(*choices: str) -> Callable[[str], str]:
    """An argument type: one of some texts."""

    def parse(given: str) -> str:
        if given not in choices:
            raise argparse.ArgumentTypeError(f"{given!r} is none of {' '.join(choices)}")
        return given

    return parse


def text(given: str) -> str:
    """An argument type: a text that is not empty."""
    if not given.strip():
        raise argparse.ArgumentTypeError("a text that is not empty")
    return given


def name(given: str) -> str:
    """An argument type: a text that is not empty, without outer blanks."""
    return text(given).strip()


_SIZE, _AMOUNT, _UPDATES = number(int, 1), number(float, 0), number(int, 0)
_SHARE = number(float, 0, 1)
_COURSE = "no plateau is waited for here; a course over updates hides text, {words} (docs/parallel.md)"
_ALWAYS = "tokens a second are always on the console, and memory in the run's metrics"

FLAGS = (
    # of the guide
    Flag("--mode", one_of(*MODES), ("model={}",)),
    Flag("--lr", _AMOUNT, ("optimizer.lr={}",)),
    Flag("--weight-decay", _AMOUNT, ("optimizer.weight_decay={}",)),
    Flag("--batch-size", _SIZE, ("data.batch_size={}",)),
    Flag("--grad-accum", _SIZE, ("trainer.accumulate_grad_batches={}",)),
    Flag(
        "--precision",
        one_of("fp32", "fp16", "bf16", "int8", "int4"),
        ("precision={}",),
        names={
            "int8": ("int8_optim", "the original's int8 was 32-bit training with 8-bit averages of AdamW"),
            "int4": ("int4_qat", "the original's int4 was 32-bit training; int4_qat rounds weights to 4 bits"),
        },
    ),
    Flag("--steps", _SIZE, ("trainer.max_steps={}",)),
    Flag("--save-interval", _SIZE, ("save_interval={}",)),
    Flag("--log-interval", _SIZE, ("log_interval={}",)),
    Flag("--val-interval", _SIZE, ("val_interval={}",)),
    Flag("--no-grokking", words=("callbacks=default",)),
    Flag("--bible-dir", text, ("data.root={}",)),
    # of later versions
    Flag("--resume", words=("ckpt_path=last",)),
    Flag("--compile", words=("model.compile=true",)),
    Flag("--gradient-checkpointing", words=("model.activation_checkpointing=full",)),
    Flag("--cpu-data", said="the corpus always stays in the machine's memory"),
    Flag("--language", several(name), ("data.translations={}",), "they are names of translations here"),
    Flag("--prepare-cache", refused="a corpus's first run fills paths.cache_dir, later ones read it; leave it out"),
    Flag("--verbose", said=_ALWAYS),
    Flag("--no-verbose", said=_ALWAYS),
    Flag("--schedule", one_of("constant", "cosine"), ("scheduler={}",)),
    Flag("--warmup", _UPDATES, ("scheduler.warmup={}",)),
    Flag("--min-lr-ratio", _SHARE, ("scheduler.floor={}",)),
    Flag("--eval-interval", _SIZE, refused="every validation measures every task; val_interval={}"),
    Flag("--eval-recon-samples", _SIZE, refused="every validation scores all held-out text; leave it out"),
    Flag("--eval-aux-samples", number(int, 2), ("data.validation_examples={}",)),
    Flag("--wwm-trigger", _UPDATES, refused=_COURSE),
    Flag("--wwm-window", _SIZE, refused=_COURSE),
    Flag("--wwm-threshold", _AMOUNT, refused=_COURSE),
    Flag("--wwm-prob", _SHARE, refused=_COURSE),
    Flag("--span-prob", _SHARE, refused=_COURSE),
    Flag("--use-cuda-graph", refused="no graph is captured by itself; --compile, or model.compile=true"),
)


def translated(given: Mapping[str, Any], more: Sequence[str] = ()) -> Translation:
    """What train.py is to be told in place of flags: `given` has their values, True for those that take none.

    `more` are words of train.py, which come last. Raises UserError for a flag that nothing takes the place of.
    """
    words, said = [], []
    chosen = {one.lstrip("+~").partition("=")[0] for one in more}
    assumed = None if {"experiment", "data", "data.root"} & chosen or "--bible-dir" in given else Path(FOLDER)
    if "experiment" not in chosen:
        words.append(f"experiment={EXPERIMENT}")
    if assumed:
        words.append(f"data.root={FOLDER}")
    if "--min-lr-ratio" in given and given.get("--schedule") != "cosine" and "scheduler" not in chosen:
        raise BadValue("--min-lr-ratio", given["--min-lr-ratio"], "of a schedule that falls; add --schedule cosine")
    for flag in FLAGS:
        if flag.name not in given:
            continue
        value = given[flag.name]
        if flag.refused:
            raise flag.refusal(given)
        words += flag.words_for(value)
        if flag.said_of(value):
            said.append(f"{flag.name}: {flag.said_of(value)}")
    if "--no-grokking" not in given and not {"callbacks", "experiment"} & chosen:  # the default run's detector
        words += wide_windows(given.get("--val-interval", 0))
    if len(given.get("--language", "two or none")) == 1 and "tasks" not in chosen:
        words += ALONE
        said.append("--language: one alone has no paraphrases; the shares of the tasks are then the original's")
    return Translation([*words, *more], said, assumed)


def wide_windows(interval: int) -> list[str]:
    """Windows of the grokking detector that hold three validations, where its own are too short for them."""
    needed = 3 * interval
    windows = {"window": 500, "patience": 1000}
    return [f"callbacks.grokking.{name}={needed}" for name, length in windows.items() if needed > length]


def course(given: Mapping[str, Any]) -> list[str]:
    """Words for what the masking flags ask for: from an update on, over 1,000 of them, from 0.05 to their share."""
    begin, kind = given.get("--wwm-trigger", 500), "span" if "--span-prob" in given else "word"
    share = given.get("--span-prob", given.get("--wwm-prob", 0.15))
    points = [[0, 0], [begin, 0.05], [begin + 1000, share]] if begin else [[0, 0.05], [1000, share]]
    return [f"data.corruption={kind}", f"data.corruption_share={word(points)}"]


def _spelled(value: Any) -> str:
    return literal(value) if isinstance(value, str) else word(value)
