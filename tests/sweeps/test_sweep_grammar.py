"""Every form of Hydra's grammar in a search: it draws what it says, or is refused in one line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from messages import check_message

from frontpage.command.errors import UserError
from frontpage.command.mistakes import explain
from frontpage.sweeps.ranges import MOST_POINTS
from frontpage.sweeps.space import overrides_of, read_space


def drawn(line):
    """The values that the runs of a space's corners get, as Hydra reads them from their overrides."""
    space = read_space({}, [line])
    points = list(space.corners()) if space.distributions else [{}]
    said = [[*overrides_of(point, space.distributions), *space.fixed] for point in points]
    read = [OverridesParser.create().parse_overrides(one)[0] for one in said]
    assert not any(one.is_sweep_override() for one in read)
    values = [one.value() for one in read]
    return [value for place, value in enumerate(values) if value not in values[:place]]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("x=choice(1,2)", [1, 2]),
        ("x=choice(2.5,true,abc)", [2.5, "abc", True]),
        ("x=1,null", [1, None]),
        ("x=choice('a b','c, d')", ["a b", "c, d"]),
        ("x='a b','c, d'", ["a b", "c, d"]),
        ('x=choice("it\'s",\'say "x"\')', ["it's", 'say "x"']),
        ("x='it\\'s',\"a\\\\\\\"b\"", ["it's", 'a\\"b']),
        ("x=choice('1','null')", ["1", "null"]),
        ("x=choice('','[a]','{a:b}')", ["", "{a:b}", "[a]"]),
        ("x=choice('a=b',a\\,b)", ["a=b", "a,b"]),
        ("x=choice([1,2],[3,'a b'])", [[1, 2], [3, "a b"]]),
        ("x=choice({a:1},{a:'b c'})", [{"a": 1}, {"a": "b c"}]),
        ("x=[1,2],[3]", [[1, 2], [3]]),
        ("x=str(choice(1,2))", ["1", "2"]),
        ("x=int(choice(1.5,2.5))", [1, 2]),
        ("x=choice(${seed},2)", ["${seed}", 2]),
        ("x=range(3)", [0, 2]),
        ("x=range(0,1,0.25)", [0.0, 0.75]),
        ("x=range(10,1,-3)", [4, 10]),
        ("x=sort(3,1,2)", [1, 3, 2]),
        ("x=sort(choice(a,b),reverse=true)", ["b", "a"]),
        ("x=interval(1,2)", [1.0, 2.0]),
        ("x=tag(log,interval(1e-4,1))", [1e-4, 1.0]),
        ("x=tag(log,int(interval(1,8)))", [1, 8]),
        ("x=int(interval(1,8))", [1, 8]),
        ("x=float(interval(1,8))", [1.0, 8.0]),
        ("+x=choice(1,2)", [1, 2]),
        ("++x=choice(1,2)", [1, 2]),
        ("x@y=choice(a,b)", ["a", "b"]),
        ("x/y=choice(a,b)", ["a", "b"]),
        ("x=[1,2]", [[1, 2]]),
        ("x={a:1}", [{"a": 1}]),
        ("x='a, b'", ["a, b"]),
        ("~x", [None]),
        ("~x=1", [1]),
    ],
)
def test_a_range_reaches_the_runs_as_it_is_meant(line, values):
    found = drawn(line)
    assert found == values and [*map(type, found)] == [*map(type, values)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x=choice(1,null)", "choice takes no null; write x=1,null"),
        ("x=choice(null, 'a b')", "choice takes no null; write x=null, 'a b'"),
        ("x=choice()", "not a range of a search"),
        ("x=choice(1,1.0)", "has 1.0 more than once"),
        ("x=choice(true,1)", "has 1 more than once"),
        ("x=choice('a b','a b')", "more than once"),
        ("x=choice(choice(1,2),3)", "not a range of a search"),
        ("x=choice(interval(0,1),2)", "not a range of a search"),
        ("x=[choice(1,2),3]", "has a range inside"),
        ("x={a:choice(1,2)}", "has a range inside"),
        ("x=shuffle(1,2)", "leave shuffle out"),
        ("x=shuffle(range(1,5))", "leave shuffle out"),
        ("x=shuffle([1,2])", "leave shuffle out"),
        ("x=tag(log,choice(1,2))", "knows only tag(log,interval(a,b))"),
        ("x=tag(log,range(1,5))", "knows only tag(log,interval(a,b))"),
        ("x=tag(slow,interval(1,5))", "the only tag that a search knows is log"),
        ("x=interval(0,inf)", "both ends must be finite"),
        ("x=interval(nan,1)", "both ends must be finite"),
        ("x=interval(0,a)", "not a range of a search"),
        ("x=str(interval(0,1))", "not a range of a search"),
        ("x=sort(interval(0,1))", "not a range of a search"),
        ("x=glob(*)", "name the options: choice(a,b)"),
        ("hydra.sweeper.seed=choice(1,2)", "set it beside hydra.sweeper.params"),
        ("+hydra.job.num=3", "set it beside hydra.sweeper.params"),
    ],
)
def test_a_form_that_a_search_cannot_draw_is_refused_in_one_line(line, said):
    with pytest.raises(Exception) as refused:
        read_space({}, [line])
    message = explain(refused.value)
    check_message(message, (line, said))
    assert len(message.splitlines()) == 1


def test_of_a_key_said_twice_the_later_holds_however_it_is_written():
    for later in ("x=3", "+x=3", "++x=3", "~x"):
        space = read_space({"x": "choice(1,2)"}, [later])
        assert space.distributions == {} and space.fixed == [later]


def test_a_space_that_is_nested_is_refused():
    with pytest.raises(UserError, match="name the whole key with dots"):
        read_space({"optimizer": {"lr": "interval(0,1)"}}, [])


@pytest.mark.parametrize(
    "lines", [["x=range(0,1000000000)"], ["x=range(0,1,1e-9)"], ["x=range(0,999)", "y=range(0,999)"]]
)
def test_a_grid_without_end_is_refused_before_it_is_made(lines):
    with pytest.raises(UserError, match=f"at most {MOST_POINTS:,}"):
        read_space({}, lines).grid()


def test_of_many_numbers_only_the_ends_are_looked_at():
    assert len(list(read_space({}, ["x=int(range(0,1000))"]).corners())) == 2
    assert len(list(read_space({}, ["x=" + ",".join(f"option{number}" for number in range(30))]).corners())) == 30
