"""Output on a terminal, by rich, and elsewhere, as plain lines."""

from __future__ import annotations

import io
import sys

import pytest

from mrcascade.cli import main, progress, terminal
from mrcascade.cli.progress import ProgressBar

HEADER, ROWS = ("mode", "cost", "for"), [("mean", "1", "[bold]a"), ("paper", "13", "b")]


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Put stdout and stderr on one terminal; in a test itself, as pytest replaces them before."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    found = Screen()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setattr(sys, "stderr", found)
    return found


def test_a_table_in_a_pipe_is_markdown(capsys) -> None:
    terminal.table(HEADER, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "| mode  | cost | for     |",
        "| ----- | ---: | ------- |",
        "| mean  |    1 | [bold]a |",
        "| paper |   13 | b       |",
    ]


def test_a_table_on_a_terminal_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    terminal.table(HEADER, ROWS)
    drawn = screen.getvalue()
    assert "┃" in drawn
    assert "[bold]a" in drawn  # a text is no markup
    assert "---:" not in drawn


def test_names_stay_whole_where_a_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setenv("COLUMNS", "60")
    name = "mr-small-baselines/half-resolution"
    terminal.table(("prior", "people"), [(name, "a long list of people " * 5)])
    assert name in screen.getvalue()
    assert "…" not in screen.getvalue()


@pytest.mark.parametrize("dumb", [False, True])
def test_errors_have_colour_on_a_terminal_alone(
    dumb: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = on_screen(monkeypatch)
    if dumb:
        monkeypatch.setenv("TERM", "dumb")
    long = "x" * 300  # one line, whatever the width
    terminal.problem(f"[red]{long}\x1b[2J")
    terminal.note("b")
    first, second = screen.getvalue().splitlines()
    plain = f"[red]{long}\\x1b[2J"
    assert first.endswith(plain)
    assert second.endswith("b")
    assert (first == f"mrcascade: {plain}") is dumb
    assert ("\x1b[1;31mmrcascade: \x1b[0m" in first) is not dumb


def test_an_error_in_a_pipe_has_no_colour(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["info", "nothing"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mrcascade: nothing: neither a prior")
    assert "\x1b" not in error


def test_a_bar_shows_count_times_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    clock = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    bar = ProgressBar(fractions=True)
    bar.start(4, name="[a].npy")
    for done in (0.5, 2.0, 1.0):  # a batch that is repeated goes back
        clock[0] += 10
        bar.at(done, "1 more file")
        assert bar._bar is not None
        bar._bar.refresh()
    drawn = screen.getvalue()
    for shown in ("[a].npy", "0.5 of 4 slices", "2.0 of 4 slices", "1.0 of 4 slices"):
        assert shown in drawn
    assert "0:20 remaining, 1 more file" in drawn  # 2 of 4 in 20 s
    assert "1:30 remaining, 1 more file" in drawn  # 1 of 4 in 30 s
    bar.say("a note")
    terminal.problem("a fault")
    bar.close()
    printed = screen.getvalue()[len(drawn) :]
    assert "a note\n" in printed
    assert "a fault\n" in printed
    assert not screen.getvalue().endswith("remaining")


def test_results_go_to_their_file_while_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    results = io.StringIO()
    monkeypatch.setattr(sys, "stdout", results)
    bar = ProgressBar()
    bar.start(2)
    bar.say("a.npy: done")
    bar.close()
    assert results.getvalue() == "a.npy: done\n"
    assert "a.npy" not in screen.getvalue()
