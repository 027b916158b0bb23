import json
import time
from importlib import import_module

import pytest

from palpate import __version__
from palpate.cli import run_data
from palpate.cli.main import COMMANDS, main


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb, objects in COMMANDS.items():
        for noun in objects:
            assert f"{verb} {noun}".strip() in text


def test_every_command_has_a_function_and_help(capsys):
    for verb, objects in COMMANDS.items():
        for noun, (_, function) in objects.items():
            module, _, name = function.partition(".")
            assert callable(getattr(import_module(f"palpate.cli.{module}"), name))
            with pytest.raises(SystemExit) as end:
                main([part for part in (verb, noun, "--help") if part])
            assert end.value.code == 0 and "usage" in capsys.readouterr().out


def test_wrong_commands_list_the_allowed_ones(capsys):
    assert main(["fly"]) == 2
    assert "unknown command 'fly'; allowed: collect" in capsys.readouterr().err
    assert main(["collect", "apples"]) == 2
    assert "got 'apples'; allowed: gentle" in capsys.readouterr().err
    assert main([]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"palpate {__version__}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interruptions_and_a_full_disk_end_in_a_message(error, monkeypatch, capsys, tmp_path):
    def broken(config):
        raise error

    monkeypatch.setattr(run_data, "collect", broken)
    code = main(["collect", "gentle", "--out", str(tmp_path)])
    message = capsys.readouterr().err
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert "--resume" in message and "Traceback" not in message


def test_info_of_a_folder_without_data_names_it(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_runs_small_and_says_what_it_made(tmp_path, capsys):
    sizes = ["--trials", "44", "--grasps", "2", "--epochs", "1", "--image-size", "64", "--workers", "1"]
    started = time.perf_counter()
    assert main(["demo", "--out", str(tmp_path / "demo"), *sizes]) == 0
    text = capsys.readouterr().out
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "report.html" in text and "vision + touch + action" in text.lower().replace("vision, touch", "vision + touch")
    assert page.count("data:image") > 8 and 'src="http' not in page
    again = time.perf_counter()
    assert main(["demo", "--out", str(tmp_path / "demo"), *sizes]) == 0, "a second run uses what the first one made"
    assert time.perf_counter() - again < again - started
    assert json.loads((tmp_path / "demo" / "grasps" / "random" / "grasps.json").read_text())
