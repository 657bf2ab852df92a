"""The rules of the house, checked on the files themselves."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".git", ".venv", ".cache", "__pycache__", ".pytest_cache", ".ruff_cache", "out", "build", "dist"}
ANNOTATED = ("wan_animate", "nodes", "demo", "benchmarks")
HOST_MODULES = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "comfyui_version",
    "nodes",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "server",
    "execution",
}
HEAVY = {"cv2", "onnxruntime", "av", "diffusers", "transformers", "numpy", "PIL", "onnx"}


def project_files(*suffixes: str) -> list[Path]:
    """Files of the project by git's account (tracked, or new and not ignored); without git, those on disk."""
    try:
        listed = (
            subprocess.run(
                ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                cwd=ROOT,
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .split("\0")
        )
        paths = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not SKIPPED & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in set(paths) if path.is_file() and path.suffix in suffixes)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of the modules imported absolutely anywhere below a node."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def imports_on_load(path: Path) -> set[str]:
    """What a module imports when it is loaded: everything outside functions and `if TYPE_CHECKING`."""
    found = set()
    pending = list(parsed(path).body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= imports(node)
        pending += ast.iter_child_nodes(node)
    return found


def test_the_engine_never_imports_the_host():
    engine = project_files(".py")
    engine = [path for path in engine if path.is_relative_to(ROOT / "wan_animate")]
    assert len(engine) > 10
    for path in engine:
        tree = parsed(path)
        assert not imports(tree) & (HOST_MODULES | {"demo"}), path
        assert "wan_animate" not in imports(tree), (
            f"{path}: inside ComfyUI the engine has another name; import relatively"
        )


def test_the_engine_imports_with_no_host_on_the_path():
    kernels = {  # PyTorch brings Triton on Linux, not every version with all that they need
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in project_files(".py")
        if path.is_relative_to(ROOT / "wan_animate" / "kernels") and "triton" in imports_on_load(path)
    }
    code = (
        "import pkgutil, importlib, sys; sys.path.insert(0, sys.argv[1]); import wan_animate\n"
        "names = [m.name for m in pkgutil.walk_packages(wan_animate.__path__, 'wan_animate.')]\n"
        "for name in names:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError:\n"
        "        if name not in sys.argv[2].split(): raise\n"
        "assert not {'comfy', 'nodes', 'folder_paths'} & set(sys.modules); print(len(names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), " ".join(kernels)], cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_only_the_host_folder_reaches_into_comfy():
    for path in project_files(".py"):
        if not path.is_relative_to(ROOT / "nodes") or path.is_relative_to(ROOT / "nodes" / "host"):
            continue
        assert not imports(parsed(path)) & {"comfy", "comfy_extras"}, path


def test_loading_the_pack_imports_nothing_heavy():
    for path in (ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py")):
        assert not imports_on_load(path) & HEAVY, path


def module_graph(*folders: str) -> dict[str, set[str]]:
    """Which module of ours imports which, wherever in the file it does (not for types alone)."""
    files = [path for path in project_files(".py") if path.relative_to(ROOT).parts[0] in folders]
    names = {}
    for path in files:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {name: set() for name in names}
    for name, path in names.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        pending = list(parsed(path).body)
        while pending:
            node = pending.pop()
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *(node.module or "").split(".")]).rstrip(
                    "."
                )
                for alias in node.names:
                    target = f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base
                    if target in names and target != name:
                        graph[name].add(target)
            pending += ast.iter_child_nodes(node)
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Circles of imports, as "a -> b -> a"."""
    graph, found = {name: set(used) for name, used in graph.items()}, []
    while True:
        while leaves := [name for name, used in graph.items() if not used & graph.keys()]:
            for name in leaves:
                del graph[name]
        if not graph:
            return found
        way = [min(graph)]
        while (after := min(graph[way[-1]] & graph.keys())) not in way:
            way.append(after)
        way = way[way.index(after) :]
        found.append(" -> ".join([*way, after]))
        graph[way[-1]].discard(after)


def test_no_modules_import_each_other_in_a_circle():
    graph = module_graph("wan_animate", "nodes")
    assert len(graph) > 100 and sum(map(len, graph.values())) > 200
    found = circles(graph)
    assert not found, "these import each other:\n" + "\n".join(found)


def test_a_circle_of_imports_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert circles(graph) == ["b -> c -> b", "e -> f -> e"]


def unannotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """What has no annotation: parameters (not self and cls) by name, and "return" (not of __init__)."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = [one.arg for one in parameters if one and one.annotation is None and one.arg not in ("self", "cls")]
    return names + ["return"] * (function.returns is None and function.name != "__init__")


@pytest.mark.parametrize("folder", ANNOTATED)
def test_every_function_is_annotated(folder: str):
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: {', '.join(missing)}"
        for path in project_files(".py")
        if path.is_relative_to(ROOT / folder)
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (missing := unannotated(node))
    ]
    assert not found, "not annotated:\n" + "\n".join(found)


