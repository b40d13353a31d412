"""Promises of every file that a script writes: nothing is lost by it, it is whole or not there, and checked first."""

import ast
import json
import os
import resource
import threading
from pathlib import Path

import pytest
from programs import run_script
from run_folders import folder, fresh, write_run  # noqa: F401
from tiny import ROOT

from frontpage.command.arguments import Arguments, path_for
from frontpage.command.errors import UserError
from frontpage.command.output_file import OutputFile, beginning_with, check_outputs, holding, json_with
from frontpage.export.folder import new_folder

OURS = json_with("run", "metrics")
MINE = json.dumps({"run": "x", "metrics": {}, "more": 1})


def output(path, ours=OURS):
    return OutputFile("--json", Path(path), ours)


def refused(one, said, overwrite=False):
    with pytest.raises(UserError, match=said) as error:
        one.check(overwrite)
    assert str(error.value).startswith(f"{one.option}={one.path}: ") and "\n" not in str(error.value)


FOREIGN = {
    "titles": "title\nShow HN: a parser for poets\n",
    "other JSON": '{"run": "x"}',
    "a list of others": '[{"run": "x", "metrics": 1}, {"run": "y"}]',
    "a cut result": MINE[:-3],
    "bytes": b"\x80\x81",
    "nested too deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_the_command_has_not_written_is_kept(tmp_path, content):
    path = tmp_path / "there"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(output(path), "--overwrite")
    link = tmp_path / "link"
    link.symlink_to(path)
    refused(output(link), "--overwrite")
    output(link).check(overwrite=True)
    output(link).write(MINE)
    assert link.is_symlink() and path.read_text() == MINE
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "there"]


@pytest.mark.parametrize("content", ["", MINE, f"[{MINE}]"], ids=["empty", "a result", "a list of results"])
def test_an_earlier_result_and_an_empty_file_are_replaced(tmp_path, content):
    path = tmp_path / "there"
    path.write_text(content)
    path.chmod(0o640)
    output(path).check(overwrite=False)
    output(path).write(MINE)
    assert path.read_text() == MINE and path.stat().st_mode & 0o777 == 0o640


def test_tables_and_pages_are_recognised_by_what_every_one_of_them_has():
    assert beginning_with("run,name")(b"run,name,seed\n") and not beginning_with("run,name")(b"step,loss\n")
    assert holding("made by x")(b"PNG ... made by x ...") and not holding("made by x")(b"PNG")


