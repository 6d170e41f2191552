"""Making and changing an index: what is published first lies there, and counts once it is signed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author.wheel_check import Wheel, read_wheel
from dataflare_index import others, publishers, searching, simple
from dataflare_index.catalogue import Listed
from dataflare_index.closure import Wanted, closure_of
from dataflare_index.keys import NEXT, folder_of, make_keys
from dataflare_index.others import Other
from dataflare_index.publishers import Submission
from dataflare_index.signing import METADATA, begin, newest, publish, put, signed
from dataflare_index.signing import refresh as sign_anew
from dataflare_index.soundness import check

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

FORMAT = 1
SHORT = 5
"""Names of fewer letters may differ by little."""
PENDING = "pending"
"""Beside the keys: the plugins of a change that goes on."""
Json = Any


def init(index: Path, name: str) -> dict[str, Json]:
    """Begin an index. Raises ConfigError ``index.exists``, ``index.keys_exist``."""
    if index.exists() and any(index.iterdir()):
        raise ConfigError.of("index.exists", f"{index} is not empty", fix="name a folder that is not there yet")
    signers = make_keys(index)
    index.mkdir(parents=True, exist_ok=True)
    put(index / "index.json", (json.dumps({"format": FORMAT, "name": name}, indent=1) + "\n").encode())
    begin(index, signers)
    write_roots(index, [])
    return {
        "index": str(index),
        "name": name,
        "keys": str(folder_of(index)),
        "root": str(index / METADATA / "1.root.json"),
    }


def add(
    index: Path,
    wheels: Iterable[Path],
    *,
    deps: Wanted | None = None,
    sent: Submission | None = None,
    claim: bool = True,
    host: HostApi | None = None,
    seen: Sequence[str] = (),
) -> dict[str, Json]:
    """Publish wheels, all or none; ``{"added", "known", "snapshot"}``.

    ``deps``: which of the distributions that they need come along. ``sent``: what their author signed; ``claim``: may a
    name be taken that has releases and no owner? ``host``: whose loaders look at their code; ``seen``: files that look
    like secrets and are none.

    Raises ConfigError: what is wrong with a wheel, ``publish.secret``, ``index.changed``, ``index.name``,
    ``index.manifests``, ``index.owned``; NotTrusted ``index.publisher``, ``author.hostile_wheel``.
    """
    given, passed = list(wheels), [*seen, *(sent.seen if sent else ())]
    with ExitStack() as stack:
        needed: list[Path] = []
        if deps is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dataflare-index-"))
            needed = closure_of(given, deps, Path(folder))
        plugins = [*given, *filter(others.is_plugin, needed)]
        read = [read_wheel(path) for path in plugins]
        for wheel in read:
            check(wheel, host, passed)
        return _add(index, read, list(filterfalse(others.is_plugin, needed)), sent, claim)


def _add(
    index: Path, read: Iterable[Wheel], needed: list[Path], sent: Submission | None, claim: bool
) -> dict[str, Json]:
    with changing(index):
        listed: dict[str, Listed] = {}
        taken: dict[str, str] = {}
        added, known, files = [], [], []
        number = newest(index, "snapshot").signed.version + 1
        for wheel in read:
            name = wheel.names.id
            one = listed.setdefault(name, signed_listing(index, name))
            if not one.releases:
                taken = taken or {skeleton(known_name): known_name for known_name in names_of(index)}
                _check_name(name, taken)
            metadata = _metadata_of(wheel)
            if not one.add(wheel, metadata):
                known.append(wheel.path.name)
                continue
            added.append(wheel.path.name)
            place = f"files/{name}/{wheel.path.name}"
            files += [(place, wheel.path.read_bytes()), (f"{place}.metadata", metadata)]
            files += publishers.take(one, wheel, sent, number, claim)
        for path in needed:
            name, _, _ = others.about(path)
            other = listed.setdefault(f"{Other.folder}/{name}", signed_listing(index, name, Other.folder))
            assert isinstance(other, Other)
            found = other.take(path)
            (known if found is None else added).append(path.name)
            if found is not None:
                place = f"{other.files_at}/{path.name}"
                files += [(place, path.read_bytes()), (f"{place}.metadata", found)]
        _check_distributions(index, listed.values())
        for place, content in files:
            put(index / place, content)
        snapshot = _changed(index, [one for one in listed.values() if one.releases], [place for place, _ in files])
        return {"added": added, "known": known, "snapshot": snapshot}


def yank(index: Path, name: str, version: str, reason: str) -> dict[str, Json]:
    """Mark a release as not to be chosen any more (PEP 592). Raises ConfigError ``index.unknown``."""
    with changing(index):
        listed = signed_listing(index, name)
        listed.yank(version, reason)
        return {"yanked": f"{name} {version}", "reason": reason, "snapshot": write_and_sign(index, listed)}


def refresh(index: Path) -> dict[str, Json]:
    """Sign everything anew before it expires."""
    with changing(index):
        return {"snapshot": sign_anew(index)}


def names_of(index: Path) -> list[str]:
    """The plugins of an index."""
    return sorted(file.stem for file in (index / "catalogue").glob("*.json") if "." not in file.stem)


@contextmanager
def changing(index: Path) -> Iterator[None]:
    """One change of an index at a time. Raises ConfigError ``index.none``."""
    if not (index / "index.json").exists():
        raise ConfigError.of("index.none", f"{index} holds no index", fix="begin one: `dataflare index init`")
    folder = folder_of(index)
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / NEXT).exists():
            from dataflare_index.rotating import finish

            finish(index)
        _mend(index)
        yield


def write_and_sign(index: Path, listed: Listed) -> int:
    """Publish what is said of a plugin, without new files; the number of the snapshot."""
    return _changed(index, [listed], [])


def _changed(index: Path, listed: list[Listed], files: list[str]) -> int:
    """Write the catalogue and the pages of these plugins, and sign; the number of the snapshot."""
    pending = folder_of(index) / PENDING
    put(pending, "\n".join(f"{one.folder}/{one.name}" for one in listed).encode())
    snapshot = publish(index, [*files, *write_pages(index, listed, _search_lines(index))])
    pending.unlink()
    searching.forget_old(index)
    return snapshot


def _mend(index: Path) -> None:
    """Bring pages back to what is signed, after a change that was cut off."""
    pending = folder_of(index) / PENDING
    if not pending.exists():
        return
    listed = [signed_listing(index, *path.split("/")[::-1]) for path in pending.read_text("utf-8").split()]
    for one in listed:
        if not one.releases:
            (index / one.folder / f"{one.name}.json").unlink(missing_ok=True)
            shutil.rmtree(index / "simple" / one.distribution, ignore_errors=True)
        held = {name for release in one.releases.values() for name in release["files"]}
        for file in (index / one.files_at).glob("*"):
            if file.name.removesuffix(".metadata") not in held:
                file.unlink()
    write_pages(index, [one for one in listed if one.releases], _search_lines(index))
    pending.unlink()


def signed_listing(index: Path, name: str, folder: str = Listed.folder) -> Listed:
    """What is signed of a plugin, or of another distribution; nothing, where nothing is."""
    kind = Other if folder == Other.folder else Listed
    digest = signed(index, f"{folder}/{name}.json")
    if not digest:
        return kind(name)
    return kind.told(name, json.loads((index / folder / f"{digest}.{name}.json").read_bytes()))


def write_pages(index: Path, listed: list[Listed], lines: dict[str, Json]) -> list[str]:
    """Write the catalogue and the pages of these plugins; the paths to sign. ``lines``: those of the others."""
    targets = []
    for one in listed:
        content = one.content()
        # Under the name of its content too: a client that reads meanwhile finds what its snapshot speaks of.
        digest = hashlib.sha256(content).hexdigest()
        put(index / one.folder / f"{digest}.{one.name}.json", content)
        put(index / one.folder / f"{one.name}.json", content)
        targets.append(f"{one.folder}/{one.name}.json")
        page = index / "simple" / one.distribution
        put(page / "index.html", simple.project_html(one))
        put(page / "index.json", simple.project_json(one))
    lines = {**lines, **{one.name: searching.line_of(one) for one in listed if not isinstance(one, Other)}}
    raw = searching.content(lines)
    put(index / searching.digest_name(raw), raw)
    put(index / searching.FILE, raw)
    write_roots(index, sorted(lines))
    return [*targets, searching.FILE]


def _search_lines(index: Path) -> dict[str, Json]:
    try:
        return searching.lines_in((index / f"{signed(index, searching.FILE)}.{searching.FILE}").read_bytes())
    except FileNotFoundError:  # an index of before there was such a file
        listed = [Listed.read(index, name) for name in names_of(index)]
        return {one.name: searching.line_of(one) for one in listed if one.releases}


def write_roots(index: Path, names: list[str]) -> None:
    """Write the pages that list all distributions. ``names``: the plugins."""
    distributions = sorted([*(Listed(name).distribution for name in names), *others.names_in(index)])
    put(index / "simple" / "index.html", simple.root_html(distributions))
    put(index / "simple" / "index.json", simple.root_json(distributions))


def _metadata_of(wheel: Wheel) -> bytes:
    return next(content for name, content in wheel.files.items() if name.endswith(".dist-info/METADATA"))


def _check_distributions(index: Path, listed: Iterable[Listed]) -> None:
    """No distribution is a plugin and something else. Raises ConfigError ``index.name``."""
    plugins, known = {Listed(name).distribution for name in names_of(index)}, set(others.names_in(index))
    for one in listed:
        if one.distribution in (plugins if isinstance(one, Other) else known):
            message = f"`{one.distribution}` is in the index already, as something else"
            raise ConfigError.of("index.name", message, fix="give the plugin another name")


def _check_name(name: str, taken: dict[str, str]) -> None:
    """A new name must not be taken for another one. ``taken``: skeleton → name. Raises ConfigError ``index.name``."""
    letters = skeleton(name)
    swapped = (
        letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
        for at in range(len(letters) - 1)
        if len(letters) >= SHORT
    )
    plural = (f"{letters}s", letters.removesuffix("s")) if len(letters) >= SHORT else ()
    other = next((taken[each] for each in (letters, *plural, *swapped) if each in taken), name)
    if other != name:
        message = f"`{name}` looks like `{other}`, which is another plugin"
        raise ConfigError.of("index.name", message, fix="give it a name that nobody takes for that one")
    taken[letters] = name


def skeleton(name: str) -> str:
    """What is left of a name where what looks alike is one.

    Separators, `0` and `o`, `1`, `i` and `l`; in names that are not short also doubled letters.
    """
    plain = name.replace("-", "").translate(str.maketrans("01i5", "ollS")).replace("rn", "m").lower()
    if len(plain) < SHORT:
        return plain
    return re.sub(r"(.)\1+", r"\1", plain)
