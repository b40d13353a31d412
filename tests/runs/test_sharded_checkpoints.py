"""Promises of checkpoints in parts: nothing is lost, a part that is not what was written is refused."""

import os
import shutil
import time

import pytest
import torch
from programs import run_script

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.runs.checked_file import bytes_of, read_checked, write_whole
from frontpage.runs.checkpoint import newest_intact, open_checkpoint
from frontpage.runs.checkpoint_file import copied, read, update_of
from frontpage.runs.checkpoint_parts import remove_unnamed
from frontpage.runs.convert_checkpoint import convert


def content(step=7):
    """A checkpoint with an odd number of rows, a single row, a single number, no row, and a type of half precision."""
    torch.manual_seed(step)
    weights = {
        "net.odd": torch.randn(5, 3),
        "net.row": torch.randn(1, 4),
        "net.number": torch.randn(()),
        "net.none": torch.randn(0, 2),
        "net.half": torch.randn(8).bfloat16(),
    }
    state = {0: {"step": torch.tensor(7.0), "exp_avg": torch.randn(5, 3)}}
    return {
        "global_step": step,
        "epoch": 0,
        "state_dict": weights,
        "optimizer_states": [{"state": state, "param_groups": [{"params": [0], "lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": step}],
        "loops": {"fit_loop": {"batch": step}},
        "callbacks": {"Some": {"kept": [[0.5, step]], "numbers": torch.arange(3)}},
        "newest": {},
    }


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.ckpt"
    write_whole(path, bytes_of(content()))
    return path


def in_parts(whole, parts=3):
    path = whole.parent / "run" / "last.ckpt"
    convert(whole, path, parts)
    return path


def parts_of(path):
    return sorted(path.parent.glob("parts-*/*.pt"))


@pytest.mark.parametrize("parts", [1, 2, 3, 11])
def test_both_ways_lose_nothing(whole, parts):
    path = in_parts(whole, parts)
    assert len(parts_of(path)) == parts
    index = read_checked(path)
    assert {name for name, one in index["state_dict"].items() if one.device.type != "meta"} == {"net.number"}
    assert equal(read(path), content())
    back = path.with_name("back.ckpt")
    convert(path, back, None)
    assert "parts" not in read_checked(back) and equal(read(back), content())


def test_rows_are_cut_as_pytorch_cuts_them(whole):
    first, second = (torch.load(one, weights_only=True) for one in parts_of(in_parts(whole, 2)))
    assert torch.equal(first["state_dict.net.odd"], content()["state_dict"]["net.odd"][:3])
    assert torch.equal(second["state_dict.net.odd"], content()["state_dict"]["net.odd"][3:])
    assert torch.equal(
        second["optimizer_states.0.state.0.exp_avg"], read(whole)["optimizer_states"][0]["state"][0]["exp_avg"][3:]
    )


def damage(path):
    path.write_bytes(path.read_bytes()[:100] + b"x" + path.read_bytes()[101:])


def swap(path):
    """The rows of another process under this one's name."""
    other = next(one for one in path.parent.iterdir() if one != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    ("strike", "told"), [(damage, "checksum is wrong"), (lambda path: path.unlink(), "is gone"), (swap, "is another")]
)
def test_a_part_that_is_not_what_was_written_is_refused_and_the_one_before_found(whole, strike, told):
    path = in_parts(whole)
    older = path.with_name("last-1.ckpt")
    write_whole(older, bytes_of(content(step=6)))
    assert newest_intact(path.parent).path == path and equal(newest_intact(path.parent).content, content())
    strike(parts_of(path)[1])
    with pytest.raises(ValueError, match=told):
        read(path)
    assert update_of(path) is None
    forget_notices()
    assert newest_intact(path.parent).path == older
    assert notices()[-1] == "the newest checkpoint that is whole is last-1.ckpt, of update 6"
    with pytest.raises(UserError, match=rf"{told}.*{older}"):
        open_checkpoint(path, "ckpt_path")


def test_a_copy_elsewhere_is_a_single_file(whole, tmp_path):
    path, other = in_parts(whole), tmp_path / "elsewhere" / "best.ckpt"
    assert copied(path, other)
    shutil.rmtree(path.parent)
    assert equal(read(other), content())


def test_parts_that_no_checkpoint_names_are_removed(whole):
    path = in_parts(whole)
    named = {one.parent for one in parts_of(path)}
    other = path.with_name("best.ckpt")
    convert(whole, other, 2)
    named |= {one.parent for one in parts_of(path)}
    (path.parent / "parts-000001-abcdef12").mkdir()
    path.with_name("torn.ckpt").write_bytes(b"no checkpoint")
    remove_unnamed(path.parent)
    assert len([*path.parent.glob("parts-*")]) == 3, "a file that cannot be read may name any that are older"
    later = path.parent / "parts-000002-abcdef12"
    later.mkdir()
    os.utime(later, (time.time() + 60,) * 2)
    remove_unnamed(path.parent)
    assert len([*path.parent.glob("parts-*")]) == 3 and not later.exists()
    path.with_name("torn.ckpt").unlink()
    remove_unnamed(path.parent)
    assert {*path.parent.glob("parts-*")} == named
    assert equal(read(path), content()) and equal(read(other), content())


def test_the_script_converts_and_overwrites_nothing(whole, capfd):
    path = whole.with_name("split.ckpt")
    ended = run_script(capfd, "convert_checkpoint", whole, path, "--parts", 2)
    assert (ended.status, ended.stderr) == (0, "") and equal(read(path), content())
    before = path.read_bytes()
    ended = run_script(capfd, "convert_checkpoint", whole, path)
    assert ended.status == 2 and f"{path}: is there already" in ended.stderr and path.read_bytes() == before


@pytest.mark.parametrize("target", ["{folder}/whole.ckpt/x.ckpt", "/proc/x.ckpt"])
def test_a_place_that_cannot_be_written_is_told(whole, tmp_path, capfd, target):
    target = target.format(folder=whole.parent)
    ended = run_script(capfd, "convert_checkpoint", whole, target, "--parts", 2)
    assert ended.status == 2 and f"{target}: cannot be written" in ended.stderr
    assert run_script(capfd, "convert_checkpoint", whole, tmp_path / "x.ckpt", "--parts", 10**9).status == 2
    assert [*whole.parent.iterdir()] == [whole]


def test_a_name_under_which_its_parts_would_be_lost_is_refused(whole, capfd):
    ended = run_script(capfd, "convert_checkpoint", whole, whole.with_suffix(".pt"), "--parts", 2)
    assert ended.status == 2 and "ends in .ckpt" in ended.stderr
    assert [*whole.parent.iterdir()] == [whole]
