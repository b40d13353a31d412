"""Promises of exports: another program that reads the files computes the run's numbers; what it cannot is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from exports import BLOCK, CASES, LOCAL, NARROW, ODD, TITLES, exportable, from_folder, from_gguf, ids_of, logits_by_hand
from omegaconf import OmegaConf
from programs import run_script, train_tiny
from tiny import options
from tokenizers import Tokenizer

from frontpage.command.errors import UserError
from frontpage.export import gguf_file, hugging_face
from frontpage.export.formats import FORMATS, export
from frontpage.export.own_names import load_export
from frontpage.export.verify import Disagreement, compare_logits, verify_gguf
from frontpage.runs.checkpoint import open_checkpoint
from frontpage.runs.reopen import load_run


def written(tmp_path, config, module, form, **options):
    return export(tmp_path, config, module, form=form, output=tmp_path / form, verify=False, **options)


@pytest.mark.parametrize("case", CASES)
def test_a_folder_for_transformers_computes_our_logits(case, tmp_path):
    model, changes, layout = CASES[case]
    config, module = exportable(model, changes)
    result = written(tmp_path, config, module, "hf")
    assert f"({layout})" in result["layout"]
    tokens = ids_of(module, TITLES[0])
    ours, theirs = module(tokens), logits_by_hand(*from_folder(tmp_path / "hf"), tokens)
    assert ours.abs().max() > 1
    assert (ours - theirs).abs().max() < 2e-5


# llama.cpp has one activation for each of them, and no window.
IN_GGUF = [
    "gpt",
    "gpt, untied, no biases",
    "rotary gpt, no biases",
    "rotary gpt, rms, no biases",
    "rotary gpt, rms, swiglu",
    "modern, no qk_norm, narrow",
    "modern, another base",
    "deep_narrow",
]


@pytest.mark.parametrize("case", IN_GGUF)
def test_a_gguf_file_computes_our_logits(case, tmp_path):
    model, changes, layout = CASES[case]
    config, module = exportable(model, changes)
    result = written(tmp_path, config, module, "gguf")
    assert result["layout"] == f"{layout} in GGUF"
    tokens = ids_of(module, TITLES[0])
    activation = {"swiglu": "silu"}.get(config.model.get("activation", "swiglu"), config.model.get("activation"))
    [path] = (tmp_path / "gguf").glob("*.gguf")
    theirs = logits_by_hand(*from_gguf(path, activation), tokens)
    assert (module(tokens) - theirs).abs().max() < 2e-5


@pytest.mark.parametrize("precision", ["fp16", "q8_0"])
def test_a_gguf_file_can_be_smaller(precision, tmp_path):
    config, module = exportable("modern", {"d_ff": 96})
    sizes = {}
    for name in ("fp32", precision):
        result = export(tmp_path, config, module, form="gguf", output=tmp_path / name, precision=name)
        sizes[name] = sum(size for file, size in result["files"].items() if file.endswith(".gguf"))
        assert (result["verified"].largest_difference == 0) == (name == "fp32")
    assert sizes[precision] < 0.8 * sizes["fp32"]


@pytest.mark.slow
def test_a_gguf_file_holds_the_vocabulary(tmp_path):
    import gguf

    for name in ("bpe", "bytes"):
        config, module = exportable("modern", {}, name)
        export(tmp_path, config, module, form="gguf", output=tmp_path / name, verify=False)
        fields = gguf.GGUFReader(next((tmp_path / name).glob("*.gguf"))).fields
        value = {key.removeprefix("tokenizer.ggml."): field.contents() for key, field in fields.items()}
        tokenizer = module.tokenizer
        assert value["tokens"] == [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
        assert [index for index, kind in enumerate(value["token_type"]) if kind == gguf.TokenType.CONTROL] == [0, 1, 2]
        assert value["bos_token_id"] == value["eos_token_id"] == tokenizer.eos_id
        assert (value["model"], value["pre"], value["add_bos_token"]) == ("gpt2", "gpt-2", True)
        merges = [tuple(pair.split(" ")) for pair in value["merges"] if " " in pair]
        assert merges == [tuple(pair) for pair in json.loads(tokenizer.to_json())["model"]["merges"]]
        assert len(merges) == (tokenizer.vocab_size - 259 if name == "bpe" else 0)


@pytest.mark.parametrize("name", ["bpe", "unigram", "bytes"])
def test_the_tokenizer_of_a_folder_reads_and_writes_as_ours_with_eos_before_it(name, tmp_path):
    tokenizer = exportable("gpt", {}, name)[1].tokenizer
    hugging_face.write_tokenizer(tmp_path, tokenizer, BLOCK)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.encode_special_tokens = json.loads((tmp_path / "tokenizer_config.json").read_text())["split_special_tokens"]
    for title in [*TITLES, *ODD]:
        ids = tokenizer.encode(title)
        assert theirs.encode(title).ids == [tokenizer.eos_id, *ids]
        assert theirs.encode(title, add_special_tokens=False).ids == ids
        assert theirs.decode([tokenizer.eos_id, *ids, tokenizer.eos_id]) == tokenizer.decode(ids)


@pytest.mark.slow
@pytest.mark.parametrize("model", options("model"))
def test_our_own_names_hold_every_architecture(model, tmp_path):
    config, module = exportable(model, {"attention": "gated"})
    result = export(tmp_path, config, module, form="safetensors", output=tmp_path / "out")
    assert result["verified"].largest_difference == 0
    again = load_export(tmp_path / "out")[1]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), module.parameters(), strict=True))
    assert not again.training


REFUSED = {
    "norm_position": ("gpt", {"norm_position": "post"}, "model.norm_position=post: .*gpt2, has pre"),
    "learned swiglu": ("gpt", {"activation": "swiglu"}, "model.activation=swiglu: .*gpt2, has gelu or relu or relu2"),
    "learned rms": ("gpt", {"norm": "rms"}, "model.norm=rms: "),
    "rotary layer swiglu": (
        "gpt",
        {"positions": "rotary", "activation": "swiglu"},
        "model.norm=layer: .*llama, has rms",
    ),
    "qk_norm": ("gpt", {"positions": "rotary", "qk_norm": True}, "model.qk_norm=true: .*starcoder2, has false"),
    "bias": (
        "gpt",
        {"positions": "rotary", "norm": "rms", "activation": "swiglu", "qk_norm": True},
        "model.(bias|qk_norm)=true: ",
    ),
    "narrow gpt": ("gpt", NARROW, "model.attention=bottleneck: .*gpt2, has causal"),
    "narrow window": ("modern", LOCAL | {"attention.d_inner": 16}, "model.attention=local: "),
    "window gpt": ("gpt", {"attention": "local", "attention.window": 5}, "model.attention=local: .*gpt2, has causal"),
    "deep_narrow layernorm": ("deep_narrow", {}, "model.norm=layernorm: rmsnorm; of the others no standard"),
    "deep_narrow deepnorm": ("deep_narrow", {"norm": "deepnorm"}, "model.norm=deepnorm: rmsnorm; of the others no sta"),
    "deep_narrow without a final norm": (
        "deep_narrow",
        {"norm": "rmsnorm", "final_norm": False},
        "model.final_norm=false: no standard",
    ),
    "deep_narrow learned": (
        "deep_narrow",
        {"norm": "rmsnorm", "positions": "learned"},
        "model.positions=learned: no standard",
    ),
    "unet": ("unet_gpt", {}, "model=UNetGPT: no standard architecture"),
    "logit_cap": ("gpt", {"logit_cap": 15.0}, "model.logit_cap=15.0: no standard architecture"),
}
REFUSED |= {
    name: ("modern", {"attention": name}, f"model.attention={name}: no standard architecture computes it")
    for name in options("model/attention")
    if name not in ("causal", "bottleneck", "local")  # a window
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_layout_holds_is_refused_with_its_key(case, tmp_path):
    model, changes, said = REFUSED[case]
    config, module = exportable(model, changes)
    for form in ("hf", "gguf"):
        with pytest.raises(UserError, match=said if form == "hf" else said.split(": ")[0]):
            written(tmp_path, config, module, form)
    assert [*tmp_path.iterdir()] == []


GGUF_REFUSED = {
    "window": (("modern", {"attention": "local"}, "bpe"), "fp32", "model.attention=local: llama.cpp .*qwen3, has caus"),
    "relu": (("gpt", {"activation": "relu"}, "bpe"), "fp32", "model.activation=relu: llama.cpp .*gpt2, has gelu"),
    "unigram": (("modern", {}, "unigram"), "fp32", "tokenizer=unigram: llama.cpp has no such model over bytes"),
    "rows": (("modern", {}, "bpe"), "q8_0", "model.d_ff=88: --precision q8_0 needs rows that are multiples of 32"),
    "heads": (("modern", NARROW | {"d_ff": 96}, "bpe"), "q8_0", "model.attention.d_inner=16: "),
}


@pytest.mark.parametrize("case", GGUF_REFUSED)
def test_what_llama_cpp_cannot_compute_is_refused(case, tmp_path):
    what, precision, said = GGUF_REFUSED[case]
    config, module = exportable(*what)
    with pytest.raises(UserError, match=said):
        written(tmp_path, config, module, "gguf", precision=precision)


def test_a_weight_without_a_place_is_noticed(tmp_path):
    config, module = exportable("gpt", {})
    module.net.another_scale = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(RuntimeError, match="no place for another_scale"):
        written(tmp_path, config, module, "hf")


def test_a_wrong_export_is_noticed(tmp_path):
    config, module = exportable("gpt", {})
    with pytest.raises(Disagreement, match="differ by"):
        compare_logits("test", lambda tokens: module(tokens) + 1e-3, module, TITLES[:1])
    with pytest.raises(Disagreement, match="differ by"):
        compare_logits("test", lambda tokens: module(tokens) * torch.nan, module, TITLES[:1])
    written(tmp_path, config, module, "gguf")
    path = next((tmp_path / "gguf").glob("*.gguf"))
    meant = gguf_file.read(path)
    assert verify_gguf(path, meant, "fp32").largest_difference == 0
    meant["output_norm.weight"] = meant["output_norm.weight"] + np.float32(1e-3)
    for precision in ("fp32", "fp16"):
        with pytest.raises(Disagreement, match="output_norm.weight"):
            verify_gguf(path, meant, precision)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run with averaged weights."""
    return train_tiny(tmp_path_factory.mktemp("export") / "run", "model=modern", "callbacks=ema")


