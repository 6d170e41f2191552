/** Schemas of rows: the columns with their Arrow types, by name. */

import { ConfigError } from "./errors.js";
import type { TObject, TSchema } from "./t.js";

/** A column; `type` is Arrow's name of it: `int64`, `string`, `timestamp[us, tz=UTC]`, `list<item: double>`. */
export interface Column {
  name: string;
  type: string;
  nullable: boolean;
  metadata?: Record<string, string>;
}

/** A schema in a header. `arrow` is the exact one, for those who read Arrow. */
export interface SchemaJson {
  columns: Column[];
  open?: boolean;
  arrow?: string;
}

/** The columns of an input or an output; `open`: rows may have more. */
export class Schema {
  readonly columns: readonly Column[];
  readonly open: boolean;
  readonly #arrow: string | undefined;

  constructor(columns: readonly Column[], open = false, arrow?: string) {
    this.columns = columns;
    this.open = open;
    this.#arrow = arrow;
  }

  /** The schema of rows that `t.Object({...})` describes. */
  static of(fields: TObject): Schema {
    const required = new Set(fields.required ?? []);
    const columns = Object.entries(fields.properties).map(([name, field]) => columnOf(name, field, required.has(name)));
    return new Schema(columns);
  }

  /** The names of the columns, in order. */
  get names(): string[] {
    return this.columns.map((column) => column.name);
  }

  /** The column of this name, if there is one. */
  column(name: string): Column | undefined {
    return this.columns.find((column) => column.name === name);
  }

  /** The same with these columns replaced in their place, or added at the end. */
  with(fields: TObject): Schema {
    const added = Schema.of(fields).columns;
    const kept = this.columns.map((column) => added.find(({ name }) => name === column.name) ?? column);
    const fresh = added.filter(({ name }) => this.column(name) === undefined);
    return added.length === 0 ? this : new Schema([...kept, ...fresh], this.open);
  }

  /** The same without these columns. */
  without(...names: string[]): Schema {
    return new Schema(
      this.columns.filter(({ name }) => !names.includes(name)),
      this.open,
    );
  }

  /** Only these columns, in this order. Throws ConfigError `plan.column` for one that is not there. */
  select(...names: string[]): Schema {
    return new Schema(
      names.map((name) => {
        const column = this.column(name);
        if (column === undefined) {
          throw missing(name, this);
        }
        return column;
      }),
    );
  }

  toJSON(): SchemaJson {
    const { open } = this;
    const columns = [...this.columns];
    return this.#arrow === undefined ? { columns, open } : { columns, open, arrow: this.#arrow };
  }
}

/** Name → schema, of a header. */
export function schemasIn(told: unknown): Map<string, Schema> {
  const given = Object.entries((told ?? {}) as Record<string, SchemaJson>);
  return new Map(given.map(([name, { columns, open, arrow }]) => [name, new Schema(columns, open ?? false, arrow)]));
}

/** Refuse an input that lacks a column which `fields` needs. */
export function needColumns(fields: TObject, schema: Schema): void {
  if (schema.open) {
    return;
  }
  for (const name of fields.required ?? []) {
    if (schema.column(name) === undefined) {
      throw missing(name, schema);
    }
  }
}

/** Whether values of this type are floating numbers, which may be NaN or infinite. */
export function isFloating(type: string): boolean {
  return /^(double|float|halffloat|float\d+)$/.test(type);
}

function missing(name: string, schema: Schema): ConfigError {
  const cause = `the columns are ${schema.names.map((known) => `\`${known}\``).join(", ") || "none"}`;
  return new ConfigError("plan.column", `there is no column \`${name}\``, { cause });
}

function columnOf(name: string, field: TSchema, required: boolean): Column {
  const members = (field.anyOf as TSchema[] | undefined)?.filter((member) => member.type !== "null");
  const nullable = !required || (members !== undefined && members.length < (field.anyOf as TSchema[]).length);
  return { name, type: arrowName(members?.[0] ?? field), nullable };
}

/** The Arrow type of a field: what its option `arrow` says, else that of its JSON type. */
function arrowName(field: TSchema): string {
  if (typeof field.arrow === "string") {
    return field.arrow;
  }
  switch (field.type) {
    case "integer":
    case "bigint":
      return "int64";
    case "number":
      return "double";
    case "boolean":
      return "bool";
    case "Date":
      return "timestamp[us, tz=UTC]";
    case "Uint8Array":
      return "binary";
    case "array":
      return `list<item: ${arrowName(field.items as TSchema)}>`;
    case "object":
      return objectName(field);
    case "null":
      return "null";
    default:
      return literalName(field.const);
  }
}

function objectName(field: TSchema): string {
  const properties = field.properties as Record<string, TSchema> | undefined;
  if (properties === undefined) {
    const values = Object.values((field.patternProperties ?? {}) as Record<string, TSchema>)[0];
    return `map<string, ${values === undefined ? "string" : arrowName(values)}>`;
  }
  return `struct<${Object.entries(properties)
    .map(([name, inner]) => `${name}: ${arrowName(inner)}`)
    .join(", ")}>`;
}

function literalName(value: unknown): string {
  if (typeof value === "number") {
    return Number.isInteger(value) ? "int64" : "double";
  }
  return typeof value === "boolean" ? "bool" : "string";
}
