"""Write DataFlare plugins: sources, processors, sinks and tools.

Everything an author needs is here under one name; names are loaded when first used.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
# Not from typing: the import of this package is part of every command's start.

if TYPE_CHECKING:
    from dataflare.arrow_types import arrow_type as arrow_type
    from dataflare.arrow_types import schema_of as schema_of
    from dataflare.batch import Batch as Batch
    from dataflare.batch import Envelope as Envelope
    from dataflare.batch import Rows as Rows
    from dataflare.checkpoint import Changes as Changes
    from dataflare.checkpoint import Checkpoint as Checkpoint
    from dataflare.checkpoint import EpochInfo as EpochInfo
    from dataflare.checkpoint import LeaseInfo as LeaseInfo
    from dataflare.checkpoint import Letter as Letter
    from dataflare.checkpoint import SplitState as SplitState
    from dataflare.checkpoint import StateChange as StateChange
    from dataflare.component import Codec as Codec
    from dataflare.component import Command as Command
    from dataflare.component import Component as Component
    from dataflare.component import Keyring as Keyring
    from dataflare.component import Notifier as Notifier
    from dataflare.component import Processor as Processor
    from dataflare.component import Secrets as Secrets
    from dataflare.component import Sink as Sink
    from dataflare.component import Source as Source
    from dataflare.component import Spec as Spec
    from dataflare.component import Tool as Tool
    from dataflare.context import Context as Context
    from dataflare.decorators import command as command
    from dataflare.decorators import notifier as notifier
    from dataflare.decorators import processor as processor
    from dataflare.decorators import sink as sink
    from dataflare.decorators import source as source
    from dataflare.decorators import tool as tool
    from dataflare.deferred import DeferredSink as DeferredSink
    from dataflare.errors import ConfigError as ConfigError
    from dataflare.errors import DataflareError as DataflareError
    from dataflare.errors import Failed as Failed
    from dataflare.errors import Fenced as Fenced
    from dataflare.errors import OriginLost as OriginLost
    from dataflare.errors import PermissionDenied as PermissionDenied
    from dataflare.errors import Problem as Problem
    from dataflare.errors import Reject as Reject
    from dataflare.errors import Retry as Retry
    from dataflare.errors import StateError as StateError
    from dataflare.fields import field as field
    from dataflare.resource import resource as resource
    from dataflare.schema import Schema as Schema
    from dataflare.split import Demand as Demand
    from dataflare.split import Idle as Idle
    from dataflare.split import Json as Json
    from dataflare.split import Out as Out
    from dataflare.split import Refused as Refused
    from dataflare.split import Resume as Resume
    from dataflare.split import Span as Span
    from dataflare.split import Split as Split
    from dataflare.split import Stream as Stream
    from dataflare.state import State as State
    from dataflare.state import state as state
    from dataflare.store import Layer as Layer
    from dataflare.store import Store as Store
    from dataflare.types import Bytes as Bytes
    from dataflare.types import Columns as Columns
    from dataflare.types import Duration as Duration
    from dataflare.types import Expr as Expr
    from dataflare.types import Secret as Secret
    from dataflare.types import Uses as Uses
    from dataflare.window import Window as Window

_EXPORTS = {
    "arrow_types": "arrow_type schema_of",
    "batch": "Batch Envelope Rows",
    "checkpoint": "Changes Checkpoint EpochInfo LeaseInfo Letter SplitState StateChange",
    "component": "Codec Command Component Keyring Notifier Processor Secrets Sink Source Spec Tool",
    "context": "Context",
    "decorators": "command notifier processor sink source tool",
    "deferred": "DeferredSink",
    "errors": "ConfigError DataflareError Failed Fenced OriginLost PermissionDenied Problem Reject Retry StateError",
    "fields": "field",
    "schema": "Schema",
    "split": "Demand Idle Json Out Refused Resume Span Split Stream",
    "state": "State",
    "store": "Layer Store",
    "types": "Bytes Columns Duration Expr Secret Uses",
    "window": "Window",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}

_FUNCTIONS_OF_MODULES = ("resource", "state")

__all__ = sorted([*_HOME, *_FUNCTIONS_OF_MODULES])


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'dataflare' has no attribute {name!r}")
    value = getattr(import_module(f"dataflare.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _function(name: str) -> property:
    """The function of the submodule of the same name; Python binding the submodule to that name changes nothing."""
    return property(lambda package: getattr(import_module(f"dataflare.{name}"), name), lambda package, module: None)


sys.modules[__name__].__class__ = type(
    "Package", (type(sys),), {name: _function(name) for name in _FUNCTIONS_OF_MODULES}
)
