"""The image and the services that run it, as far as they can be held to account without a container engine."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sartorius.cli import build_app

PROJECT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IGNORED = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with what they are given, comments and line breaks taken out."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines.splitlines() if line)]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, the first being its FROM."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def given(word: str) -> list[str]:
    """What the last stage gives an instruction, each time that it stands there."""
    return [rest for there, rest in stages()[-1] if there == word]


def reaches_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last line that matches it or a folder of it decides."""
    parts = path.split("/")
    places = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    kept = True
    for line in filter(lambda line: line and not line.startswith("#"), IGNORED):
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        if any(fnmatch(place, pattern) or (anywhere != pattern and fnmatch(place, f"*/{anywhere}")) for place in places):  # fmt: skip
            kept = line.startswith("!")
    return kept


def test_the_image_is_built_in_one_stage_and_run_in_another_on_one_base_with_an_exact_version():
    arguments = dict(rest.split("=") for word, rest in instructions() if word == "ARG")
    assert [stage[0][1] for stage in stages()] == ["${CUDA_IMAGE} AS build", "${CUDA_IMAGE}"]
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.04", arguments["CUDA_IMAGE"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", arguments["UV_VERSION"])


def test_it_runs_as_a_user_without_rights_named_by_a_number():
    (user,) = given("USER")
    uid, gid = map(int, user.split(":"))
    assert uid == gid > 1000
    last_run = max(at for at, (word, _) in enumerate(stages()[-1]) if word == "RUN")
    assert f"--uid {uid}" in stages()[-1][last_run][1]


def test_everything_that_is_copied_is_there_and_reaches_the_builder():
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(sources) >= {"setup.cfg", "constraints.txt", "sartorius", "configs", "models"}
    assert [source for source in sources if not (PROJECT / source).exists()] == []
    assert [source for source in sources if not reaches_the_builder(source)] == []
    assert reaches_the_builder("sartorius/cli/train.py")


def test_what_is_copied_from_the_first_stage_was_made_there():
    copied = [rest.split()[-2] for rest in given("COPY")]
    first = " ".join(rest for _, rest in stages()[0])
    assert copied == ["/opt/venv", "/workspace"]
    assert all(folder in first for folder in copied)


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".env", "data/train.csv", "runs/r50/fold0/model.pth", "kaggle.json", ".kaggle/kaggle.json",
        ".venv/bin/python", "sartorius/__pycache__/rle.pyc", "sartorius/cli/__pycache__/train.pyc", "tests/conftest.py",
    ],
)  # fmt: skip
def test_data_secrets_and_what_is_made_on_the_way_do_not_reach_the_builder(path):
    assert not reaches_the_builder(path)


def test_every_package_is_held_to_its_pin():
    steps = [step for word, rest in instructions() if word == "RUN" for step in rest.split("&&")]
    installs = [step.split("uv pip install ")[1] for step in steps if "uv pip install " in step]
    assert len(installs) == 3
    assert all("-c constraints.txt" in install or "--no-deps" in install for install in installs)
    assert "--extra detectron --extra app" in installs[1]
    pins = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in pins for name in ("setuptools", "torch", "torchvision", "gradio"))
    assert pins.count("--hash=sha256:") > pins.count("==")


@pytest.mark.parametrize("service", ["train", "predict", "app"])
def test_a_service_calls_the_command_line_rightly(service):
    assert given("ENTRYPOINT") == ['["sartorius"]']
    command, arguments = get_command(build_app()), SERVICES[service]["command"]
    context = command.make_context("sartorius", list(arguments))
    name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    assert name == service
    command.make_context(name, rest, parent=context)
    files = [argument for argument in arguments if argument.endswith(".yaml")]
    assert [file for file in files if not (PROJECT / file).is_file()] == []


@pytest.mark.parametrize("service", ["train", "predict", "app"])
def test_a_service_has_a_gpu_and_the_users_data_and_runs(service):
    settings = SERVICES[service]
    (device,) = settings["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    (workdir,) = given("WORKDIR")
    volumes = {volume["target"]: volume for volume in settings["volumes"]}
    assert set(volumes) == {f"{workdir}/{name}" for name in ("configs", "data", "runs")}
    assert volumes[f"{workdir}/data"]["read_only"]
    assert "read_only" not in volumes[f"{workdir}/runs"]
    assert settings["user"].startswith("${SARTORIUS_USER:-" + given("USER")[0])


def test_the_page_is_published_to_this_machine_alone():
    port = SERVICES["app"]["command"][SERVICES["app"]["command"].index("--port") + 1]
    assert SERVICES["app"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert given("EXPOSE") == [port]
    assert not any("ports" in SERVICES[service] for service in ("train", "predict"))


def test_the_health_check_asks_the_page_and_fails_without_an_answer(monkeypatch):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    (kind, interpreter, option, code) = SERVICES["app"]["healthcheck"]["test"]
    assert (kind, interpreter, option) == ("CMD", "python", "-c")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # Docker hands on the user's, which knows no page
    server = HTTPServer(("127.0.0.1", 0), Page)
    asked = code.replace("7860", str(server.server_port)).replace("timeout=5", "timeout=300")  # busy machines
    Thread(target=server.serve_forever, daemon=True).start()
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
    server.shutdown()
    server.server_close()
    assert subprocess.run([sys.executable, "-c", asked], check=False, capture_output=True).returncode != 0


def test_every_command_of_the_comments_names_a_service():
    text = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    calls = re.findall(r"docker compose (?:run --rm|up) (\S+)", text)
    assert set(calls) == set(SERVICES)
