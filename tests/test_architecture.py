"""The structure of the package: which folder may import which, and what each file may hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skec"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each folder may import. All lie below it, so there can be no cycle.
BELOW = {
    "utils": set(),
    "networks": {"utils"},
    "training": {"networks", "utils"},
    "calibration": {"networks", "utils"},
    "criteria": {"calibration", "networks", "utils"},
    "allocation": {"calibration", "networks", "utils"},
    "compensation": {"calibration", "networks", "utils"},
}
BELOW["pruning"] = set(BELOW)
BELOW["bounds"] = set(BELOW)
BELOW["estimators"] = set(BELOW)
BELOW["interop"] = {*BELOW["estimators"], "estimators"}
BELOW["datasets"] = {"utils"}

OTHER_ESTIMATORS = {
    "sklearn.neural_network",
    "sklearn.linear_model",
    "sklearn.ensemble",
    "sklearn.svm",
    "sklearn.tree",
    "sklearn.pipeline",
    "sklearn.model_selection",
    "skorch",
}
LIBRARIES = {"torch", "nn", "sklearn", "skorch"}
# Private attributes of torch's and skorch's objects that are tempting.
PRIVATE_NAMES = {
    "_modules",
    "_parameters",
    "_buffers",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_tensor_name",
    "_metadata",
    "_reversed_padding_repeated_twice",
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_current_init_context",
    "_set_training",
    "_get_predict_nonlinearity",
    "_initialize_callbacks",
}
# Names of scikit-learn, skorch and torch that are private: only in the files made for that.
PRIVATE_ALLOWED = {
    "utils/private.py",
    "estimators/skorch_parameters.py",
    "estimators/skorch_state.py",
    "estimators/state_files.py",
}


def module_name(file: Path) -> str:
    parts = ("skec", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> list[tuple[str, str, int]]:
    """Absolute module, imported name and line of every import, at whatever depth it stands."""
    name, found = module_name(file), []
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "", node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
            prefix = ".".join(base) if node.level else ""
            module = ".".join(part for part in (prefix, node.module or "") if part)
            found += [(module, alias.name, node.lineno) for alias in node.names]
    return found


def folder(module: str) -> str | None:
    """The folder, or the file at the top, that a module of the package lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "skec" else None


def is_package(module: str) -> bool:
    return PACKAGE.joinpath(*module.split(".")[1:], "__init__.py").exists()


by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))


@by_file
def test_imports_point_down_the_flow(file):
    own = folder(module_name(file))
    for module, name, line in imports(file):
        other = folder(module) if module != "skec" else name
        if own is None or other is None or other == own:
            continue  # the package's own face may import everything
        assert other in BELOW[own], f"line {line}: {own} imports {other}"


@by_file
def test_other_folders_are_imported_from_their_face(file):
    own = folder(module_name(file))
    for module, _, line in imports(file):
        if own is not None and folder(module) not in (None, own):
            assert is_package(module) or module == "skec.utils.private", f"line {line}: {module}"


@by_file
def test_nothing_below_the_estimators_imports_estimators_of_others(file):
    if folder(module_name(file)) in ("estimators", "interop", None):
        return
    for module, _, line in imports(file):
        if folder(module) is None:
            others = [m for m in OTHER_ESTIMATORS if module == m or module.startswith(f"{m}.")]
            assert not others, f"line {line}: {module}"


@by_file
def test_there_are_no_imports_for_type_checking_alone(file):
    assert "TYPE_CHECKING" not in file.read_text()


def test_modules_do_not_import_each_other_in_a_circle():
    known = {module_name(file): file for file in FILES}
    graph = {name: set() for name in known}
    for name, file in known.items():
        for module, imported, _ in imports(file):
            target = f"{module}.{imported}" if f"{module}.{imported}" in known else module
            parents_face = name.startswith(f"{target}.")  # a package imports its own files
            if target in known and target != name and not parents_face:
                graph[name].add(target)
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in sorted(graph[name]):
            visit(target)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


@by_file
def test_private_parts_of_other_libraries_are_in_one_place(file):
    if str(file.relative_to(PACKAGE)) in PRIVATE_ALLOWED:
        return
    for module, name, line in imports(file):
        if folder(module) is None and module.split(".")[0] in ("sklearn", "skorch", "torch"):
            private = [p for p in (*module.split("."), name) if p.startswith("_") and p != "__"]
            assert not private, f"line {line}: {module} {name}"
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in PRIVATE_NAMES, f"line {node.lineno}: {node.attr}"
            of_library = isinstance(node.value, ast.Name) and node.value.id in LIBRARIES
            assert not (of_library and node.attr.startswith("_")), f"line {node.lineno}"


@by_file
def test_a_file_has_one_subject_and_a_function_fits_on_a_screen(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            code = node.end_lineno - first.lineno + 1
            if node.name != "__init__":  # an estimator has as many parameters as it needs
                code += node.body[0].lineno - node.lineno
            assert code <= 60, f"{node.name} has {code} lines"
