"""`archrep` itself: instant help, one line for an error, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types

import pytest

from archrep import __version__
from archrep.cli import main as cli
from archrep.errors import ConfigError, UnknownNameError

ARCHREP = [sys.executable, "-m", "archrep.cli.main"]


@pytest.fixture
def command(monkeypatch):
    """Adds a command `try` that calls a given function."""

    def add(function):
        module = types.ModuleType("tried")
        module.main = function
        monkeypatch.setitem(sys.modules, "tried", module)
        monkeypatch.setitem(cli.COMMANDS, "try", ("tried", "a command of this test"))

    return add


def raises(error):
    def main(argv):
        raise error

    return main


def test_help_is_instant():
    start = time.perf_counter()
    shown = subprocess.run([*ARCHREP, "--help"], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - start < 1
    assert all(name in shown for name in cli.COMMANDS)
    assert "example: archrep" in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from archrep.cli.main import main; main(['--help']); "
        "print({'torch', 'numpy', 'tyro', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("set()\n")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"archrep {__version__}\n"


def test_no_command_is_a_usage_error_that_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "usage: archrep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("pretran", "archrep: no command 'pretran'. Did you mean 'pretrain'?\n"),
        ("--versoin", "archrep: no option '--versoin'. Did you mean '--version'?\n"),
    ],
)
def test_a_mistyped_command_gets_a_suggestion(typed, answer, capsys):
    assert cli.main([typed]) == 2
    assert capsys.readouterr().err == answer


def test_a_command_like_no_other_gets_the_list(capsys):
    assert cli.main(["xyz"]) == 2
    assert ", ".join(cli.COMMANDS) in capsys.readouterr().err


def test_a_command_gets_its_arguments_and_gives_the_exit_code(command):
    got = []
    command(lambda argv: got.extend(argv) or 7)
    assert cli.main(["try", "a", "--b"]) == 7
    assert got == ["a", "--b"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UnknownNameError("No such thing."), "archrep try: No such thing.\n"),
        (ConfigError("First problem.\nSecond one."), "archrep try: First problem. Second one.\n"),
        (
            OSError(28, "No space left on device", "/x"),
            "archrep try: No space left on device: /x.\n",
        ),
        (OSError("odd"), "archrep try: odd.\n"),
    ],
)
def test_an_error_of_the_user_or_the_disk_is_one_line_and_exit_code_1(error, line, command, capsys):
    command(raises(error))
    assert cli.main(["try"]) == 1
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_too_little_memory_is_one_line(error, command, capsys):
    command(raises(error))
    assert cli.main(["try"]) == 1
    printed = capsys.readouterr().err
    assert "not enough free memory" in printed
    assert len(printed.splitlines()) == 1


def test_an_error_of_ours_keeps_its_traceback(command):
    command(raises(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


def test_a_missing_package_points_at_the_doctor(monkeypatch, capsys):
    monkeypatch.setitem(cli.COMMANDS, "try", ("no_such_module", "needs what is not there"))
    assert cli.main(["try"]) == 1
    error = capsys.readouterr().err
    assert "no_such_module" in error
    assert "archrep doctor" in error


@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_of_a_parser_is_passed_on(code, command):
    command(raises(SystemExit(code)))
    assert cli.main(["try"]) == code


def test_interrupt_is_one_line_and_exit_code_130(command, capsys):
    command(raises(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == "archrep try: interrupted.\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_running_process_with_one_line():
    command = [*ARCHREP, "cells", "nasbench201", "--check"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        process.stdin.write("12\n")
        process.stdin.flush()
        assert process.stdout.readline()  # everything is imported and stdin is being read
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (130, "archrep cells: interrupted.\n")


def test_a_reader_that_stops_early_is_no_error():
    command = f"{' '.join(ARCHREP)} cells nasbench201 --all | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "0"
