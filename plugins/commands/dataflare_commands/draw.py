"""A planned flow as a drawing: text for the terminal, Mermaid, SVG; with schemas, fused chains and guarantee."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from dataflare_commands.explain import chains, schemas_of
from dataflare_host.plan import MAIN, Edge, Plan

WIDTH = 80
_MARKS = {"source": "▶", "processor": "●", "sink": "■"}
_CHAR = 7.3
"""Pixels of a character in the SVG's type."""
_LINE, _PAD, _GAP, _ASIDE = 17, 12, 46, 28


# --- text ---------------------------------------------------------------------------------------------


def text(plan: Plan) -> str:
    """The flow as boxes, one below the other, in at most 80 columns; what a box reads stands above it."""
    fused = {name: number for number, chain in enumerate(chains(plan), 1) for name in chain}
    rows = [*_title(plan), ""]
    start = len(rows)
    for name in plan.steps:
        before = plan.inputs(name)
        if before:
            rows += [f"  │ {line}" for line in _cut([_into(edge) for edge in before], WIDTH - 4)] + ["  ▼"]
        elif len(rows) > start:
            rows.append("")
        rows += _box(plan, name, fused.get(name))
    return "\n".join([*rows, "", *_promise(plan)])


def _title(plan: Plan) -> list[str]:
    state = " → ".join([*(layer["uses"] for layer in plan.state.get("layers", ())), plan.state["uses"]])
    places = f"{plan.mode['uses']} · {plan.engine['uses']} · {state}"
    return _cut([plan.name, f"{places} · a checkpoint each {plan.checkpoint['interval']:g} s"], WIDTH)


def _box(plan: Plan, name: str, chain: int | None) -> list[str]:
    lines = _cut(_lines(plan, name), WIDTH - 4)
    head = f"{_MARKS[plan.steps[name].kind]} {name}"
    mark = f" chain {chain} " if chain is not None else ""
    width = max(len(line) for line in [*lines, head + mark + "--"])
    rule = "─" * (width - len(head) - len(mark) - 1)
    return [
        f"┌ {head} {rule}{mark}─┐" if mark else f"┌ {head} {rule}─┐",
        *(f"│ {line:<{width}} │" for line in lines),
        f"└{'─' * (width + 2)}┘",
    ]


def _lines(plan: Plan, name: str) -> list[str]:
    step = plan.steps[name]
    lines = [step.uses]
    if step.keyed:
        lines.append(f"keyed by {', '.join(step.keyed)}")
    if step.lanes:
        lines.append(f"{step.lanes} lanes")
    if step.kind == "sink":
        spool = ", on commit" if name in plan.guarantee.deliver_on_commit else ""
        return [*lines, f"{step.abilities.get('ability')}{spool}"]
    for output, schema in schemas_of(plan, name).items():
        shown = "known at the first batch" if schema is None else _columns(schema)
        lines.append(shown if output == MAIN else f"{output}: {shown}")
    return lines


def _columns(schema: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in schema.items()) or "any columns"


def _into(edge: Edge) -> str:
    words = edge.source if edge.output == MAIN else f"{edge.source}.{edge.output}"
    words += f" as {edge.input}" if edge.input else ""
    words += " by key" if edge.exchange == "key" else ""
    return words + (f" [{', '.join(edge.columns)}]" if edge.columns is not None else "")


def _promise(plan: Plan) -> list[str]:
    wanted = f" (wanted: {plan.guarantee.wanted})" if plan.guarantee.wanted else ""
    rows = [f"guarantee: {plan.guarantee.effective}{wanted}"]
    for path in plan.guarantee.paths:
        rows.append(f"  {path.source} → {path.sink}: {path.effective}")
        rows += [f"    {reason}" for reason in path.reasons]
    rows += [f"  note: {note}" for note in plan.guarantee.notes]
    rows += [f"  warning: {each['message']}" for each in plan.options.get("warnings", ())]
    return _cut(rows, WIDTH)


