"""Answers the frames of a host: every operation of every component of one plugin.

Components are called through the same drivers as in process, so a component cannot tell where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dataflare.component import Component
from dataflare.context import Context
from dataflare.drive import Driver, ToolDriver, driver_for
from dataflare.errors import ConfigError, DataflareError, Failed, Problem, Reject, Retry, problem_of
from dataflare.guest import MINORS, PROTOCOL, calls
from dataflare.guest.describing import describe
from dataflare.guest.encoding import Json, Room
from dataflare.guest.frames import Frame
from dataflare.guest.instance import Answer, Instance
from dataflare.guest.passing import PASSING
from dataflare.guest.remote import Host, HostCall, context_of
from dataflare.resource import Resources
from dataflare.schema import Schema

SDK = "dataflare-sdk python"


def _no_host(frame: Frame) -> Frame:
    raise Failed.of("guest.no_host", f"nobody answers `{frame.header.get('op')}` here")


class Guest:
    """The components of a plugin, answering frames. One call at a time.

    ``call`` asks the host; without it, components have no state, secrets or log here. ``room`` is where large parts of
    answers are written.
    """

    def __init__(
        self,
        components: Iterable[type[Component]],
        call: HostCall = _no_host,
        sdk: str = SDK,
        room: Room | None = None,
    ) -> None:
        self._components = {(made.spec.kind, made.spec.name): made for made in components}
        self._call = call
        self._room = room
        self._sdk = sdk
        self._instances: dict[int, Instance] = {}
        self._rest: Iterator[Answer] | None = None
        self._resources = Resources()
        self._operations: dict[str, Callable[[Frame], Answer | Iterator[Answer]]] = {
            "describe": self._describe,
            "open": self._open,
            "close": self._close,
            "check": self._check,
            "discover": self._discover,
            "plan": self._plan,
            "call": self._tool,
            "continue": self._continue,
        }

    def answer(self, given: bytes | memoryview) -> bytes:
        """The answer to a request, both as bytes: what goes wrong is an answer with ``error``; see ``handle``."""
        try:
            frame = Frame.unpack(given)
        except DataflareError as error:
            return Frame(failed(error)).pack()
        return self.handle(frame).pack()

    def handle(self, frame: Frame) -> Frame:
        """The answer to a request. Raises nothing but MemoryError, after which a guest should end."""
        try:
            header, parts = self._answer(frame)
            return Frame(header, parts)
        except MemoryError:
            raise
        except Exception as error:
            return Frame(failed(error))

    def end(self) -> None:
        """Close all that is open."""
        for number in list(self._instances):
            self._instances.pop(number).driver.close()
        self._resources.close()

    def _answer(self, frame: Frame) -> Answer:
        op = frame.header.get("op")
        if op != "continue":
            self._rest = None
        known = self._operations.get(str(op))
        if known is not None:
            return self._first(known(frame))
        operation = calls.OPERATIONS.get(str(op))
        if operation is None:
            raise ConfigError.of(
                "guest.unknown_operation", f"there is no operation `{op}`", details={"protocol": PROTOCOL}
            )
        if op in PASSING and "instance" not in frame.header:
            driver = self._passing(frame)
            try:
                return self._first(operation(Instance(driver, "arrow", {}), frame))
            finally:
                driver.close()
        return self._first(operation(self._instance(frame), frame))

    def _first(self, given: Answer | Iterator[Answer]) -> Answer:
        """An answer, or the first of several: the others wait for ``continue``."""
        if isinstance(given, tuple):
            return given
        self._rest = given
        return self._continue(Frame({}))

    def _continue(self, _frame: Frame) -> Answer:
        if self._rest is None:
            raise ConfigError.of("guest.nothing_more", "there is nothing to continue")
        found = next(self._rest, None)
        if found is None:
            self._rest = None
            return {}, []
        header, parts = found
        return {**header, "more": True}, parts

    # --- what needs no open instance -------------------------------------------------------------------

    def _describe(self, _frame: Frame) -> Answer:
        told = describe(self._components.values())
        words = {"protocol": PROTOCOL, "api": list(MINORS), "sdk": self._sdk, "encodings": ["arrow", "json"]}
        return {**words, "components": told}, []

    def _check(self, frame: Frame) -> Answer:
        driver = self._passing(frame)
        try:
            return {"problems": [problem.as_json() for problem in driver.check()]}, []
        finally:
            driver.close()

    def _discover(self, frame: Frame) -> Answer:
        driver = self._passing(frame)
        try:
            found = driver.discover() if hasattr(driver, "discover") else []
            streams = [
                {
                    "name": stream.name,
                    "schema": None if stream.schema is None else Schema(stream.schema).as_json(),
                    "key": list(stream.key),
                    "cursor": stream.cursor,
                }
                for stream in found
            ]
            return {"streams": streams}, []
        finally:
            driver.close()

    def _plan(self, frame: Frame) -> Answer:
        inputs = calls.schemas_of(frame.header.get("schemas"))
        number = frame.header.get("instance")
        driver = self._passing(frame) if number is None else self._instance(frame).driver
        try:
            planned = calls.planned(driver, inputs)
        finally:
            if number is None:
                driver.close()
        if number is not None:
            self._instance(frame).inputs = inputs
        schemas = None if planned is None else {name: schema.as_json() for name, schema in planned.items()}
        return {"schemas": schemas}, []

    def _tool(self, frame: Frame) -> Iterator[Answer] | Answer:
        driver = self._passing(frame)
        if not isinstance(driver, ToolDriver):
            raise ConfigError.of("guest.not_a_tool", f"`{driver.component.spec.name}` is not a tool")
        return _told(driver, dict(frame.header.get("input") or {}))

    # --- instances ---------------------------------------------------------------------------------------

    def _open(self, frame: Frame) -> Answer:
        header = frame.header
        number = header.get("instance")
        if type(number) is not int or number in self._instances:
            raise ConfigError.of("guest.instance", f"`{number}` is not the number of a new instance")
        driver = self._driver(frame, number)
        encoding = header.get("encoding", "arrow")
        if encoding not in ("arrow", "json"):
            raise ConfigError.of("guest.encoding", f"`{encoding}` is not an encoding", fix="arrow or json")
        instance = Instance(driver, encoding, calls.schemas_of(header.get("schemas")), self._room)
        try:
            calls.prepare(instance, header)
        except BaseException:
            driver.close()
            raise
        self._instances[number] = instance
        return {}, []

    def _close(self, frame: Frame) -> Answer:
        self._instance(frame).driver.close()
        del self._instances[frame.header["instance"]]
        return {}, []

    def _instance(self, frame: Frame) -> Instance:
        found = self._instances.get(frame.header.get("instance", -1))
        if found is None:
            raise ConfigError.of("guest.instance", f"there is no open instance `{frame.header.get('instance')}`")
        return found

    def _passing(self, frame: Frame) -> Driver:
        """A driver for one question, never opened."""
        return self._driver(frame, -1)

    def _driver(self, frame: Frame, number: int) -> Driver:
        header = frame.header
        kind, _, name = str(header.get("component", "")).partition(":")
        made = self._components.get((kind, name))
        if made is None:
            have = ", ".join(f"`{own}:{known}`" for own, known in self._components)
            message = f"there is no `{kind}:{name}` here"
            raise ConfigError.of("guest.unknown_component", message, cause=f"there is {have}")
        told, host = dict(header.get("context") or {}), Host(self._call, number)
        context: Context = context_of(told, host, self._resources, header.get("encoding", "arrow"))
        return driver_for(made(**dict(header.get("config") or {})), context)


def failed(error: BaseException) -> dict[str, Json]:
    """The header that tells of an error; ``Reject`` and ``Retry`` steer the host as they do in process."""
    told: dict[str, Json] = {"error": problem_of(error, "step.failed").as_json()}
    if isinstance(error, Reject):
        told["error"] = Problem(error.code, error.message, kind="reject").as_json()
    elif isinstance(error, Retry):
        told["after"] = error.after
        if error.rows is not None:
            told["retry_rows"] = _row_flags(error.rows)
    elif isinstance(error, DataflareError):
        told["problems"] = [problem.as_json() for problem in error.problems]
    return told


def _row_flags(rows: Any) -> list[bool]:
    import pyarrow as pa

    return [bool(flag) for flag in (rows.to_pylist() if isinstance(rows, pa.Array | pa.ChunkedArray) else rows)]


def _told(driver: ToolDriver, given: dict[str, Json]) -> Iterator[Answer]:
    driver.open()
    try:
        for last, value in driver.call(given):
            yield {"output" if last else "progress": value}, []
    finally:
        driver.close()
