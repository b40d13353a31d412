"""Does an export say what the run says? Logits, tokens and continuations of titles, by the program it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontpage.command.progress_line import watched
from frontpage.export import gguf_file
from frontpage.export.own_names import load_export
from frontpage.models.generate import generate
from frontpage.recipe.language_module import LanguageModule
from frontpage.runs.quantised_folder import load_quantised

TOLERANCE = 1e-4  # of logits, which are of the order of 10, in fp32
AWKWARD = (
    "",
    "<eos> is text here",
    "na\u00efve \u2013 \u201cquotes\u201d, \u65e5\u672c\u8a9e, \U0001f389",
    "  blanks  ",
)
PROMPTS = ("", "Show HN:", "The")


@dataclass(frozen=True)
class Agreement:
    """What came of a comparison: who computed, what was compared, and the largest difference."""

    by: str
    of: str
    largest_difference: float

    def __str__(self) -> str:
        return f"{self.by}: largest difference of {self.of} {self.largest_difference:.2g}"


class Disagreement(RuntimeError):
    """The export computes something else than the run: a defect of the export, not of its user."""


def verify_hugging_face(folder: Path, module: LanguageModule) -> Agreement:
    """Load a folder with transformers and compare; raises Disagreement."""
    transformers = quiet_transformers()
    net = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    titles = titles_to_try(module)
    for title in titles:
        ours, theirs = [module.tokenizer.eos_id, *module.tokenizer.encode(title)], tokenizer(title)["input_ids"]
        if ours != theirs:
            raise Disagreement(f"transformers reads {title!r} as the tokens {theirs}, not {ours}")
        written, read = tokenizer.decode(ours, skip_special_tokens=True), module.tokenizer.decode(ours)
        if written != read:
            raise Disagreement(f"transformers writes the tokens {ours} as {written!r}, not {read!r}")
    for prompt in (prompt for prompt in PROMPTS if len(module.tokenizer.encode(prompt)) < module.net.block_size):
        tokens = tokenizer(prompt, return_tensors="pt")
        theirs = tokenizer.decode(net.generate(**tokens, do_sample=False)[0], skip_special_tokens=True)
        ours = generate(module, module.tokenizer, prompt=prompt, num=1, temperature=0)[0].title
        if ours != theirs:
            raise Disagreement(f"transformers continues {prompt!r} by {theirs!r}, not {ours!r}")
    name = f"transformers {transformers.__version__}, same tokens, same likeliest continuations"
    return compare_logits(name, lambda tokens: net(tokens).logits, module, titles)


def verify_own_names(folder: Path, module: LanguageModule) -> Agreement:
    """Load a folder of --format safetensors and compare; raises Disagreement."""
    return compare_logits("loaded again", load_export(folder, trusted=[folder])[1], module, titles_to_try(module))


def verify_quantised(folder: Path, felt: LanguageModule) -> Agreement:
    """Load a folder of --format quantised and compare with the rounding that training felt; raises Disagreement."""
    real = load_quantised(folder, trusted=[folder])[1]
    return compare_logits("loaded again as integers", real, felt, titles_to_try(felt))


def verify_gguf(path: Path, meant: dict[str, np.ndarray], precision: str) -> Agreement:
    """Read a file back and compare its weights with what was meant to be in it; raises Disagreement."""
    found = gguf_file.read(path)
    if found.keys() != meant.keys():
        raise Disagreement(f"{path} has other weights: {sorted(found.keys() ^ meant.keys())}")
    largest = 0.0
    for name, weight in meant.items():
        difference = float(np.abs(found[name] - weight).max())
        # fp16 keeps 11 binary digits, q8_0 rounds to 1/127 of the largest number of 32
        share = {"fp32": 0.0, "fp16": 2.0**-11, "q8_0": 0.55 / 127}[precision]
        if not difference <= share * float(np.abs(weight).max()) + 2.0**-24 * (share > 0):
            raise Disagreement(f"{path}: {name} differs by {difference:.2g}")
        largest = max(largest, difference)
    return Agreement("read back", f"the {len(meant)} weights", largest)


@torch.no_grad()
def compare_logits(by: str, theirs: Callable[[Tensor], Tensor], module: LanguageModule, titles: list[str]) -> Agreement:
    """Compare the logits (1, T, V) of each title by itself; raises Disagreement beyond the tolerance."""
    largest = 0.0
    for title in watched(titles, "comparing", [1] * len(titles)):
        ids = [module.tokenizer.eos_id, *module.tokenizer.encode(title)][: module.net.block_size]
        tokens = torch.tensor([ids])
        difference = float((theirs(tokens) - module(tokens)).abs().max())
        if not difference <= TOLERANCE:  # NaN neither
            raise Disagreement(f"{by}: the logits of {title!r} differ by {difference:.2g}, more than {TOLERANCE}")
        largest = max(largest, difference)
    return Agreement(by, f"the logits of {len(titles)} titles", largest)


def titles_to_try(module: LanguageModule, num: int = 8) -> list[str]:
    """Titles that the model invents itself, so that nothing but the run is needed, and awkward ones."""
    return [*(one.title for one in generate(module, module.tokenizer, num=num, seed=0)), *AWKWARD]


def quiet_transformers() -> Any:
    """The package, which writes nothing to stderr from here on."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
