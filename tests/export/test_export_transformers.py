"""Promises of exports to transformers, kept by transformers itself: tokens, logits, continuations, scores of titles.

They need the extra `transformers` (`make test-export` installs it) and are skipped without it.
"""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from exports import BLOCK, CASES, ODD, TITLES, exportable
from programs import run_script, train_tiny, training_titles

from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.export.formats import export
from frontpage.export.verify import quiet_transformers
from frontpage.models.generate import Draft
from frontpage.models.sampling import Sampling
from frontpage.runs.reopen import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def transformers():
    """The package; importing it takes seconds."""
    pytest.importorskip("transformers", reason="pip install -e '.[transformers]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = quiet_transformers()
        assert package.AutoModelForCausalLM and package.AutoTokenizer and package.pipeline
    return package


@pytest.fixture
def loaded(transformers, tmp_path):
    """loaded(config, module) is (model, tokenizer) of an export, each after another save and reload."""

    def load(config, module):
        export(tmp_path, config, module, form="hf", output=tmp_path / "hf", verify=False)
        for source, target in (("hf", "again"), ("again", None)):
            model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / source).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / source)
            if target:
                model.save_pretrained(tmp_path / target)
                tokenizer.save_pretrained(tmp_path / target)
        return model, tokenizer

    return load


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_and_continuations_are_ours(case, loaded):
    kind, changes, layout = CASES[case]
    config, module = exportable(kind, changes)
    model, tokenizer = loaded(config, module)
    assert model.config.model_type == layout
    assert_agreement(module, model, tokenizer)


@pytest.mark.parametrize("name", ["unigram", "bytes"])  # bpe: above
@pytest.mark.parametrize("kind", ["gpt", "modern"])
@torch.no_grad()
def test_every_tokenizer_goes_with_every_architecture(kind, name, loaded):
    config, module = exportable(kind, {}, name)
    model, tokenizer = loaded(config, module)
    assert model.config.vocab_size == module.tokenizer.vocab_size
    assert_agreement(module, model, tokenizer)


def assert_agreement(module, model, tokenizer):
    """The logits of titles, and the likeliest continuations token by token, are ours."""
    for title in TITLES[:6]:
        tokens = tokenizer(title, return_tensors="pt").input_ids[:, :BLOCK]
        assert (model(tokens).logits - module(tokens)).abs().max() < 1e-5 * max(1, module(tokens).abs().max())
    for prompt in ("", "Show HN:", "A", "The worst"):
        greedy = model.generate(**tokenizer(prompt, return_tensors="pt"), do_sample=False)[0]
        draft = Draft(module, module.tokenizer, prompt, num=1, sampling=Sampling(temperature=0))
        ours = [*draft.start, *(int(step.tokens[0]) for step in draft)]
        assert greedy.tolist() == ours
        assert tokenizer.decode(greedy, skip_special_tokens=True) == draft.titles()[0].title


@pytest.mark.parametrize("name", ["bpe", "unigram", "bytes"])
def test_tokens_are_ours(name, loaded):
    config, module = exportable("modern", {}, name)
    _, tokenizer = loaded(config, module)
    ours = module.tokenizer
    for title in [*TITLES, *ODD]:
        ids = ours.encode(title)
        assert tokenizer(title).input_ids == [ours.eos_id, *ids]
        assert tokenizer(title, add_special_tokens=False).input_ids == ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (ours.eos_id, ours.eos_id, 0)


@pytest.mark.parametrize("kind", ["gpt", "modern"])
@torch.no_grad()
def test_titles_of_different_lengths_share_a_batch(kind, loaded):
    config, module = exportable(kind, {})
    model, tokenizer = loaded(config, module)
    prompts = ["A", "Show HN: the slow"]
    batch = model.generate(**tokenizer(prompts, return_tensors="pt", padding=True), do_sample=False, max_length=20)
    for row, prompt in zip(batch, prompts, strict=True):
        room = 20 - len(batch[0]) + len(row)
        alone = model.generate(**tokenizer(prompt, return_tensors="pt"), do_sample=False, max_length=room)[0]
        shared = min(len(alone), 8)
        start = int((row != tokenizer.pad_token_id).nonzero()[0])
        assert row[start : start + shared].tolist() == alone[:shared].tolist()


@torch.no_grad()
def test_the_pipeline_draws_what_we_would_draw(loaded, transformers, tmp_path):
    """Of one token: as often as it is likely, never a special one, and not only the 50 likeliest."""
    config, module = exportable("modern", {})
    loaded(config, module)
    pipeline = transformers.pipeline("text-generation", model=str(tmp_path / "hf"))
    torch.manual_seed(0)
    drawn = pipeline("Show HN:", num_return_sequences=3, return_full_text=True)
    assert all(one["generated_text"].startswith("Show HN:") for one in drawn)
    start = pipeline.tokenizer("Show HN:", return_tensors="pt")
    rows = pipeline.model.generate(**start, num_return_sequences=2000, max_new_tokens=1)[:, -1]
    probability = module(start.input_ids)[0, -1].index_fill(0, torch.tensor([0, 2]), -torch.inf).softmax(-1)
    seen = torch.bincount(rows, minlength=len(probability)) / 2000
    assert seen[[0, 2]].tolist() == [0, 0]
    assert (seen - probability).abs().max() < 5 * math.sqrt(0.25 / 2000)
    assert int((seen > 0).sum()) > 50


@pytest.mark.parametrize("model", ["gpt", "modern"])
def test_a_trained_run_scores_its_titles_as_it_did(model, transformers, tmp_path, capfd):
    run = train_tiny(tmp_path / "run", f"model={model}", "optimizer.lr=1e-2", "callbacks=ema")
    ended = run_script(
        capfd, "export", run, "--format", "hf", "--output", tmp_path / "hf", "--json", tmp_path / "x.json"
    )
    assert (ended.status, ended.stderr) == (0, ""), ended.stderr
    assert json.loads((tmp_path / "x.json").read_text())["verified"]["largest_difference"] < 1e-5

    config, module = load_run(run)
    titles = [one for one in training_titles(run)[1] if len(module.tokenizer.encode(one)) < config.data.block_size]
    example = (tmp_path / "hf" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    card = {}
    exec(compile(example.replace('"."', f'"{tmp_path / "hf"}"'), "README.md", "exec"), card)
    assert card["title"].startswith("Show HN:")
    ours = ScoredTitles(module, titles, config.data).nll.numpy()
    assert np.abs([card["nats"](title) for title in titles] - ours).max() < 1e-3 * ours.max()
