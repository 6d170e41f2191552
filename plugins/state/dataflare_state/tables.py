"""The tables of the PostgreSQL store, and what its rows are made of."""

from __future__ import annotations

import hashlib

LAYOUT = 1

TABLES = """
create table if not exists lease (
    flow text, region text, token bigint not null, owner text not null, released boolean not null,
    taking uuid not null, primary key (flow, region)
);
create table if not exists heartbeat (
    flow text, region text, token bigint not null, beat bigint not null, primary key (flow, region)
);
create table if not exists checkpoint (
    flow text, region text, epoch bigint, incarnation text not null, body text not null, digest text not null,
    settled boolean not null, finished boolean not null, committed_at text not null, sum bigint not null,
    settled_sum bigint not null, primary key (flow, region, epoch)
);
create table if not exists blob (
    flow text, region text, digest text, data text not null, primary key (flow, region, digest)
);
create table if not exists blob_use (
    flow text, region text, epoch bigint, digest text, primary key (flow, region, epoch, digest)
);
create table if not exists state (
    id integer generated always as identity primary key, flow text not null, region text not null,
    step text not null, name text not null, unique (flow, region, step, name)
);
create table if not exists keyed (
    state integer, place bytea, key bytea, key_group smallint not null, value bytea not null,
    expires double precision, sum bigint not null, primary key (state, place)
) with (fillfactor = 90);
create index if not exists keyed_expires on keyed (state, expires) where expires is not null;
create table if not exists letter (
    id bigint generated always as identity primary key, flow text not null, region text not null,
    step text not null, code text not null, message text not null, epoch bigint not null, count bigint not null,
    rows bytea not null, input text not null, plugin text not null, split text not null, place text not null,
    attempts integer not null, status text not null, at text not null, sum bigint not null
);
create index if not exists letter_status on letter (flow, status, id);
create table if not exists layout (number integer not null);
"""

SHORT = 31


def place_of(key: bytes) -> bytes:
    """Where a key stands: itself, or the digest of one that is too long for an index. Lengths tell them apart."""
    return key if len(key) <= SHORT else hashlib.sha256(key).digest()
