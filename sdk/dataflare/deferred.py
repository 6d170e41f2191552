"""Sinks that deliver only what is decided: the epoch lies in a durable spool until its commit.

So a target that cannot take part in epochs (an HTTP API, a queue, a mailbox) sees each request of a
decided epoch, and none of an aborted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from dataflare import crash
from dataflare.calling import bind, is_overridden
from dataflare.component import Sink
from dataflare.errors import Failed, Problem
from dataflare.spool import Delivery, SpoolWriter, delete_leftovers, delete_records

if TYPE_CHECKING:
    from dataflare.batch import Batch, Rejected
    from dataflare.context import Context
    from dataflare.drive.sink import SinkDriver
    from dataflare.schema import Schema
    from dataflare.split import Resume

Token = dict[str, Any]


class DeferredSink(Sink[Token], ability="staged", fencing="names"):
    """Write ``send(batch, key, ctx)``; it is called in ``commit``, once a request, with a key that never changes.

    A request is a written batch, cut to ``request_rows`` rows. A crash while sending may repeat the request that
    was under way, with the same ``key``: give it to the target (``Idempotency-Key``), which then ignores the second.
    ``send`` may be async, and may raise Retry. A subclass with its own ``open`` calls this one.
    """

    request_rows: ClassVar[int | None] = None
    """Rows of a request; None: as they come. A subclass may make a field of it."""

    _writer: SpoolWriter | None = None

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, key, ctx)``: deliver one request. Return only when the target has it for good."""
        raise NotImplementedError

    def open(self, ctx: Context, resume: Resume) -> None:
        """Delete what earlier attempts left behind."""
        live = {str(token["name"]) for token in resume.tokens.values() if token}
        delete_leftovers(ctx.cache, _owner(ctx), live, ctx.fence)

    def begin(self, epoch: int, ctx: Context) -> None:
        """Start a spool."""
        self._writer = SpoolWriter(ctx.cache, ctx.name(epoch))

    def write(self, batch: Batch) -> None:
        """Spool rows."""
        rows = self.request_rows
        for part in batch.iter_slices(rows) if rows and len(batch) > rows else (batch,):
            if self._writer is not None and len(part):
                self._writer.write(part)

    def prepare(self, epoch: int, ctx: Context) -> Token | None:
        """Make the spool durable; None where nothing was written."""
        writer, self._writer = self._writer, None
        if writer is None or not writer.rows:
            return None
        return {
            "name": ctx.name(epoch),
            "folder": os.path.relpath(ctx.cache, ctx.base),
            "key": f"{ctx.incarnation}-{_owner(ctx)}-{epoch}",
            "rows": writer.rows,
            "parts": writer.seal(),
        }

    def commit(self, epoch: int, tokens: list[Token], ctx: Context) -> Any:
        """Send what is not sent yet, then forget the rows."""
        if bind(self, "send").is_async:
            return self._commit_awaiting(epoch, tokens, ctx)
        for token in tokens:
            delivery = _delivery(token, ctx)
            for ordinal, given in _requests(token, delivery, ctx):
                bind(self, "send")(given)
                crash.point("sink-send")
                delivery.mark(ordinal + 1)
            delivery.forget_rows()
        return delete_records(ctx.cache, _owner(ctx), epoch)

    async def _commit_awaiting(self, epoch: int, tokens: list[Token], ctx: Context) -> None:
        for token in tokens:
            delivery = _delivery(token, ctx)
            for ordinal, given in _requests(token, delivery, ctx):
                await bind(self, "send")(given)
                crash.point("sink-send")
                delivery.mark(ordinal + 1)
            delivery.forget_rows()
        delete_records(ctx.cache, _owner(ctx), epoch)

    def abort(self, epoch: int, tokens: list[Token], ctx: Context) -> None:
        """Delete the spools; nothing was sent."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None
        for token in tokens:
            _delivery(token, ctx).forget_rows()


def spooled(sink_class: type[Sink[Any]]) -> type[SpooledSink]:
    """The same sink with the same configuration, ``staged``: what an epoch writes waits until the epoch is decided.

    A sink that only has ``write`` may repeat the batch that was under way when it crashed; one that has ``prepare``
    or ``commit`` repeats the whole epoch.
    """
    from dataflare.fields import fields_of

    spec = sink_class.spec
    body = {
        "sink_class": sink_class,
        "__doc__": sink_class.__doc__,
        "__module__": sink_class.__module__,
        "__dataflare_fields__": fields_of(sink_class),
    }
    common = {"name": spec.name, "aliases": spec.aliases, "version": spec.version, "lanes": spec.lanes}
    return type(sink_class.__name__, (SpooledSink,), body, **common, clears=spec.get("clears", ()))


def behind_spool(sink: Sink[Any]) -> SpooledSink:
    """A configured sink, put behind the spool."""
    made = object.__new__(spooled(type(sink)))
    made.sink = sink
    return made


class SpooledSink(DeferredSink):
    """Base of what ``spooled`` makes."""

    sink_class: ClassVar[type[Sink[Any]]]

    def __init__(self, **config: Any) -> None:
        self.sink: Sink[Any] = self.sink_class(**config)

    def __getattr__(self, name: str) -> Any:
        if name == "sink":
            raise AttributeError(name)
        return getattr(self.sink, name)

    def check(self, ctx: Context) -> Iterable[Problem]:
        """What the sink says."""
        return self._driver(ctx).check()

    def plan(self, schema: Schema, ctx: Context) -> None:
        """What the sink says."""
        self._driver(ctx).plan(schema)

    def needs(self, schema: Schema) -> frozenset[str] | None:
        """What the sink says."""
        return self.sink.needs(schema)

    def on_created(self, ctx: Context) -> Any:
        """What the sink makes."""
        return self._driver(ctx).on_created()

    def on_updated(self, ctx: Context, made: Any, before: Any) -> Any:
        """What the sink makes of it."""
        return self._driver(ctx).on_updated(made, before)

    def on_deleted(self, ctx: Context, made: Any) -> None:
        """The sink undoes what it made."""
        self._driver(ctx).on_deleted(made)

    def readback(self, stream: str) -> Iterator[Any]:
        """What the sink holds."""
        return self.sink.readback(stream)

    def open(self, ctx: Context, resume: Resume) -> None:
        """Open spool and sink."""
        super().open(ctx, resume)
        self._inner = self._driver(ctx)
        self._inner.open(replace(resume, tokens={}))

    def close(self) -> None:
        """Close the sink."""
        self._inner.close()

    def commit(self, epoch: int, tokens: list[Token], ctx: Context) -> Any:
        """Let the sink write what it has not written yet."""
        at_once = any(is_overridden(self.sink, name) for name in ("begin", "prepare", "commit"))
        for token in tokens:
            delivery = _delivery(token, ctx)
            if at_once:
                self._whole(epoch, delivery)
            else:
                self._batch_by_batch(delivery)
            delivery.forget_rows()
        return super().commit(epoch, [], ctx)

    def _whole(self, epoch: int, delivery: Delivery) -> None:
        if delivery.done >= delivery.total:
            return
        self._inner.begin(epoch)
        for _, batch in delivery.waiting():
            self._none_refused(self._inner.write(batch))
        self._inner.commit(epoch, [self._inner.prepare(epoch, False)])
        delivery.mark(delivery.total)

    def _batch_by_batch(self, delivery: Delivery) -> None:
        for ordinal, batch in delivery.waiting():
            self._none_refused(self._inner.write(batch))
            crash.point("sink-send")
            delivery.mark(ordinal + 1)

    def _none_refused(self, rejected: list[Rejected]) -> None:
        if rejected:
            first = rejected[0]
            raise Failed.of(
                "sink.refused_on_commit",
                f"`{self.spec.name}` refused {len(first.rows)} rows of a decided epoch: {first.code}",
                cause=first.message or None,
                fix="refuse rows in a step before the sink, or deliver without the spool",
            )

    def _driver(self, ctx: Context) -> SinkDriver:
        from dataflare.drive.sink import SinkDriver

        # Its own copy: the engine's epoch has moved on when the sink writes.
        return SinkDriver(self.sink, replace(ctx))


def _delivery(token: Token, ctx: Context) -> Delivery:
    """The delivery of the spool that a token names, whichever lane wrote it."""
    return Delivery(ctx.base / str(token["folder"]), str(token["name"]), token["parts"])


def _requests(token: Token, delivery: Delivery, ctx: Context) -> Iterator[tuple[int, dict[str, Any]]]:
    for ordinal, batch in delivery.waiting():
        yield ordinal, {"batch": batch, "key": f"{token['key']}-{ordinal}", "ctx": ctx}


def _owner(ctx: Context) -> str:
    return f"{ctx.flow}-{ctx.step}-{ctx.lane}"
