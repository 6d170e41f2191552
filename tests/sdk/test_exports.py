"""The public vocabulary, and what importing it costs."""

import subprocess
import sys

import dataflare


def loaded_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_name_is_there():
    for name in dataflare.__all__:
        assert getattr(dataflare, name) is not None, name
    assert set(dir(dataflare)) == set(dataflare.__all__)


def test_importing_is_light():
    heavy = {"pydantic", "pyarrow", "polars", "duckdb", "asyncio"}
    assert not heavy & loaded_after("import dataflare")
    declaring = (
        "from dataflare import Batch, Secret, Sink, Source, Split, field, processor, resource, source, state, tool\n"
        "@source\ndef numbers(position: int = 0, *, count: int = field(default=5)):\n  yield {}, 1\n"
        "class Files(Sink):\n  path: str\n"
    )
    assert not heavy & loaded_after(declaring)


def test_functions_are_not_hidden_by_modules_of_the_same_name():
    program = "import dataflare.state, dataflare.resource, dataflare.drive; from dataflare import state, resource"
    assert loaded_after(f"{program}\nassert callable(state) and callable(resource)")
