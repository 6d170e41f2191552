"""The step ``join``: its configuration, and which of the two joins it asks for."""

from __future__ import annotations

from typing import Any, Literal, Self

from dataflare import Columns, ConfigError, Duration, Processor, Schema, Source, Uses, field
from dataflare_std.expression import unknown_column


class Join(Processor, by="on", inputs=("left", "right"), deterministic=False):
    """Join two streams by key and time, or the rows of one with a table.

    Two streams (`from: {left: orders, right: payments}`): rows with equal keys whose times are not further apart than
    `within` (or `before` and `after`). What is held of a key is dropped once the watermark says that no partner can
    come any more; a row that comes behind it, by more than `lateness`, is refused.

    A table (`table: {uses: std/files, with: {path: airports.csv}}`): read when the flow starts, and again every
    `refresh`, between two epochs.
    """

    on: Columns | dict[str, str] = field(
        help="The key: columns that both sides have; for a table also `{column of the stream: column of the table}`.",
        min_length=1,
    )
    how: Literal["inner", "left"] = field(
        default="inner", help="`left`: rows without a partner stay, the columns of the right side are null."
    )
    columns: Columns = field(default=(), help="The columns to take from the right side or the table; none: all.")
    prefix: str = field(default="right_", help="Goes before a column of the right side whose name the left side has.")
    time: str | None = field(default=None, help="The column with the time of the event, on both sides.")
    left_time: str | None = field(default=None, help="The same on the left side, if it has another name there.")
    right_time: str | None = field(default=None, help="The same on the right side.")
    within: Duration | None = field(
        default=None, help="The right row is at most so much earlier or later than the left."
    )
    before: Duration | None = field(default=None, help="The right row is at most so much earlier; else as `within`.")
    after: Duration | None = field(default=None, help="The right row is at most so much later; else as `within`.")
    lateness: Duration = field(default=0.0, help="Rows may be so late behind the watermark.")
    table: Uses[Source[Any]] | None = field(default=None, help="The table: a source that is read to its end.")
    refresh: Duration | None = field(
        default=None, help="Read the table again so often; without it, the table must stay as it is."
    )

    def __new__(cls, **config: Any) -> Self:
        """The join that the configuration asks for."""
        if cls is not Join:
            return super().__new__(cls)
        from dataflare_std.join.interval import Interval
        from dataflare_std.join.lookup import Lookup, Refreshed

        kind: Any = Interval
        if config.get("table") is not None:
            kind = Lookup if config.get("refresh") is None else Refreshed
        made: Self = super().__new__(kind)
        return made

    def taken(self, left: Schema, right: Schema, keys: tuple[str, ...]) -> dict[str, str]:
        """Column of the output → column of the right side. Raises ConfigError."""
        missing = [name for name in self.columns if name not in right]
        if missing:
            raise ConfigError(*(unknown_column(name, right.names, "/columns") for name in missing))
        wanted = self.columns or [name for name in right.names if name not in keys]
        found = {self.prefix + name if name in left else name: name for name in wanted}
        clashes = [name for name in found if name in left]
        if clashes or len(found) < len(wanted):
            twice = clashes[0] if clashes else next(name for name in wanted if self.prefix + name in wanted)
            raise ConfigError.of(
                "plan.duplicate_column",
                f"two columns would be named `{twice}`",
                pointer="/prefix",
                fix="choose another `prefix`, or the `columns` to take",
            )
        return found
