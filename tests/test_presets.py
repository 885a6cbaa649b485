"""Presets, shell completion and the man page: what the parser gives beside the commands themselves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unshrink.cli import main as cli
from unshrink.cli.arguments import make_parser
from unshrink.cli.presets import COMMANDS, config_file, expanded

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    monkeypatch.setenv("UNSHRINK_CONFIG", str(path))
    path.write_text(re.search(r"```toml\n(\[downscale.archive\].*?)```", page("cli"), re.DOTALL)[1])
    return path


def page(name):
    return (ROOT / f"docs/{name}.md").read_text()


def parsed(*arguments):
    return make_parser().parse_args(expanded(arguments))


# -- presets -------------------------------------------------------------------------------------------------------


def test_a_preset_stands_for_its_options_and_the_command_line_wins(config):
    args = parsed("downscale", "a.png", "--preset", "archive")
    assert (args.inputs, args.scale, args.effort, args.format, args.existing) == (["a.png"], 2, 5, "webp", "skip")
    args = parsed("downscale", "--effort", "0", "--preset=archive", "a.png", "b.png", "-s", "4")
    assert (args.inputs, args.scale, args.effort, args.format) == (["a.png", "b.png"], 4, 0, "webp")
    assert parsed("upscale", "a.png", "--preset", "archive").format == "tiff"
    assert parsed("downscale", "a.png").effort == 0
    assert parsed("downscale", "--", "--preset").inputs == ["--preset"]
    config.write_text("[downscale.a]\nmax_pixels = 5\nname = '{stem}-s{ext}'\nverify = true\nlossy = false")
    args = parsed("downscale", "a.png", "--preset", "a")
    assert (args.max_pixels, args.name, args.verify, args.lossy) == (5, "{stem}-s{ext}", True, False)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no preset 'a' of downscale in {}: there are none"),
        ("[downscale.b]\n[downscale.c]\n[upscale.a]", "there are b, c"),
        ("downscale = 3", "there are none"),
        ("[downscale.a", "cannot read {}: "),
        ("[downscale.a]\neffort = [1]", "{}: effort must be a text, a number, true or false, not [1]"),
        ("[downscale.a]\neffort = 12", "argument --effort: invalid choice: 12"),
        ("[downscale.a]\nefort = 1", "unrecognized arguments: --efort=1"),
    ],
)
def test_what_is_wrong_with_presets_is_one_line(config, capsys, text, message):
    config.write_text(text)
    assert cli.main(["downscale", "a.png", "--preset", "a"]) == cli.USAGE
    assert message.format(config) in capsys.readouterr().err.splitlines()[-1]


def test_without_a_file_it_is_said_where_it_would_be(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("UNSHRINK_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cli.main(["upscale", "a.png", "--preset", "a"]) == cli.USAGE
    assert str(config_file()) in capsys.readouterr().err
    if sys.platform == "linux":
        assert config_file() == tmp_path / "unshrink/config.toml"


def test_commands_with_presets_are_those_that_say_so():
    parser = make_parser()
    helps = {name: command.format_help() for name, command in parser._subparsers._group_actions[0].choices.items()}
    assert {name for name, text in helps.items() if "--preset" in text} == set(COMMANDS)


# -- completion and man page ---------------------------------------------------------------------------------------


def completed(script, words, folder):
    """What bash offers for the last of the words."""
    command = f"""
        source {script}; COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _shtab_unshrink 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=folder, check=True)
    return set(done.stdout.split())


def test_completion_knows_commands_options_choices_and_files(tmp_path):
    shtab = pytest.importorskip("shtab")
    script = tmp_path / "completion"
    script.write_text(shtab.complete(make_parser(), "bash"))
    (tmp_path / "photo.png").touch()
    assert completed(script, "unshrink dow", tmp_path) == {"downscale"}
    assert {"--effort", "--preset"} <= completed(script, "unshrink downscale --", tmp_path)
    assert completed(script, "unshrink downscale --format we", tmp_path) == {"webp"}
    assert completed(script, "unshrink downscale pho", tmp_path) == {"photo.png"}
    assert completed(script, "unshrink downscale photo.png -o pho", tmp_path) == {"photo.png"}
    assert completed(script, "unshrink info pho", tmp_path) == {"photo.png"}
    assert "_files" in shtab.complete(make_parser(), "zsh")


def test_the_commands_of_the_page_make_both(tmp_path):
    pytest.importorskip("shtab")
    pytest.importorskip("build_manpages")
    commands = re.findall(r"^    ((?:shtab|argparse-manpage) (?:.*\\\n)?.*)$", page("install"), re.MULTILINE)
    assert len(commands) == 3
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "HOME": str(tmp_path), "PATH": paths, "PYTHONPATH": str(ROOT / "src")}
    for folder in (".local/share/bash-completion/completions", ".zfunc", ".local/share/man/man1"):
        (tmp_path / folder).mkdir(parents=True)
    for command in commands:
        subprocess.run(["bash", "-c", command], env=env, check=True, capture_output=True)
    assert "unshrink downscale" in (tmp_path / ".local/share/man/man1/unshrink.1").read_text()
    assert "_shtab_unshrink" in (tmp_path / ".local/share/bash-completion/completions/unshrink").read_text()
    assert (tmp_path / ".zfunc/_unshrink").read_text().startswith("#compdef unshrink")
