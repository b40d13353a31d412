"""The smallest run of several tasks, and its parts."""

from tiny import composed

from frontpage.command.build import build

SMALL = (
    "experiment=multitask_debug",
    "data.books=8",
    "data.chapters=3",
    "data.verses=5",
    "data.languages=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "callbacks.sample_titles.num=1",
    "callbacks.sample_titles.max_tokens=8",
)
FOUR = ("lm", "coherence", "cross_reference", "paraphrase")


def data_of(tmp_path, *overrides):
    """The data of the smallest run, set up."""
    data = build(composed(*SMALL, *overrides, f"paths.cache_dir={tmp_path}/cache").data, "data")
    data.setup()
    return data


def module_of(data, *overrides):
    """Its module."""
    return build(composed(*SMALL, *overrides).model, "model", vocab_size=data.vocab_size)


def first_of_each_task(loader):
    """The first training batch of every task, by task."""
    found, index = {}, 0
    while len(found) < len(loader.order.names):
        name, _ = loader.order.at(index)
        found.setdefault(name, loader.batch(0, index))
        index += 1
    return found