def test_no_file_is_longer_than_400_lines():
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in project_files(".py", ".js")}
    found = [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > 400]
    assert not found, "split these by what their parts know:\n" + "\n".join(found)


def project_table() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def listed(name: str) -> list[str]:
    """The strings of one array of pyproject.toml (Python 3.10 has no TOML reader)."""
    return re.findall(r'"([^"]+)"', re.search(rf"^{name} = \[(.*?)\]$", project_table(), re.S | re.M).group(1))


def test_requirements_say_what_pyproject_says():
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n")
    assert [line for line in requirements if line] == listed("dependencies")


def test_nobody_gets_another_torch():
    for name in ("dependencies", "embedded", "ray", "test", "dev"):
        for requirement in listed(name):
            package = re.match(r"[\w.-]+", requirement).group(0).lower().replace("_", "-")
            assert package not in {"torch", "torchvision", "torchaudio", "comfyui"}
            assert ">=" in requirement, f"{requirement}: say the oldest version that works"


def test_every_import_of_the_engine_and_the_nodes_is_declared():
    names = {"opencv-python-headless": "cv2", "pillow": "PIL"}
    declared = {
        names.get(re.match(r"[\w.-]+", one).group(0), re.match(r"[\w.-]+", one).group(0).replace("-", "_"))
        for name in ("dependencies", "embedded", "mediapipe", "ray")
        for one in listed(name)
    }
    # torch and PIL come with any host and with diffusers, and Triton with torch where it comes at all
    known = declared | set(sys.stdlib_module_names) | {"torch", "PIL", "triton"}
    for folder, more in (("wan_animate", set()), ("nodes", HOST_MODULES | {"psutil", "tqdm"})):
        for path in project_files(".py"):
            if path.is_relative_to(ROOT / folder):
                unknown = imports(parsed(path)) - known - more
                assert not unknown, f"{path}: {unknown}"


def test_registry_fields():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    data = tomllib.loads(project_table())
    project, comfy = data["project"], data["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", project["name"]) and len(project["name"]) < 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["license"] == {"text": "Apache-2.0"}
    assert project["urls"]["Repository"].startswith("https://")
    assert comfy["PublisherId"] and comfy["DisplayName"] == "WanAnimateKit"
    assert comfy["requires-comfyui"] == ">=0.33.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_manifest():
    models = json.loads((ROOT / "models_manifest.json").read_text(encoding="utf-8"))["models"]
    assert len({model["name"] for model in models}) == len(models)
    for model in models:
        for name in (model["name"], model["folder"]):
            assert re.fullmatch(r"\w[\w.-]*", name) and ".." not in name, name
        assert Path(model["name"]).suffix in {".safetensors", ".onnx", ".bin", ".gguf"}
        assert model["sha256"] is None or re.fullmatch(r"[0-9a-f]{64}", model["sha256"])
        assert model["size"] is None or model["size"] > 1000
        assert re.fullmatch(r"[\w-]+/[\w.-]+", model["source"]["repo"])
        path = model["source"]["path"]
        assert not path.startswith("/") and ".." not in path.split("/") and path.endswith(Path(model["name"]).suffix)
        assert model["licence"] and isinstance(model["optional"], bool)


def test_workflows_name_files_of_the_manifest():
    models = json.loads((ROOT / "models_manifest.json").read_text(encoding="utf-8"))["models"]
    known = {model["name"] for model in models}
    files = project_files(".json")
    workflows = [path for path in files if path.is_relative_to(ROOT / "workflows")]
    assert len(workflows) >= 4
    for path in files:
        json.loads(path.read_text(encoding="utf-8"))
    for path in workflows:
        for name in re.findall(r'"([\w.-]+\.(?:safetensors|onnx))"', path.read_text(encoding="utf-8")):
            assert name in known, f"{path.name} names {name}, which models_manifest.json does not have"


def test_nothing_of_this_machine_is_in_the_project():
    # spelled in parts, so that this file does not contain them
    forbidden = [
        "/work" + "/",
        "pypi" + ".org",
        "registry." + "npmjs",
        "deb." + "debian.org",
        "file:" + "///opt",
        "index" + "-url",
    ]
    for path in project_files(".py", ".js", ".json", ".toml", ".txt", ".md", ".yaml", ".yml", ".sh", ""):
        text = path.read_text(encoding="utf-8", errors="replace")
        for word in forbidden:
            assert word not in text, f"{path.relative_to(ROOT)} contains {word}"
