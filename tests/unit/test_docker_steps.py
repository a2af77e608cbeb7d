"""The Dockerfile's steps, done in a temporary folder: no Docker daemon is needed to know that the image would start."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest

from tests.unit.test_requirements import normal, read_pins

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """One build stage: where it starts from, and its instructions in order."""

    base: str
    steps: tuple[tuple[str, str], ...]

    def of(self, instruction: str) -> list[str]:
        """The arguments of each such instruction."""
        return [arguments for name, arguments in self.steps if name == instruction]


def read_stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\s*\n", " ", lines)
    steps = [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in lines.splitlines())]
    starts = [number for number, (name, _) in enumerate(steps) if name == "FROM"]
    return [
        Stage(steps[start][1].split()[0], tuple(step for step in steps[start + 1 : end] if step[0]))
        for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)
    ]


def copied(stage: Stage) -> list[tuple[tuple[str, ...], str]]:
    """What a stage copies from the build context: sources and destination."""
    found = []
    for arguments in stage.of("COPY"):
        words = shlex.split(arguments)
        if not any(word.startswith("--from") for word in words):
            *sources, destination = (word for word in words if not word.startswith("--"))
            found.append((tuple(sources), destination))
    return found


def kept_out(path: PurePosixPath, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps a file out of the build context: the last pattern that matches it or a parent."""
    out = False
    for line in patterns:
        pattern = line.removeprefix("!").strip("/")
        regex = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        if any(re.fullmatch(regex, parent.as_posix()) for parent in (path, *path.parents)):
            out = not line.startswith("!")
    return out


def context(root: Path) -> list[PurePosixPath]:
    """Every file that reaches the build."""
    patterns = [
        line for line in (root / ".dockerignore").read_text().splitlines() if line.strip() and not line.startswith("#")
    ]
    tops = [path for path in root.iterdir() if not (path.is_dir() and path.name in {".git", ".venv"})]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file()]
    relative = (PurePosixPath(file.relative_to(root).as_posix()) for file in files)
    return sorted(path for path in relative if not kept_out(path, patterns))


def copy_as_docker_does(root: Path, stage: Stage, folder: Path) -> None:
    """Do a stage's COPY instructions, with ``folder`` for its root and for its working directory."""
    files = context(root)
    for sources, destination in copied(stage):
        into = folder / destination.lstrip("/")
        for source in (PurePosixPath(source) for source in sources):
            chosen = [path for path in files if source == path or source in path.parents]
            assert chosen, f"COPY {source}: no such file in the build context"
            for path in chosen:
                if source in path.parents:
                    target = into / path.relative_to(source)
                else:
                    target = into / path.name if destination.endswith("/") else into
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / path, target)


