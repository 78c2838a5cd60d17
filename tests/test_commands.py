"""The command gsjax: its commands, the recipes it knows by name, and where it is installed."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gsjax.__main__ import COMMANDS
from gsjax.config import recipes
from gsjax.errors import UserError

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*arguments, cwd=ROOT):
    program = "from gsjax.__main__ import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    env = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_help_lists_each_command_in_a_line_and_imports_no_flags():
    program = "import sys, gsjax.__main__ as m; m.main(); print('absl' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True
    )
    listed = re.findall(r"^  (\w+)  +\w.*$", result.stdout, re.MULTILINE)
    assert listed == list(COMMANDS)
    assert result.stdout.endswith("False\n")


@pytest.mark.parametrize("module", [module for module, _ in COMMANDS.values()])
def test_every_command_is_a_module_that_runs(module):
    path = ROOT / module.replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert 'if __name__ == "__main__":\n    cli.run(main' in file.read_text()


def test_an_unknown_command_exits_with_2_and_a_suggestion():
    result = run("inpant")
    assert result.returncode == 2
    assert result.stderr == "error: gsjax has no command 'inpant'; did you mean inpaint?\n"


def test_no_command_exits_with_2_and_shows_the_help():
    result = run()
    assert result.returncode == 2
    assert "gsjax COMMAND" in result.stderr


def test_a_command_gets_its_flags_and_shows_its_own_help(tmp_path):
    result = run("inpaint", "--image=x.png", "--outptu=y.png", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: there is no flag --outptu; did you mean --output?\n"
    assert "--grow: pixels" in run("inpaint", "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("given", [["--config=published"], ["--config", "published"]])
def test_a_recipe_is_known_by_its_name_in_any_folder(given, tmp_path):
    shown = run("train", *given, "--help", cwd=tmp_path).stdout
    assert "data.train='folder:datasets/celeba_hq/train'" in shown  # that of celeba
    assert "dino.normalize=False" in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("phots", "--config: there is no recipe or file phots; did you mean photos?"),
        ("configs/photos.py", "there is no file configs/photos.py; did you mean photos?"),
        ("celeba:peper", "this file has no recipe 'peper'; there are code and paper"),
    ],
)
def test_a_wrong_recipe_is_named_in_one_line(given, message, tmp_path):
    result = run("train", f"--config={given}", cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_file_comes_before_a_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipes.find("photos:x") == f"{ROOT}/configs/photos.py:x"
    (tmp_path / "photos").touch()
    assert recipes.find("photos:x") == "photos:x"


def test_a_recipe_that_does_not_exist_is_a_user_error():
    with pytest.raises(UserError, match="no recipe 'celebb'; did you mean celeba"):
        recipes.recipe("celebb")


def test_the_dockerfile_copies_what_exists_and_what_the_build_context_has():
    context = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [
        source
        for words in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)
        for source in words.split()[:-1]
    ]
    assert {"pyproject.toml", "setup.py", "gsjax", "configs"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in context


def test_the_dockerfile_installs_extras_that_exist_on_a_python_that_is_supported():
    extras = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE)
    assert len(extras) == 2
    assert set(",".join(extras).split(",")) <= PROJECT["optional-dependencies"].keys()
    assert re.search(r"^ARG PYTHON=3\.1[12]$", DOCKERFILE, re.MULTILINE)


def test_the_dockerfile_runs_the_command_that_is_installed():
    assert 'ENTRYPOINT ["gsjax"]' in DOCKERFILE
    assert PROJECT["scripts"] == {"gsjax": "gsjax.__main__:main"}


@pytest.mark.skipif(shutil.which("sed") is None, reason="needs sed")
def test_the_constraints_of_the_dockerfile_have_no_extras():
    program = re.search(r"sed '([^']+)' /tmp/requirements.txt", DOCKERFILE)[1]
    lines = subprocess.run(
        ["sed", program, str(ROOT / "requirements.txt")], capture_output=True, text=True
    ).stdout.splitlines()
    assert "etils==1.15.0" in lines
    assert not [line for line in lines if "[" in line.partition("#")[0]]
