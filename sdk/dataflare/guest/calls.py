"""The operations on an open instance: what a request holds, what the driver is asked, what is answered."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

from dataflare.batch import Batch, Envelope
from dataflare.context import FixedClock
from dataflare.drive import NO_POSITION, Driver, Processed, ProcessorDriver, Reading, SinkDriver, SourceDriver
from dataflare.guest.encoding import Json, Part, decode, encode_rejects, part_at
from dataflare.guest.frames import Frame
from dataflare.guest.instance import Answer, Instance, word
from dataflare.guest.passing import PASSING
from dataflare.schema import Schema
from dataflare.split import Demand, Refused, Resume, Split

Operation = Callable[[Instance, Frame], Answer | Iterator[Answer]]


def schemas_of(told: Json) -> dict[str, Schema]:
    """Name → schema, of a header."""
    return {name: Schema.from_json(schema) for name, schema in (told or {}).items()}


def planned(driver: Driver, inputs: dict[str, Schema]) -> dict[str, Schema] | None:
    """What ``plan`` gives: output (stream) → schema; None where only reading tells."""
    if isinstance(driver, SourceDriver):
        return driver.plan()
    if isinstance(driver, ProcessorDriver):
        return driver.plan(inputs)
    if isinstance(driver, SinkDriver):
        driver.plan(inputs[""])
    return {}


def prepare(instance: Instance, header: Mapping[str, Json]) -> None:
    """Plan and open a new instance."""
    driver, inputs = instance.driver, instance.inputs
    if inputs or isinstance(driver, SourceDriver):
        planned(driver, inputs)
    told = dict(header.get("resume") or {})
    known = {name: told[name] for name in ("epoch", "tokens", "made", "incarnation", "position") if name in told}
    driver.open(Resume(**known))


# --- sources -------------------------------------------------------------------------------------------


def _splits(instance: Instance, frame: Frame) -> Answer:
    """One round; the next ``splits`` with ``again`` gives the next one."""
    driver = instance.source
    if not frame.header.get("again") or instance.rounds is None:
        finished = frozenset(frame.header.get("finished") or ())
        instance.rounds = driver.splits(frame.header.get("position"), finished)
    found = next(instance.rounds, None)
    if found is None:
        instance.rounds = None
        return {"splits": [], "end": True}, []
    splits, position = found
    return {"splits": [_split_json(split) for split in splits], "position": position}, []


def _read(instance: Instance, frame: Frame) -> Answer:
    """One step of a split: rows or none, and where to resume after them."""
    driver, header = instance.source, frame.header
    split = split_of(word(header, "split"))
    told = header.get("demand") or {}
    until = time.monotonic() + float(told.get("seconds", 0.1))
    demand = Demand(int(told.get("rows", 65536)), int(told.get("bytes", 8 << 20)), until)
    under_way = None if header.get("anew") else instance.readings.get(split.id)
    if under_way is None:
        columns = header.get("columns")
        position = header.get("position", NO_POSITION)
        steps = driver.read(split, position, demand, None if columns is None else frozenset(columns))
        under_way = instance.readings[split.id] = (steps, demand)
    steps, live = under_way
    live.rows, live.bytes, live.until = demand.rows, demand.bytes, demand.until
    try:
        reading: Reading | None = next(steps, None)
    except BaseException:
        del instance.readings[split.id]
        raise
    if reading is None:
        del instance.readings[split.id]
        return {"end": True}, []
    return _reading(instance, reading)


def _reading(instance: Instance, reading: Reading) -> Answer:
    parts: list[Part] = []
    header: dict[str, Json] = {}
    if reading.position is not NO_POSITION:
        header["position"] = reading.position
    if reading.idle:
        header |= {"idle": True, "after": reading.after}
    if reading.refused:
        header["refused"] = [_refused(each) for each in reading.refused]
    if reading.batch is not None:
        planned = instance.source.schemas.get(reading.stream)
        header["outputs"] = [instance.output(reading.stream, reading.batch, planned, parts)]
    return header, parts


def _refused(each: Refused) -> Json:
    raw = base64.b64encode(each.raw).decode()
    return {"code": each.code, "message": each.message, "place": each.place, "raw": raw}


def _stop_reading(instance: Instance, frame: Frame) -> Answer:
    """The host reads this split no further from here."""
    under_way = instance.readings.pop(str(frame.header.get("split")), None)
    if under_way is not None:
        under_way[0].close()
    return {}, []


def _acknowledge(instance: Instance, frame: Frame) -> Answer:
    instance.source.acknowledge(split_of(word(frame.header, "split")), word(frame.header, "position"))
    return {}, []


def _divide(instance: Instance, frame: Frame) -> Answer:
    position = frame.header.get("position", NO_POSITION)
    children = instance.source.divide(split_of(word(frame.header, "split")), position)
    return {"splits": [_split_json(split) for split in children]}, []


# --- processors ----------------------------------------------------------------------------------------


def _process(instance: Instance, frame: Frame) -> Answer:
    driver, header = instance.processor, frame.header
    name = str(header.get("input") or "")
    batch = decode(part_at(frame.parts, header.get("part", 0)), instance.encoding, instance.inputs.get(name))
    _moment(instance, header)
    return _processed(instance, driver.process(batch.with_envelope(stream=str(header.get("stream") or "")), name))


def _timer(instance: Instance, frame: Frame) -> Answer:
    keys = decode(part_at(frame.parts, frame.header.get("part", 0)), instance.encoding, _keys_schema(instance))
    _moment(instance, frame.header)
    return _processed(instance, instance.processor.timer(keys, _time(word(frame.header, "time"))))


def _keys_schema(instance: Instance) -> Schema | None:
    columns = list(instance.processor.columns)
    known = (schema for schema in instance.inputs.values() if all(name in schema for name in columns))
    found = next(known, None)
    return None if found is None else found.select(columns)


def _watermark(instance: Instance, frame: Frame) -> Answer:
    _moment(instance, frame.header)
    return _processed(instance, instance.processor.watermark(_time(word(frame.header, "time"))))


def _finish(instance: Instance, frame: Frame) -> Answer:
    _moment(instance, frame.header)
    return _processed(instance, instance.processor.finish())


def _processed(instance: Instance, processed: Processed) -> Answer:
    parts: list[Part] = []
    planned = instance.processor.outputs
    outputs = [instance.output(name, batch, planned.get(name), parts) for name, batch in processed.outputs]
    return {"outputs": outputs, "rejects": encode_rejects(processed.rejected, parts)}, parts


def _moment(instance: Instance, header: Mapping[str, Json]) -> None:
    """What the host says of the batch: its epoch, its ingest time, the seed of its random numbers."""
    context = instance.driver.ctx
    if "epoch" in header:
        context.epoch = int(header["epoch"])
    if "clock" in header:
        context.clock = FixedClock(_time(header["clock"]))
    if "seed" in header:
        context.random = random.Random(str(header["seed"]))


# --- snapshots -----------------------------------------------------------------------------------------


def _snapshot(instance: Instance, _frame: Frame) -> Answer:
    data = cast("ProcessorDriver | SinkDriver", instance.driver).snapshot()
    return ({}, []) if data is None else ({"part": 0}, [data])


def _restore(instance: Instance, frame: Frame) -> Answer:
    data = bytes(part_at(frame.parts, frame.header.get("part", 0)))
    cast("ProcessorDriver | SinkDriver", instance.driver).restore(data, int(frame.header.get("version", 1)))
    return {}, []


# --- sinks ---------------------------------------------------------------------------------------------


def _begin(instance: Instance, frame: Frame) -> Answer:
    instance.sink.begin(int(word(frame.header, "epoch")))
    return {}, []


def _write(instance: Instance, frame: Frame) -> Answer:
    header = frame.header
    batch = decode(part_at(frame.parts, header.get("part", 0)), instance.encoding, instance.inputs.get(""))
    _moment(instance, header)
    stamped = Batch(batch.arrow, Envelope(stream=str(header.get("stream") or "")))
    parts: list[Part] = []
    return {"rejects": encode_rejects(instance.sink.write(stamped), parts)}, parts


def _prepare(instance: Instance, frame: Frame) -> Answer:
    return {"token": instance.sink.prepare(int(word(frame.header, "epoch")), bool(frame.header.get("last")))}, []


def _commit(instance: Instance, frame: Frame) -> Answer:
    instance.sink.commit(int(word(frame.header, "epoch")), list(frame.header.get("tokens") or ()))
    return {}, []


def _abort(instance: Instance, frame: Frame) -> Answer:
    instance.sink.abort(int(word(frame.header, "epoch")), list(frame.header.get("tokens") or ()))
    return {}, []


def _recover(instance: Instance, _frame: Frame) -> Answer:
    return {"epoch": instance.sink.recover()}, []


def _readback(instance: Instance, frame: Frame) -> Iterator[Answer]:
    for batch in instance.sink.readback(str(frame.header.get("stream") or "")):
        yield {"outputs": [{"name": "", "part": 0}]}, [instance.encode(batch)]


OPERATIONS: Mapping[str, Operation] = {
    "splits": _splits,
    "read": _read,
    "stop_reading": _stop_reading,
    "acknowledge": _acknowledge,
    "divide": _divide,
    "process": _process,
    "timer": _timer,
    "watermark": _watermark,
    "finish": _finish,
    "snapshot": _snapshot,
    "restore": _restore,
    "begin": _begin,
    "write": _write,
    "prepare": _prepare,
    "commit": _commit,
    "abort": _abort,
    "recover": _recover,
    "readback": _readback,
    **PASSING,
}


def split_of(told: Json) -> Split:
    """The split in a header."""
    return Split(str(told["id"]), told.get("data"), told.get("start"), tuple(told.get("after") or ()), told.get("size"))


def _split_json(split: Split) -> Json:
    return {
        "id": split.id,
        "data": split.data,
        "start": split.start,
        "after": list(split.after),
        "size": split.size,
    }


def _time(told: Json) -> datetime:
    found = datetime.fromisoformat(str(told))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