def config_name(run):
    return OmegaConf.load(run / "config.yaml").name


@pytest.mark.slow
def test_the_script_writes_the_averaged_weights_and_a_card(run, tmp_path, capfd):
    record = json.loads((run / "run.json").read_text())
    for form in FORMATS[:3]:  # the last is for runs that were trained for it
        output, result = tmp_path / form, tmp_path / f"{form}.json"
        options = ("--format", form, "--output", output, "--no-verify" if form == "hf" else "--verify")
        ended = run_script(capfd, "export", run, *options, "--json", result)
        assert (ended.status, ended.stderr) == (0, ""), ended.stderr
        assert {path.name for path in output.iterdir()} == {*json.loads(result.read_text())["files"]}
        card = (output / "README.md").read_text()
        best = record["metrics"]["best"]
        for fact in (
            f"{best['val/nats_per_char']:.4f} \u00b1 {best['val/nats_per_char_se']:.4f}",
            f"| parameters | {record['parameters']:,} |",
            f"| source | {record['data']['source']} |",
            f"| titles | {record['data']['train_titles']:,} to train",
            str(record["git_commit"]),
            record["command"],
            "exponential moving average, decay",
            "under its MIT licence",
        ):
            assert fact in card, fact
        assert form != "gguf" or f"-m {config_name(run)}-fp32.gguf" in card
    config, module = load_run(run)
    again = load_export(tmp_path / "safetensors")[1]
    tokens = ids_of(module, TITLES[0])[:, :20]
    assert torch.equal(again(tokens), module(tokens))
    assert (logits_by_hand(*from_folder(tmp_path / "hf"), tokens) - module(tokens)).abs().max() < 2e-5
    as_trained = open_checkpoint(run / "checkpoints" / "best.ckpt", "x").content["current_model_state"]
    name = "token_embedding.weight"
    assert not torch.equal(module.net.state_dict()[name], next(as_trained[key] for key in as_trained if name in key))