BUILD, IMAGE = read_stages((ROOT / "Dockerfile").read_text())
LEFT_OUT = {
    line
    for line in (ROOT / "requirements/not-in-image.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def test_only_what_the_image_is_made_of_reaches_the_build() -> None:
    """.dockerignore keeps the tests, .git, .venv, caches and anything lying about out of the build context."""
    tops = {path.parts[0] for path in context(ROOT)}
    assert tops == {"graph_entra", "main.py", "manifest.json", "requirements"}
    assert not any("__pycache__" in path.parts for path in context(ROOT))


@pytest.mark.parametrize(
    ("path", "patterns", "out"),
    [
        ("secret.env", ["*", "!main.py"], True),
        ("main.py", ["*", "!main.py"], False),
        ("tests/main.py", ["*", "!main.py"], True),
        ("requirements/main.txt", ["*", "!requirements/main.txt"], False),
        ("requirements/dev.txt", ["*", "!requirements/main.txt"], True),
        ("graph_entra/lanes.py", ["*", "!graph_entra"], False),
        ("graph_entra/__pycache__/lanes.pyc", ["*", "!graph_entra", "**/__pycache__"], True),
        ("main.py", ["!main.py", "*"], True),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(path: str, patterns: list[str], out: bool) -> None:
    """The last pattern that matches a file or one of its folders decides."""
    assert kept_out(PurePosixPath(path), patterns) is out


def test_both_stages_use_a_python_that_the_suite_runs_on() -> None:
    """The packages are installed and run by the same slim Python, of a version that pyproject.toml allows."""
    assert BUILD.base == IMAGE.base
    version = re.fullmatch(r"python:3\.(\d+)-slim", BUILD.base)
    assert version
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    lowest, below = (int(minor) for minor in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", allowed).groups())
    assert lowest <= int(version[1]) < below


def test_the_build_installs_the_main_pins_by_hash() -> None:
    """Nothing is installed that is not pinned with its hash in requirements/main.txt."""
    commands = [command.strip() for run in BUILD.of("RUN") + IMAGE.of("RUN") for command in run.split("&&")]
    uv, packages = (command for command in commands if "pip install" in command)
    assert re.fullmatch(r"pip install .*--require-hashes -r /build/uv\.txt", uv)
    assert re.fullmatch(
        r"uv pip install .*--require-hashes +--excludes \S*/not-in-image\.txt -r \S*/main\.txt", packages
    )
    assert any(re.fullmatch(r"awk '.*/\^uv==/.*' \S*/main\.txt >/build/uv\.txt", command) for command in commands)
    assert copied(BUILD) == [(("requirements/main.txt", "requirements/not-in-image.txt"), "/build/requirements/")]


def test_what_the_image_leaves_out_is_what_the_lock_has() -> None:
    """A name that no pin has any more would leave nothing out, unnoticed."""
    assert LEFT_OUT
    assert set(read_pins((ROOT / "requirements/main.txt").read_text())) >= LEFT_OUT


def test_the_image_suits_the_platform() -> None:
    """A user of its own, a writable /tmp on a read-only root, no bytecode written, and the SDK's entry point."""
    assert IMAGE.of("USER") == ["sekoiaio-runtime"]
    assert IMAGE.steps[-2:] == (("USER", "sekoiaio-runtime"), ("ENTRYPOINT", '["python", "./main.py"]'))
    assert any("useradd" in command and "sekoiaio-runtime" in command for command in IMAGE.of("RUN"))
    assert any("rm -rf /tmp && ln -s /dev/shm /tmp" in command for command in IMAGE.of("RUN"))
    assert {"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/venv/bin:$PATH"}.items() <= environment(IMAGE).items()
    assert "--from=build /venv /venv" in IMAGE.of("COPY")
    # The SDK reads it from there.
    assert any("manifest.json" in sources and to == "./" for sources, to in copied(IMAGE))


def environment(stage: Stage) -> dict[str, str]:
    """The variables that a stage sets."""
    return dict(word.split("=", 1) for arguments in stage.of("ENV") for word in shlex.split(arguments))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that goes at once: pytest's own would keep three times 30,000 files."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.timeout(300)
def test_the_image_s_steps_start_the_module(folder: Path) -> None:
    """From the copied files and the main pins alone, the entry point starts, imports everything and writes nothing."""
    app = folder / "app"
    copy_as_docker_does(ROOT, BUILD, folder)
    copy_as_docker_does(ROOT, IMAGE, app)
    python = install(folder / "venv", folder / "build/requirements")
    assert installed(python) <= set(read_pins((ROOT / "requirements/main.txt").read_text())) - LEFT_OUT

    before = listing(app)
    variables = environment(IMAGE) | {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder)}
    started = subprocess.run(
        [*json.loads(IMAGE.of("ENTRYPOINT")[0]), "no_such_command"],
        cwd=app,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert started.returncode == 1
    assert re.search(r"CommandNotFoundError: .*no_such_command", started.stderr), started.stderr
    everything = "import importlib, pkgutil, graph_entra as root\n" + (
        "for file in pkgutil.walk_packages(root.__path__, 'graph_entra.'): importlib.import_module(file.name)"
    )
    subprocess.run([str(python), "-Bc", everything], cwd=app, env=variables, timeout=120, check=True)
    assert listing(app) == before, "something was written beside the sources, where the platform mounts read-only"


def install(venv: Path, requirements: Path) -> Path:
    """A new environment with the image's packages; its interpreter. As in the Makefile, pip where uv cannot."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    pins, left_out = str(requirements / "main.txt"), str(requirements / "not-in-image.txt")
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--system-certs", "--python", str(python)]
    done = subprocess.run([*uv, "--quiet", "--require-hashes", "--excludes", left_out, "-r", pins], check=False)
    if done.returncode:
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "--require-hashes", "-r", pins], check=True)
        subprocess.run([*pip, "uninstall", "--yes", "-r", left_out], check=True)
    return python


def installed(python: Path) -> set[str]:
    """The packages that an interpreter has."""
    ask = "from importlib import metadata; print(*(package.name for package in metadata.distributions()))"
    asked = subprocess.run([str(python), "-Bc", ask], capture_output=True, text=True, check=True)
    return {normal(name) for name in asked.stdout.split()}


def listing(folder: Path) -> set[str]:
    """Every file and folder below one."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
