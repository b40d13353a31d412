"""Promises of the places that a run writes to: tried before it starts, and never somebody else's file."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from messages import check_message, contents, folders
from programs import record_of
from tiny import TINY

SHORT = (*TINY, "trainer.max_steps=1")
FILES = ("callbacks.sample_titles.path", "callbacks.last_checkpoint.path")
FOLDERS = ("callbacks.best_checkpoint.dirpath", "logger.csv.directory", "trainer.default_root_dir", "paths.cache_dir")


@pytest.mark.slow
@pytest.mark.parametrize("key", [*FILES, *FOLDERS])
def test_a_place_that_cannot_be_written_is_refused_at_the_start(command, tmp_path, key):
    (tmp_path / "file").write_text("a file")
    outcome = command(*SHORT, f"{key}={tmp_path}/file/below.ckpt")
    assert outcome.status == 2, outcome.stdout
    check_message(outcome.stderr, [f"{key}={tmp_path}/file/below.ckpt: cannot be written"])
    assert folders(tmp_path) == set() and len(contents(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("key", FILES)
def test_a_file_that_is_there_is_not_replaced(command, tmp_path, key):
    (tmp_path / "mine.ckpt").write_text("written by hand")
    outcome = command(*SHORT, f"{key}={tmp_path}/mine.ckpt")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"{key}={tmp_path}/mine.ckpt: there is {tmp_path}/mine.ckpt already"])
    (tmp_path / "folder.ckpt").mkdir()
    outcome = command(*SHORT, f"{key}={tmp_path}/folder.ckpt")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"{key}={tmp_path}/folder.ckpt: a folder or a device"])
    assert (tmp_path / "mine.ckpt").read_text() == "written by hand"


@pytest.mark.slow
@pytest.mark.parametrize(("key", "name"), [(FOLDERS[0], "best.ckpt"), (FOLDERS[1], "metrics.csv")])
def test_another_runs_files_are_not_replaced(command, tmp_path, key, name):
    (tmp_path / name).write_text("another run's")
    outcome = command(*SHORT, f"{key}={tmp_path}")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"{key}={tmp_path}: there is {tmp_path}/{name} already"])
    assert (tmp_path / name).read_text() == "another run's"


@pytest.mark.slow
def test_places_elsewhere_are_made_and_a_resumed_run_goes_on_with_them(command, tmp_path):
    elsewhere = tmp_path / "new" / "place"
    places = [f"{FILES[0]}={elsewhere}/samples.txt", f"{FILES[1]}={elsewhere}/last.ckpt"]
    places += [f"{FOLDERS[0]}={elsewhere}/best", f"{FOLDERS[1]}={elsewhere}/csv", f"hydra.run.dir={tmp_path}/run"]
    assert command(*SHORT, *places).status == 0
    made = {"samples.txt", "last.ckpt", "best/best.ckpt", "csv/metrics.csv"}
    assert made <= {str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*")}
    more = [f"hydra.run.dir={tmp_path}/second", f"ckpt_path={elsewhere}/last.ckpt", "trainer.max_steps=2"]
    assert command(*SHORT, *places[:4], *more).status == 0
    assert (elsewhere / "samples.txt").read_text().startswith("update 1\n")
    assert "update 2\n" in (elsewhere / "samples.txt").read_text()


@pytest.mark.slow
def test_runs_that_begin_at_once_do_not_take_each_others_places_away(config, tmp_path):
    from frontpage.training.written_places import check_places

    places = config("data=synthetic", f"paths.cache_dir={tmp_path}/new/cache")
    run = SimpleNamespace(path=tmp_path / "run", checkpoint=None)
    with ThreadPoolExecutor(4) as pool:
        for checked in [pool.submit(check_places, places.copy(), run) for _ in range(200)]:
            checked.result()
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_what_can_be_followed_is_what_every_validation_has(command, config, tmp_path):
    from frontpage.command.build import build

    always = ["model.original_metric=always", "model.packed_metric=always", "data.batch_size=2"]
    assert command(*SHORT, *always, f"hydra.run.dir={tmp_path}/run").status == 0
    found = {name for name in record_of(tmp_path / "run")["metrics"]["final"] if name.startswith("val/")}
    model = build(config(*TINY, *always).model, "model", vocab_size=300)
    assert set(model.monitored_names()) == found


@pytest.fixture
def two_runs(command, tmp_path):
    """One that can go on and a finished one, whose files must stay."""
    for name in ("own", "other"):
        assert command(*SHORT, f"hydra.run.dir={tmp_path}/{name}").status == 0
    return tmp_path / "own", tmp_path / "other"


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["last", "{other}/checkpoints/last.ckpt"])
@pytest.mark.parametrize(
    ("key", "below"),
    [
        ("callbacks.best_checkpoint.dirpath", "checkpoints"),
        ("callbacks.last_checkpoint.path", "checkpoints/last.ckpt"),
        ("callbacks.last_checkpoint.path", "checkpoints/new.ckpt"),
        ("callbacks.sample_titles.path", "samples.txt"),
        ("logger.csv.directory", "elsewhere"),
    ],
)
def test_a_run_that_is_continued_writes_into_no_other_run(command, two_runs, begin, key, below):
    own, other = two_runs
    before = contents(other)
    place = own if begin == "last" else own.parent / "third"
    words = [f"hydra.run.dir={place}", f"ckpt_path={begin.format(other=other)}", "trainer.max_steps=2"]
    outcome = command(*TINY, *words, f"{key}={other}/{below}")
    assert outcome.status == 2, outcome.stdout
    check_message(outcome.stderr, [f"{key}={other}/{below}: in the folder of another run, {other}; another place"])
    assert contents(other) == before


@pytest.mark.slow
def test_a_run_that_is_continued_goes_on_where_it_wrote_and_replaces_nothing_elsewhere(command, tmp_path):
    best = tmp_path / "kept" / "best"
    words = [*TINY, f"hydra.run.dir={tmp_path}/run"]
    assert command(*words, "trainer.max_steps=1", f"{FOLDERS[0]}={best}").status == 0
    outcome = command(*words, "trainer.max_steps=2", "ckpt_path=last", f"{FOLDERS[0]}={best}")
    assert outcome.status == 0, outcome.stderr
    (tmp_path / "hand").mkdir()
    (tmp_path / "hand" / "best.ckpt").write_text("somebody's")
    outcome = command(*words, "trainer.max_steps=3", "ckpt_path=last", f"{FOLDERS[0]}={tmp_path}/hand")
    assert outcome.status == 2, outcome.stdout
    check_message(outcome.stderr, [f"{FOLDERS[0]}={tmp_path}/hand: there is {tmp_path}/hand/best.ckpt already"])
    assert (tmp_path / "hand" / "best.ckpt").read_text() == "somebody's"