def test_what_is_written_must_be_recognised_the_next_time(tmp_path):
    with pytest.raises(RuntimeError, match="not be recognised"):
        output(tmp_path / "new").write('{"run": 1}')
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["run.json", "run.lock", "checkpoints/best.ckpt", "checkpoints/new.ckpt", "config.yaml"]
)
def test_a_runs_own_files_are_kept_though_they_are_empty_or_not_there_yet(tmp_path, name):
    run = write_run(tmp_path / "run")
    (run / "checkpoints").mkdir()
    (run / "run.lock").touch()
    before = sorted(tmp_path.rglob("*"))
    refused(output(run / name), "a run's own file")
    output(run / name).check(overwrite=True)
    output(run / "evaluated.json").check(overwrite=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_is_written_to_and_stays_what_it_is(tmp_path):
    full, null = tmp_path / "full", tmp_path / "null"
    null.symlink_to("/dev/null")
    output(null).check(overwrite=False)
    output(null).write(MINE)
    assert null.is_symlink() and Path("/dev/null").is_char_device()
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    full.symlink_to("/dev/full")
    output(full).check(overwrite=False)
    with pytest.raises(UserError, match="cannot be written"):
        output(full).write(MINE)
    assert full.is_symlink() and Path("/dev/full").is_char_device() and len(list(tmp_path.iterdir())) == 2


def test_the_reader_of_a_pipe_gets_everything(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    output(path).check(overwrite=False)  # does not wait for a reader
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    output(path).write(MINE)
    reader.join(60)
    assert read == [MINE] and path.is_fifo()


def test_an_open_file_is_written_to_by_its_number(tmp_path):
    path = tmp_path / "told"
    with path.open("w") as file:
        file.write("before\n")
        file.flush()
        one = output(f"/dev/fd/{file.fileno()}")
        one.check(overwrite=False)
        one.write(MINE)
        file.write("\nbehind\n")
    assert path.read_text() == f"before\n{MINE}\nbehind\n"
    refused(one, "Bad file descriptor")
    with path.open() as file:
        refused(output(f"/dev/fd/{file.fileno()}"), "Bad file descriptor")


def test_what_cannot_be_written_is_said_before_anything_is_computed(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refused(output(tmp_path), "a file in an existing folder")
    refused(output(tmp_path / "none" / "x.json"), "a file in an existing folder")
    refused(output(tmp_path / ("x" * 300)), "cannot be written")
    with pytest.raises(UserError):
        output(loop).check(overwrite=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["loop"]


def test_a_disk_that_fills_up_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "there"
    path.write_text(MINE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            output(path).write(json.dumps({"run": "y" * 10_000, "metrics": {}}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == MINE and len(list(tmp_path.iterdir())) == 1


def test_two_options_cannot_name_the_same_file(tmp_path):
    (tmp_path / "link").symlink_to("table")
    first, second = OutputFile("--csv", tmp_path / "table", OURS), OutputFile("--json", tmp_path / "link", OURS)
    with pytest.raises(UserError, match="--json=.*the same file as --csv"):
        check_outputs([first, second], overwrite=False)
    check_outputs([OutputFile(option, Path("/dev/null"), OURS) for option in ("--csv", "--json")], overwrite=False)


def test_files_are_checked_with_the_command_line_wherever_its_words_stand(tmp_path):
    path = tmp_path / "there"
    path.write_text("precious")
    parser = Arguments("x", ("run", "metrics"))
    parser.add_argument("words", nargs="*")
    for words in (["--json", str(path), "a"], ["a", f"--json={path}"]):
        for parse in (parser.parse_args, parser.parse_intermixed_args):
            with pytest.raises(UserError, match="--overwrite"):
                parse(words)
            assert parse([*words, "--overwrite"]).json.path == path == parse(["--overwrite", *words]).json.path
    assert path.read_text() == "precious"


@pytest.mark.parametrize("words", [["--json"], ["--csv"], ["--markdown"]])
def test_a_table_of_runs_replaces_its_own_kind_only(folder, tmp_path, capfd, words):  # noqa: F811
    path = tmp_path / "table"
    assert run_script(capfd, "collect_runs", folder, *words, path).status == 0
    first = path.read_text()
    assert run_script(capfd, "collect_runs", folder, *words, path).status == 0 and path.read_text() == first
    path.write_text("title\nmy own notes\n")
    ended = run_script(capfd, "collect_runs", folder, *words, path)
    assert ended.status == 2 and len(ended.stderr.splitlines()) == 1 and not ended.stdout
    assert path.read_text() == "title\nmy own notes\n"
    assert run_script(capfd, "collect_runs", folder, *words, path, "--overwrite").status == 0
    assert path.read_text() == first


def test_a_page_replaces_a_page_only(folder, tmp_path, capfd):  # noqa: F811
    page = folder / "runs.html"
    for _ in range(2):
        assert run_script(capfd, "report", folder).status == 0
    page.write_text("<p>my own page")
    ended = run_script(capfd, "report", folder)
    assert (
        ended.status == 2
        and ended.stderr.startswith(f"--output={page}: exists")
        and page.read_text() == "<p>my own page"
    )
    best = folder / "a" / "checkpoints" / "best.ckpt"
    best.parent.mkdir()
    best.write_bytes(b"weights")
    assert run_script(capfd, "report", folder, "--output", best).status == 2 and best.read_bytes() == b"weights"


def test_evaluate_keeps_the_titles_that_it_was_to_read(tmp_path, capfd):
    titles = tmp_path / "t.txt"
    titles.write_text("Show HN: a parser for poets\n")
    ended = run_script(capfd, "evaluate", tmp_path / "no_run", f"data.path={titles}", "--json", titles)
    assert ended.status == 2 and ended.stderr.startswith(f"--json={titles}: exists")  # before the run is looked for
    assert titles.read_text() == "Show HN: a parser for poets\n"


def test_an_export_takes_no_folder_of_anyone_elses(tmp_path):
    beside, place, link = tmp_path / "out.partial", tmp_path / "out", tmp_path / "link"
    beside.mkdir()
    (beside / "mine").touch()
    place.mkdir()
    link.symlink_to(place)
    with new_folder(link) as made:
        (made / "weights").touch()
    assert link.is_symlink() and (place / "weights").is_file() and (beside / "mine").is_file()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "out", "out.partial"]


# Those whose users name a folder of their own: what they write lies in it.
OWN_FOLDER = ("chaos",)
WRITERS = ("write_text", "write_bytes", "savefig")


ANALYSIS = [path for path in (ROOT / "src/frontpage/analysis").rglob("*.py") if path.parent.name != "disasters"]


@pytest.mark.parametrize("script", sorted([*(ROOT / "scripts").glob("*.py"), *ANALYSIS]), ids=lambda path: path.stem)
def test_no_script_writes_a_file_that_its_user_names_in_another_way(script):
    """Nor does what a script calls; disasters/ writes into temporary folders only."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in WRITERS, f"{script.name}:{node.lineno}"


def test_a_url_where_a_path_is_wanted_is_shown_as_it_was_given():
    with pytest.raises(UserError, match="^--output=https://example.org/x: a URL"):
        path_for("--output")("https://example.org/x")
    assert path_for("--output")("a/b") == Path("a/b")
