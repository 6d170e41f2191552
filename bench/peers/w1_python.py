"""W1 in plain Python with orjson."""

import sys

import orjson

with open(sys.argv[1], "rb") as source, open("out.jsonl", "wb") as target:
    for line in source:
        row = orjson.loads(line)
        if row["temperature"] > 20:
            row["fahrenheit"] = row["temperature"] * 9 / 5 + 32
            target.write(orjson.dumps(row) + b"\n")
