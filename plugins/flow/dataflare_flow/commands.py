"""``dataflare flow schema``: what an editor needs to complete and check flow files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataflare import Command, ConfigError, field

Json = Any


class Schema(Command, name="flow.schema", group="flow"):
    """The JSON Schema of a flow file, for editors.

    Editors with a YAML language server read it where the flow file begins with
    `# yaml-language-server: $schema=flow.schema.json`.
    """

    out: Path | None = field(default=None, help="Write it to this file.")

    def call(self) -> Json:
        """The schema. Raises ConfigError ``cli.not_written``."""
        from dataflare_flow.vocabulary import flow_schema

        schema = flow_schema()
        if self.out is not None:
            try:
                self.out.write_text(_text(schema) + "\n", "utf-8")
            except OSError as error:
                raise ConfigError.of("cli.not_written", f"`{self.out}` cannot be written", cause=str(error)) from error
        return schema

    def show(self, answer: Json) -> str:
        """The schema, where it is not in a file."""
        return "" if self.out is not None else _text(answer)


def _text(schema: Json) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
