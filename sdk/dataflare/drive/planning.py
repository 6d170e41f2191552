"""The output schemas of a processor that may or may not have a ``plan`` of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare.batch import Batch
from dataflare.drive.base import MAIN
from dataflare.drive.collect import named
from dataflare.drive.results import any_schema, element_type, normalised, schema_of_rows, schemas_by_name
from dataflare.errors import ConfigError, DataflareError, PermissionDenied, Reject, Retry
from dataflare.memory import MemoryState, MemoryTimers
from dataflare.schema import Schema

if TYPE_CHECKING:
    from dataflare.drive.processor import ProcessorDriver


def plan(driver: ProcessorDriver, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """Output → schema for these inputs. Raises ConfigError where the component refuses them or cannot work on them."""
    schemas = {name: normalised(schema) for name, schema in schemas.items()}
    told = _told(driver, schemas)
    if told is None:
        told = _declared(driver, schemas)
    if told is None:
        told = _by_row(driver, schemas) if driver.each == "row" else _dry_run(driver, schemas)
    for name in (MAIN, *driver.component.spec.get("outputs", ())):
        told.setdefault(name, Schema(open=True))
    return told


def main_schema(schemas: dict[str, Schema]) -> Schema:
    """The schema of the main input: the one named ``""``, or the union of all."""
    if "" in schemas:
        return schemas[""]
    merged = Schema()
    for schema in schemas.values():
        merged = merged.union(schema)
    return merged


def _told(driver: ProcessorDriver, schemas: dict[str, Schema]) -> dict[str, Schema] | None:
    if not driver.has("plan"):
        return None
    # named inputs need not fit together: only a plan that asks for their union gets it
    main = {"schema": main_schema(schemas)} if "schema" in driver.operation("plan") else {}
    told = driver.invoke("plan", schemas=schemas, **main)
    return None if told is None else schemas_by_name(told, MAIN)


def _declared(driver: ProcessorDriver, schemas: dict[str, Schema]) -> dict[str, Schema] | None:
    spec = driver.component.spec
    annotated = schema_of_rows(element_type(driver.operation("process").annotation("return")))
    if annotated is not None:
        return {MAIN: annotated}
    if spec.get("adds") is None:
        return None
    schema = main_schema(schemas)
    for column in any_schema(spec["adds"]):
        schema = schema.with_column(column.name, column.type, nullable=column.nullable)
    return {MAIN: schema, **dict.fromkeys(spec.get("outputs", ()), schema)}


def _by_row(driver: ProcessorDriver, schemas: dict[str, Schema]) -> dict[str, Schema]:
    schema = main_schema(schemas)
    return {MAIN: schema, **dict.fromkeys(driver.component.spec.get("outputs", ()), schema)}


def _dry_run(driver: ProcessorDriver, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """What the component gives for no rows; nothing where calling it would do more than compute, or it does not say."""
    blocked = driver.component.spec.get("effects") == "writes" or driver.operation("process").resources
    if driver.each == "key" or blocked or any(schema.open for schema in schemas.values()):
        return {}
    found: dict[str, Schema] = {}
    for name, schema in schemas.items():
        for output, seen in _run_on_nothing(driver, name, schema).items():
            found[output] = found[output].union(seen) if output in found else seen
    return found


def _run_on_nothing(driver: ProcessorDriver, name: str, schema: Schema) -> dict[str, Schema]:
    batch = Batch.of({column.name: [] for column in schema}, schema.arrow)
    ctx = driver.ctx
    kept = ctx.state, ctx.timers
    ctx.state, ctx.timers = MemoryState(), MemoryTimers(driver.columns)
    try:
        given = list(driver.results(driver.start("process", **driver.given(batch, name))))
        return {output: _typed(normalised(Schema(Batch.of(rows).schema)), schema) for output, rows in named(given)}
    except (Reject, Retry, PermissionDenied):
        return {}
    except DataflareError:
        raise
    except Exception as error:
        if not _tells_of_types(driver, error):
            return {}
        raise _refused(driver, schema, error) from error
    finally:
        ctx.state, ctx.timers = kept


def _typed(found: Schema, input: Schema) -> Schema:
    """What a dry run says of the types: nothing, where lists without values left columns or their types out."""
    import pyarrow as pa

    untyped = [column.name for column in found if pa.types.is_null(column.type)]
    known = all(name in input and pa.types.is_null(input.type(name)) for name in untyped)
    return found if known and (len(found) or not len(input)) else Schema(open=True)


def _tells_of_types(driver: ProcessorDriver, error: Exception) -> bool:
    """True if it would fail on rows too; False if it may only miss rows, or what ``open`` makes."""
    import pyarrow as pa

    if isinstance(error, AttributeError):
        return error.obj is not None and error.obj is not driver.component
    if isinstance(error, TypeError) and "NoneType" in str(error):
        return False
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, (TypeError, KeyError, pa.ArrowException)) or library in ("polars", "duckdb")


def _refused(driver: ProcessorDriver, schema: Schema, error: Exception) -> ConfigError:
    code = "plan.column" if isinstance(error, KeyError) else "plan.types"
    columns = ", ".join(f"`{column.name}` ({column.type})" for column in schema) or "none"
    return ConfigError.of(
        code,
        f"`{driver.component.spec.name}` cannot work on these columns: {error}",
        cause=f"{type(error).__name__} in a dry run without rows; the columns are {columns}",
        fix="change what comes in, or write `plan` (or `adds=`) if the dry run cannot work",
    )
