"""Six small runs to look at.

Two of them, baseline and adamw, are the original exercise's optimizer and the second report's on one small model,
validated at the report's 23 points of the run.
"""

SHARED = (
    "data=synthetic data.num_titles=4000 data.block_size=32 data.batch_size=16 tokenizer.vocab_size=600"
    " model.d_model=48 model.n_layer=2 model.n_head=4 model.init=normal trainer.accelerator=cpu"
    " trainer.precision=32-true trainer.max_epochs=null callbacks.sample_titles.num=4 log_interval=5"
    " save_interval=1000000"
).split()
# The published comparison has 938 updates, validated after the first, every 44 and at the end; this is half of it.
PUBLISHED = (
    "trainer.max_steps=469 val_interval=22 trainer.validate_first_step=true model.original_metric=always"
    " model.document_mask=false callbacks.sample_titles=null"
).split()
SHORT = "trainer.max_steps=200 val_interval=50 optimizer=adamw optimizer.lr=5e-3 scheduler.warmup=20".split()
MODERN = "model.positions=rotary model.dropout=0.0".split()
RUNS = {  # the longest first; the rates are those of small models
    "baseline": [*PUBLISHED, *"experiment=mainrun_baseline optimizer.lr=6e-2 data.repack=true".split()],
    "adamw": [*PUBLISHED, *"experiment=adamw_gpt optimizer.lr=3e-3 scheduler.warmup=50".split()],
    "unet": [*SHORT, *MODERN, *"model=unet_gpt model.widths=[48,32,48]".split()],
    "local": [*SHORT, *MODERN, *"model/attention=local model.attention.window=8".split()],
    "large_batch": [
        *SHORT,
        *MODERN,
        *"data.batch_size=64 trainer.max_steps=50 val_interval=25 scheduler.warmup=5".split(),
    ],
    "modern_muon": [*SHORT, *"model=modern model.n_layer=1 optimizer=muon".split()],
}


def choices(name: str) -> list[str]:
    """A run's overrides: what all share, then its own; a later value of a key replaces an earlier one."""
    keys = {word.partition("=")[0]: word for word in [*SHARED, *RUNS[name]]}
    return list(keys.values())
