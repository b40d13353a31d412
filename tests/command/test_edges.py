"""Promises of every program's edges: a console that cannot show or take text, signals at any moment, a lost parent.

Each program here is a few lines in a process of its own, which takes a third of a second.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

import frontpage.command.program
from frontpage.command.errors import UserError
from frontpage.command.interrupts import heard
from frontpage.command.process_family import FIRST_PROCESS
from frontpage.command.program import FULL_ERROR, program

PATIENCE = 60  # seconds after which a program hangs


def start(body: str, **options) -> subprocess.Popen:
    """A program whose `main` has that body, as a user starts it."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    text = f"from frontpage.command.program import program\nimport os, signal, sys\ndef main():\n{lines}\nprogram(main)"
    environment = os.environ | options.pop("environment", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, env=environment, **pipes)


def outcome(body: str, **options) -> tuple[int, bytes, bytes]:
    """(status, stdout, stderr) of such a program."""
    process = start(body, **options)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"},
    ],
    ids=" ".join,
)
def test_a_console_shows_what_its_encoding_lacks_as_escapes(environment):
    body = "print('\\u0436 \\ufffd \\udcff')\nprint('\\u0436', file=sys.stderr)"
    assert outcome(body, environment=environment) == (0, b"\\u0436 \\ufffd \\udcff\n", b"\\u0436\n")


def test_what_a_utf_8_console_can_show_is_shown(tmp_path):
    body = "print('\\u0436 \\udcff')"
    assert outcome(body, environment={"PYTHONIOENCODING": "utf-8"}) == (0, "ж \\udcff\n".encode(), b"")


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_nothing(tmp_path, unbuffered):
    """`| head -1`: the rest is dropped, the work is done, the status is its own."""
    body = f"for i in range(20_000): print('a line that nobody reads', i)\nopen({str(tmp_path / 'done')!r}, 'w')"
    process = start(body, environment={"PYTHONUNBUFFERED": unbuffered})
    assert process.stdout.readline() == b"a line that nobody reads 0\n"
    process.stdout.close()
    with process:
        assert (process.stderr.read(), process.wait(PATIENCE)) == (b"", 0)
    assert (tmp_path / "done").exists()


@pytest.mark.slow
def test_closed_outputs_are_not_missed_and_no_other_file_takes_their_place(tmp_path):
    body = f"file = open({str(tmp_path / 'mine')!r}, 'w')\nprint('lost')\nprint('lost', file=sys.stderr)\n"
    body += "os.write(1, b'lost')\nfile.write('kept')"
    both_closed = {"preexec_fn": lambda: (os.close(1), os.close(2)), "stdout": None, "stderr": None}
    assert outcome(body, **both_closed)[0] == 0
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_output_that_a_full_disk_swallowed_is_no_success(tmp_path):
    with open("/dev/full", "w") as full:
        status, _, stderr = outcome(f"print('lost')\nopen({str(tmp_path / 'done')!r}, 'w')", stdout=full)
    assert (status, stderr) == (1, b"the output could not be written: No space left on device\n")
    assert (tmp_path / "done").exists()


def test_ctrl_c_while_a_program_is_imported_is_quiet():
    text = (
        "from frontpage.command.first_moment import SIGNALS\nimport signal, sys\nsignal.raise_signal(int(sys.argv[1]))"
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        through = [
            sys.executable,
            "-c",
            text.replace("first_moment import SIGNALS", "program import program"),
            str(number),
        ]
        ended = subprocess.run(through, cwd=ROOT, capture_output=True, timeout=PATIENCE)
        assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"interrupted\n", b"")


@pytest.mark.slow
def test_a_module_that_imports_the_edges_for_another_keeps_its_signals():
    text = "import frontpage.analysis.notebooks.notebook_run, signal\n"
    text += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", text], cwd=ROOT, timeout=PATIENCE).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_every_signal_that_asks_for_an_end_gives_130(number):
    body = f"signal.raise_signal({int(number)})\nprint('went on')"
    assert outcome(body) == (130, b"interrupted\n", b"")


@pytest.mark.slow
def test_nohup_is_obeyed():
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert outcome("signal.raise_signal(signal.SIGHUP)\nprint('went on')", **ignored) == (0, b"went on\n", b"")


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "pass"])
def test_a_second_ctrl_c_while_a_program_leaves_is_quiet(ending):
    body = f"import atexit\natexit.register(lambda: signal.raise_signal(signal.SIGINT))\n{ending}"
    status, stdout, stderr = outcome(body)
    assert (status, stderr) == (130, b"") and stdout.endswith(b"interrupted\n")


@pytest.mark.slow
def test_ctrl_c_is_heard_while_native_code_is_deaf():
    """As the trainers of the tokenizers library are; so is a hash that takes an hour."""
    body = "import hashlib, threading\nfrom frontpage.command.interrupts import heard\n"
    body += "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
    body += "heard(hashlib.pbkdf2_hmac, 'sha256', b'', b'', 2**31 - 1)"
    assert outcome(body) == (130, b"interrupted\n", b"")


def test_what_is_heard_returns_and_raises_as_if_called():
    assert heard(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        heard(divmod, 7, 0)


@pytest.mark.slow
def test_a_helper_process_ends_with_the_first_one_of_its_run():
    """SIGKILL of the first: nothing is left that it could do for the others."""
    helper = "import frontpage.command.program, time\nprint('up', flush=True)\ntime.sleep(600)"
    body = (
        "import subprocess\nenvironment = os.environ | {'FRONTPAGE_FIRST_PROCESS': str(os.getpid()), 'LOCAL_RANK': '1'}"
    )
    body += f"\nsubprocess.Popen([sys.executable, '-c', {helper!r}], env=environment).wait()"
    process = start(body)
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate(timeout=PATIENCE)  # until the helper, too, has closed its end


def test_an_argument_that_is_no_text_is_refused(command, tmp_path):
    for argument in ("name=a\udcff", f"hydra.run.dir={tmp_path}/\udcff"):
        ended = command(argument)
        assert ended.status == 2 and "bytes that are not utf-8" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_edges_leave_the_streams_of_others_alone():
    before = sys.stdout
    frontpage.command.program.make_lasting()
    assert sys.stdout is before


def test_an_error_that_a_signal_has_caused_is_no_error():
    body = (
        "try:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    raise AttributeError('half done')"
    )
    assert outcome(body) == (130, b"interrupted\n", b"")


@pytest.mark.parametrize("asked", ["0", "1"])
def test_another_process_of_a_run_shows_a_traceback_where_the_user_has_asked_for_it(monkeypatch, capfd, asked):
    def refuse():
        raise UserError("x=1: another value")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    of_child = {"LOCAL_RANK": "1", FIRST_PROCESS: str(os.getppid()), "HYDRA_FULL_ERROR": "1", FULL_ERROR: asked}
    for name, value in of_child.items():  # what Hydra is told is inherited
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        program(refuse)
    said = capfd.readouterr().err
    assert ended.value.code == 2 and ("Traceback" in said) == (asked == "1") and "x=1: another value" in said
