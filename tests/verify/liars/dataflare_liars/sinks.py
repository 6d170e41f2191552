"""Sinks that lie. Each keeps rows as JSON lines in a folder."""

import json
from pathlib import Path

from dataflare import Batch, Sink


class Lines(Sink):
    """An honest base: staged files, published by their name. Not a component of the plugin."""

    path: Path

    def open(self, ctx, resume):
        self.folder = ctx.path(self.path)
        self.folder.mkdir(exist_ok=True)
        self.lines = []

    def begin(self, epoch):
        self.lines = []

    def write(self, batch: Batch):
        from dataflare.json_rows import to_json_rows

        self.lines += [json.dumps(row) for row in to_json_rows(batch)]

    def prepare(self, epoch, ctx):
        name = ctx.name(epoch)
        (self.folder / f"{name}.staged").write_text("\n".join(self.lines))
        return name

    def commit(self, tokens):
        for name in tokens:
            staged = self.folder / f"{name}.staged"
            if staged.exists():
                staged.rename(self.folder / f"{name}.jsonl")

    def abort(self, tokens):
        self.lines = []
        for name in tokens:
            (self.folder / f"{name}.staged").unlink(missing_ok=True)

    def readback(self, stream):
        for file in sorted(self.folder.glob("*.jsonl")):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            if rows:
                yield rows


class Early(Lines, ability="staged", fencing="names"):
    """Says that nothing shows before it is decided."""

    def prepare(self, epoch, ctx):
        name = ctx.name(epoch)
        (self.folder / f"{name}.jsonl").write_text("\n".join(self.lines))
        return name

    def abort(self, tokens):
        for name in tokens:
            (self.folder / f"{name}.jsonl").unlink(missing_ok=True)


class Doubling(Lines, ability="staged", fencing="names"):
    """Says that a commit counts once."""

    def commit(self, tokens):
        for name in tokens:
            lines = (self.folder / f"{name}.staged").read_text()
            with (self.folder / "all.jsonl").open("a") as file:
                file.write(lines + "\n" if lines else "")


class Volatile(Lines, ability="transactional", fencing="names"):
    """Says that what is prepared outlives it."""

    def prepare(self, epoch, ctx):
        self.kept = getattr(self, "kept", {})
        self.kept[ctx.name(epoch)] = "\n".join(self.lines)
        return ctx.name(epoch)

    def commit(self, tokens):
        for name in tokens:
            if name in getattr(self, "kept", {}):
                (self.folder / f"{name}.jsonl").write_text(self.kept.pop(name))


class Stubborn(Lines, ability="staged", fencing="names"):
    """Says that an abort leaves nothing."""

    def abort(self, tokens):
        self.commit(tokens)


class Idempotent(Lines, ability="idempotent", fencing="names"):
    """Says that a row that comes again takes its own place."""

    def write(self, batch: Batch):
        with (self.folder / "all.jsonl").open("a") as file:
            file.writelines(json.dumps(row, default=str) + "\n" for row in batch.to_rows())

    def prepare(self, epoch):
        return None

    def commit(self, tokens):
        pass


class Prophet(Lines, ability="staged", fencing="names"):
    """Says that its target holds epochs that were never decided."""

    def prepare(self, epoch, ctx):
        self.ahead = epoch
        return super().prepare(epoch, ctx)

    def recover(self):
        return getattr(self, "ahead", None)


class Lossy(Lines, ability="staged", fencing="names"):
    """Takes every type, and keeps of numbers what a float can hold."""

    def write(self, batch: Batch):
        from dataflare.json_rows import to_json_rows

        for row in to_json_rows(batch):
            values = {key: float(value) if type(value) is int else value for key, value in row.items()}
            self.lines.append(json.dumps({key: value for key, value in values.items() if value not in ("", None)}))
