"""The table in docs/kernel_contract.md, made of the tests' names, docstrings and marks. With --write: puts it there."""
import ast
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "kernel_contract.md"
BEGIN, END = "<!-- table: tests/contract/contract_table.py --write -->", "<!-- end of table -->"
SEEN_ON = "6.18.44"


def since(function):
    """The first kernel that a test is for (mark `kernel`), and what holds before."""
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.kernel":
            first = ".".join(str(one.value) for one in mark.args)
            return f"; for {first} and later ({mark.keywords[0].value.value})"
    return ""


def rows(path):
    for function in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
            assumption = function.name.removeprefix("test_").replace("_", " ")
            rule = " ".join(ast.get_docstring(function).split()).replace("|", r"\|")
            yield f"| {assumption} | {rule} | `{path.name}` | {SEEN_ON}{since(function)} |"


def table():
    lines = []
    for path in sorted(HERE.glob("test_*.py")):
        if path.name == "test_table.py":
            continue
        title = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        lines += [f"### {path.stem.removeprefix('test_').replace('_', ' ')}", " ".join(title.split()), "",
                  "| assumption (the test's name) | rule that rests on it | test | kernel it was seen on |", "|---|---|---|---|",
                  *rows(path), ""]
    return "\n".join(lines)


def with_table(document):
    head, _, rest = document.partition(BEGIN)
    return f"{head}{BEGIN}\n{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    text = with_table(DOCUMENT.read_text(encoding="utf-8"))
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(text, encoding="utf-8")
    else:
        print(text)
