"""Promises of what is said where an experiment's values win over an option that the command line has chosen."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from tiny import CONFIGS, TINY

from frontpage.command.kept_by_experiment import say_what_the_experiment_keeps
from frontpage.command.notices import forget_notices, notices


@pytest.fixture
def said(monkeypatch):
    """said("experiment=...", ...) is what a run of these words says of it."""

    def say(*words: str) -> list[str]:
        forget_notices()
        with initialize_config_dir(str(CONFIGS)):
            config = compose("train", ["paths.run_dir=unused", *words], return_hydra_config=True)
            monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
            say_what_the_experiment_keeps(config)
        return notices()

    yield say
    forget_notices()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "notice"),
    [
        (
            ["experiment=quickstart", "model=tower"],
            "model=tower: experiment=quickstart sets model.d_model=128 (not 288), model.n_layer=4 (not 144), "
            "model.n_head=4 (not 6)",
        ),
        (
            ["experiment=quickstart", "model=tower", "model.n_layer=4", "model.d_model=288"],  # by the user's own word
            "model=tower: experiment=quickstart sets model.n_head=4 (not 6)",
        ),
        (
            ["experiment=adamw_gpt", "data=synthetic"],
            "data=synthetic: experiment=adamw_gpt sets data.num_titles=100000 (not 20000)",
        ),
    ],
)
def test_values_that_an_option_was_chosen_for_and_an_experiment_has_set_are_told(said, words, notice):
    assert said(*words) == [notice]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["experiment=quickstart", "model=modern"],  # whose width is that of gpt
        ["experiment=quickstart", "optimizer=muon"],  # whose rate is that of adamw
        ["experiment=sparse_gpt", "model=gpt"],  # the attention is another axis
        ["experiment=sparse_gpt", "model/attention=local"],
        ["experiment=quickstart", "model.n_layer=2"],
        ["model=tower"],
        ["experiment=quickstart", "model=tower", "debug=fast"],
        ["experiment=quickstart", "~scheduler"],  # an axis that is taken away has no option
    ],
)
def test_of_nothing_else_anything_is_said(said, words):
    assert said(*words) == []


def test_an_experiment_of_a_folder_of_ones_own_is_found(said, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - quickstart\nmodel:\n  d_model: 64\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (notice,) = said(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "model=tower")
    assert notice.startswith("model=tower: experiment=mine sets model.d_model=64 (not 288), ")


@pytest.mark.slow
def test_a_run_says_it(command):
    outcome = command("experiment=adamw_gpt", "model=deep_narrow_40", *TINY, "trainer.max_steps=1")
    assert outcome.status == 0, outcome.stderr
    assert "notice: model=deep_narrow_40: experiment=adamw_gpt sets model.dropout=0.1 (not 0.0)" in outcome.stdout