@pytest.mark.slow
def test_the_example_of_our_own_card_runs(run, tmp_path, capfd, monkeypatch):
    assert run_script(capfd, "export", run, "--format", "safetensors", "--output", tmp_path / "out").status == 0
    monkeypatch.chdir(tmp_path / "out")
    example = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(compile(example, "README.md", "exec"), {})
    assert "Show HN:" in capfd.readouterr().out


@pytest.mark.slow
def test_the_default_folder_is_in_the_run_and_used_once(run, capfd):
    assert run_script(capfd, "export", run, "--format", "safetensors").status == 0
    again = run_script(capfd, "export", run, "--format", "safetensors")
    assert again.status == 2
    assert "not empty" in again.stderr
    (run / "export" / "gguf").mkdir()  # an empty one is fine
    assert run_script(capfd, "export", run, "--format", "gguf").status == 0
    load_run(run)


MISTAKES = {
    "no format": (["{run}"], "--format"),
    "unknown format": (["{run}", "--format", "onnx"], "onnx"),
    "no run": (["{folder}/nothing", "--format", "hf"], "not a run's directory"),
    "folder that is no run": (["{folder}", "--format", "hf"], "not a run's directory"),
    "no checkpoint": (["{run}", "--format", "hf", "--checkpoint", "{folder}/none.ckpt"], "no such checkpoint"),
    "output in use": (["{run}", "--format", "hf", "--output", "{run}"], "--output"),
    "output is a file": (["{run}", "--format", "hf", "--output", "{run}/run.json"], "--output"),
    "output on no disk": (["{run}", "--format", "hf", "--output", "/proc/x"], "--output=/proc/x: cannot be made"),
    "output in a file": (["{run}", "--format", "hf", "--output", "{run}/run.json/x"], "--output"),
    "precision": (["{run}", "--format", "hf", "--precision", "fp16"], "--precision=fp16: --format hf is written in"),
    "rows": (["{run}", "--format", "gguf", "--precision", "q8_0", "--output", "{folder}/out"], "model.d_ff=88"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_2_and_says_what_is_allowed(mistake, run, tmp_path, capfd):
    arguments, said = MISTAKES[mistake]
    ended = run_script(capfd, "export", *(argument.format(run=run, folder=tmp_path) for argument in arguments))
    assert ended.status == 2, ended
    assert said in ended.stderr
    assert 1 <= len(ended.stderr.splitlines()) <= 3
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("package, form", [("safetensors", "hf"), ("gguf", "gguf"), ("transformers", "hf")])
def test_a_missing_package_is_named_with_the_command(package, form, run, tmp_path, capfd, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    output = ("--output", tmp_path / "out")
    ended = run_script(capfd, "export", run, "--format", form, *output, "--verify")
    assert ended.status == 2
    assert package in ended.stderr and "pip install -c constraints.txt -e '.[" in ended.stderr
    if package == "transformers":
        ended = run_script(capfd, "export", run, "--format", form, *output)
        assert (ended.status, ended.stderr) == (0, "")
        assert "not compared: transformers is not installed" in ended.stdout


def test_a_run_without_a_checkpoint_is_refused(run, tmp_path, capfd):
    shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("*.ckpt"))
    ended = run_script(capfd, "export", tmp_path / "copy", "--format", "hf", "--output", tmp_path / "out")
    assert ended.status == 2
    assert "best.ckpt: no such checkpoint" in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_card_of_a_checkpoint_from_elsewhere_has_no_metrics_of_the_run(run, tmp_path, capfd):
    shutil.copy(run / "checkpoints" / "last.ckpt", tmp_path / "best.ckpt")
    for place, recorded in ((run / "checkpoints" / "best.ckpt", True), (tmp_path / "best.ckpt", False)):
        output = tmp_path / f"recorded_{recorded}"
        arguments = ("--format", "safetensors", "--checkpoint", place, "--output", output)
        assert run_script(capfd, "export", run, *arguments).status == 0
        assert ("Not recorded for this checkpoint" not in (output / "README.md").read_text()) == recorded


@pytest.mark.parametrize(("validated_at", "recorded"), [(None, True), (1, False)])
def test_the_card_has_the_metrics_of_its_checkpoint_s_own_update(run, tmp_path, validated_at, recorded):
    """A run that broke off after its last validation has a last checkpoint that was not measured."""
    copied, record = shutil.copytree(run, tmp_path / "run"), json.loads((run / "run.json").read_text())
    at = {} if validated_at is None else {"validated_at": validated_at}
    assert record["validated_at"] == record["steps"] > 1
    (copied / "run.json").write_text(json.dumps({name: record[name] for name in record if name != "validated_at"} | at))
    config, module = load_run(copied, "last")
    settings = {"form": "safetensors", "checkpoint": "last"}
    export(copied, config, module, output=tmp_path / "out", **settings)
    assert ("Not recorded for this checkpoint" not in (tmp_path / "out" / "README.md").read_text()) == recorded


def test_a_folder_of_another_kind_is_not_loaded(run):
    with pytest.raises(UserError, match="it has no model.safetensors"):
        load_export(run)


def test_a_run_without_a_record_has_a_card_that_says_so(tmp_path):
    config, module = exportable("gpt", {})
    written(tmp_path, OmegaConf.create(config), module, "safetensors")
    card = (tmp_path / "safetensors" / "README.md").read_text()
    assert "Not recorded for this checkpoint" in card
    assert "| command | `not recorded` |" in card