def _cut(lines: list[str], width: int) -> list[str]:
    """The lines with long ones broken at spaces, indented as they were."""
    from textwrap import wrap

    found: list[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        found += wrap(line, width, subsequent_indent=indent + "  ") or [""]
    return found


# --- Mermaid --------------------------------------------------------------------------------------------


def mermaid(plan: Plan) -> str:
    """The flow as a Mermaid flowchart."""
    shapes = {"source": ("([", "])"), "processor": ("[", "]"), "sink": ("[(", ")]")}
    ids = {name: f"s{number}" for number, name in enumerate(plan.steps)}
    rows = ["flowchart LR"]
    inside: set[str] = set()

    def node(name: str) -> str:
        opening, closing = shapes[plan.steps[name].kind]
        label = "<br/>".join(_quoted(line) for line in [name, *_lines(plan, name)])
        return f'{ids[name]}{opening}"{label}"{closing}'

    for number, chain in enumerate(chains(plan), 1):
        rows += [f'  subgraph c{number}["chain {number}"]', *(f"    {node(name)}" for name in chain), "  end"]
        inside.update(chain)
    rows += [f"  {node(name)}" for name in plan.steps if name not in inside]
    for edge in plan.edges:
        words = _edge_words(edge)
        arrow = f'-->|"{_quoted(words)}"|' if words else "-->"
        rows.append(f"  {ids[edge.source]} {arrow} {ids[edge.target]}")
    rows.append(f'  promise["guarantee: {plan.guarantee.effective}"]')
    return "\n".join(rows)


def _edge_words(edge: Edge) -> str:
    words = [] if edge.output == MAIN else [edge.output]
    words += [f"as {edge.input}"] if edge.input else []
    return " ".join([*words, *(["by key"] if edge.exchange == "key" else [])])


def _quoted(line: str) -> str:
    entities = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;"}
    return "".join(entities.get(char, char) for char in line)


# --- SVG --------------------------------------------------------------------------------------------------


@dataclass
class _Box:
    lines: list[str]
    layer: int
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max(len(line) for line in self.lines) * _CHAR + 2 * _PAD

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 2 * _PAD - 4


def svg(plan: Plan) -> str:
    """The flow as an SVG picture: a column for each distance from a source."""
    boxes = _placed(plan)
    promise = _promise(plan)
    bottom = max((box.y + box.height for box in boxes.values()), default=0.0) + _GAP
    width = max([box.x + box.width for box in boxes.values()] + [len(line) * _CHAR for line in promise]) + _PAD
    height = bottom + len(promise) * _LINE + _PAD
    colours = {"source": "#e8f1fb", "processor": "#f4f4f4", "sink": "#eaf6ea"}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="monospace" font-size="12">',
        f"<title>{escape(plan.name)}: {plan.guarantee.effective}</title>",
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
    ]
    for number, chain in enumerate(chains(plan), 1):
        parts += _frame([boxes[name] for name in chain], f"chain {number}")
    for edge in plan.edges:
        parts += _arrow(boxes[edge.source], boxes[edge.target], _edge_words(edge))
    for name, box in boxes.items():
        style = f'fill="{colours[plan.steps[name].kind]}" stroke="#555"'
        parts.append(_rect(box.x, box.y, box.width, box.height, style))
        parts += [
            _words(box.x + _PAD, box.y + _PAD + 8 + row * _LINE, line, "" if row else ' font-weight="bold"')
            for row, line in enumerate(box.lines)
        ]
    parts += [_words(_PAD, bottom + row * _LINE, line) for row, line in enumerate(promise)]
    return "\n".join([*parts, "</svg>"])


def _placed(plan: Plan) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    for name in plan.steps:
        layer = max((boxes[edge.source].layer + 1 for edge in plan.inputs(name)), default=0)
        lines = _cut([name, *_lines(plan, name)], 36)
        boxes[name] = _Box(lines if len(lines) <= 14 else [*lines[:13], "…"], layer)
    x: float = _PAD
    for layer in range(max((box.layer for box in boxes.values()), default=-1) + 1):
        column = [box for box in boxes.values() if box.layer == layer]
        y: float = _PAD + _LINE
        for box in column:
            box.x, box.y = x, y
            y += box.height + _ASIDE
        x += max(box.width for box in column) + _GAP
    return boxes


def _frame(boxes: list[_Box], label: str) -> list[str]:
    left, top = min(box.x for box in boxes) - 6, min(box.y for box in boxes) - 6
    right, bottom = max(box.x + box.width for box in boxes) + 6, max(box.y + box.height for box in boxes) + 6
    drawn = _rect(left, top, right - left, bottom - top, 'fill="none" stroke="#999" stroke-dasharray="4 3"')
    return [drawn, _words(left + 2, top - 4, label, ' fill="#777"')]


def _arrow(start: _Box, end: _Box, label: str) -> list[str]:
    x1, y1 = start.x + start.width, start.y + start.height / 2
    x2, y2 = end.x, end.y + end.height / 2
    middle = (x1 + x2) / 2
    curve = f"M{x1:.1f},{y1:.1f} C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
    path = f'<path d="{curve}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
    words = [_words(middle - len(label) * _CHAR / 2, (y1 + y2) / 2 - 6, label, ' fill="#777"')] if label else []
    return [path, *words]


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" {style}/>'


def _words(x: float, y: float, line: str, style: str = "") -> str:
    shown = "".join(char if char.isprintable() else "·" for char in line)
    return f'<text x="{x:.1f}" y="{y:.1f}" xml:space="preserve"{style}>{escape(shown)}</text>'
