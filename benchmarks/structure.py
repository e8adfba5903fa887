"""Counts what a reader of a checkout meets: modules, import edges, private names, lines.

python -m benchmarks.structure ../before .
"""

import ast
import collections
import pathlib
import re
import sys

NAMES = "check", "get", "read", "cut"  # words that had many meanings


def counts(root: pathlib.Path) -> dict[str, int]:
    """Returns the counts of the package `kprune` in a checkout."""
    package = root / "kprune"
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    top = {_room(package, path) for path in trees} - {"__init__"}
    edges = set()
    functions: collections.Counter[str] = collections.Counter()
    private = 0
    for path, tree in trees.items():
        here = _room(package, path)
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions[node.name.lstrip("_")] += 1
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kprune"):
                below = node.module.split(".")[1:]
                edges |= {(here, below[0] if below else alias.name) for alias in node.names}
        if here != "_keras":
            private += len(_private_names(tree))
    public = ast.literal_eval(_assigned(trees[package / "__init__.py"], "__all__"))
    return {
        "modules and packages at the top": len(top),
        "names of kprune.__all__": len(public),
        "import edges between them": len({edge for edge in edges if edge[0] != edge[1]}),
        "private names of Keras outside `_keras`": private,
        **{f"functions called {name}": functions[name] for name in NAMES},
        "files": len(trees),
        "lines": sum(path.read_text().count("\n") for path in trees),
    }


def _room(package: pathlib.Path, path: pathlib.Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def _assigned(tree: ast.Module, name: str) -> ast.expr:
    return next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )


KERAS = re.compile(
    r"_(flatten_layers|layers|trainable_variables|non_trainable_variables|inputs_struct|functional"
    r"|build_shapes_dict|kernel|nodes_by_depth|keras_logits|keras_mask|iterations|learning_rate"
    r"|compile_loss|tracker|omit_frequent_tracing_warning)$"
)


def _private_names(tree: ast.Module) -> list[str]:
    """Returns the private names of Keras, and what is set past its tracker."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and KERAS.match(node.attr):
            if ast.unparse(node.value) != "self":
                found.append(node.attr)
        elif isinstance(node, ast.Call):
            code = ast.unparse(node)
            past = re.match(r"object\.__(set|del)attr__\((?!self,)", code)
            asked = re.match(r"(get|has)attr\(\w+, '(_\w+)'", code)
            if past or (asked and KERAS.match(asked[2])):
                found.append(code)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            found.append(node.module or "")
    return found


def main(folders: list[str]) -> None:
    """Prints the counts of each checkout beside each other."""
    columns = [counts(pathlib.Path(each)) for each in folders]
    for name in columns[0]:
        print(f"{name:42}" + "".join(f"{column[name]:>8}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:] or ["."])
