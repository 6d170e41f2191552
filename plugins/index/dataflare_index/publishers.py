"""Who publishes a plugin: the first one owns its name, by a key that signs an envelope for each wheel.

The catalogue says it of a plugin (``owner``: identity, keyid, keys with how each followed from the one before, revoked
ones) and of a release (``publisher``: identity, keyid). Keys prove themselves, an id is a digest of the key: an index
cannot make up a succession.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from securesystemslib.signer._crypto_signer import CryptoSigner

from dataflare.errors import ConfigError
from dataflare_author.refusals import NotTrusted
from dataflare_author.wheel_check import Wheel
from dataflare_index.authors import Author, is_identity, succeeds
from dataflare_index.catalogue import Listed
from dataflare_index.dsse import NotSigned, opened, public_of, sign

Json = Any
KIND = "application/vnd.dataflare.wheel+json"
FOLDER = "attestations"
MOST = 100
"""Successions of a key."""


@dataclass(frozen=True)
class Submission:
    """What an author sends with wheels. ``envelopes``: file of a wheel → envelope; ``reports``: of its conformance.

    ``seen``: files that look like secrets, and that the author says are none.
    """

    identity: str
    public: str
    envelopes: Mapping[str, Json]
    successions: tuple[Json, ...] = ()
    reports: Mapping[str, Json] = field(default_factory=dict)
    seen: tuple[str, ...] = ()

    def content(self) -> bytes:
        """As it is sent."""
        return json.dumps({**vars(self), "successions": list(self.successions)}).encode()

    @classmethod
    def read(cls, content: bytes) -> Submission:
        """From what was sent. Raises ConfigError ``publish.submission``."""
        try:
            told = json.loads(content)
            lists = {word: tuple(told.get(word, ())) for word in ("successions", "seen")}
            made = cls(told["identity"], told["public"], told["envelopes"], reports=told["reports"], **lists)
            public_of(made.public)
            if isinstance(made.envelopes, dict) and isinstance(made.reports, dict) and is_identity(made.identity):
                return made
            cause = "it has other values"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            cause = repr(error)
        raise ConfigError.of("publish.submission", "what was sent is not what `plugin publish` sends", cause=cause)


def place_of(plugin: str, wheel: str) -> str:
    """Where the envelope of a wheel is, below the index."""
    return f"{FOLDER}/{plugin}/{wheel}.json"


def statement(wheel: Wheel, identity: str) -> dict[str, str]:
    """What an author signs of a wheel."""
    manifest = wheel.files[f"{wheel.names.package}/dataflare.toml"]
    return _said(
        wheel.names.id, wheel.version, wheel.path.name, wheel.digest, hashlib.sha256(manifest).hexdigest(), identity
    )


def seal(wheel: Wheel, author: Author) -> Json:
    """The envelope of a wheel."""
    return json.loads(_sealed(statement(wheel, author.identity), author.signer))


def take(one: Listed, wheel: Wheel, sent: Submission | None, snapshot: int, claim: bool) -> Iterator[tuple[str, bytes]]:
    """Note who publishes a wheel that was just added, and give the files that go with it.

    ``claim``: may a name be taken that has releases, and no owner whose key is good?

    Raises ConfigError ``index.owned``, NotTrusted ``index.publisher``.
    """
    release = one.releases[wheel.version]
    release["files"][wheel.path.name]["snapshot"] = snapshot
    if sent is None:
        if one.owner:
            message = f"`{one.name}` is published by {one.owner['identity']}, who signs it"
            raise ConfigError.of("index.owned", message, fix="let its publisher do it: `dataflare plugin publish`")
        return
    key = public_of(sent.public)
    _own(one, wheel, sent, snapshot, claim)
    publisher = {"identity": sent.identity, "keyid": key.keyid}
    if len(release["files"]) > 1 and release.get("publisher") != publisher:
        message = f"other wheels of `{one.name}` {wheel.version} are of another publisher or key"
        raise ConfigError.of("index.owned", message, fix="give what you publish a new version")
    release["publisher"] = publisher
    envelope = json.dumps(sent.envelopes.get(wheel.path.name) or "", sort_keys=True).encode()
    check(one, wheel.version, wheel.path.name, envelope)
    yield place_of(one.name, wheel.path.name), envelope
    report = sent.reports.get(one.name)
    if report is not None and "report" not in release:
        check_report(report, one.name, wheel.version)
        release["report"] = {"ok": True, "cases": report["cases"], "failed": 0, "left_out": len(report["left_out"])}
        yield f"reports/{one.name}/{wheel.version}.json", json.dumps(report, indent=1, sort_keys=True).encode()


def check_report(report: Mapping[str, Json], name: str, version: str) -> None:
    """Does a report of conformance speak for a release? Raises ConfigError ``publish.report``."""
    try:
        said = (report["plugin"], report["version"], report["ok"], report.get("failed") or [])
        if said == (name, version, True, []) and report["cases"] >= 0 and isinstance(report["left_out"], list):
            return
        cause = f"it is of {said[0]} {said[1]}, {'where all held' if said[2] is True else 'and not all held'}"
    except (KeyError, TypeError, AttributeError) as error:
        cause = repr(error)
    message = "a report of conformance does not speak for what is published"
    fix = "make it from what is published: `dataflare plugin verify WHEEL --json`"
    raise ConfigError.of("publish.report", message, cause=cause, fix=fix)


def check(one: Listed, version: str, wheel: str, envelope: bytes) -> None:
    """Does the envelope of a wheel say what the catalogue says, and is it its publisher's?

    Raises NotTrusted ``index.publisher``; its details name the attack.
    """
    release = one.releases[version]
    publisher, file = release["publisher"], release["files"][wheel]
    keyid = publisher["keyid"]
    try:
        key = public_of(one.owner["keys"][keyid]["public"])
        if key.keyid != keyid:
            raise NotSigned("the key is another one than its id says", "wrong_key")
        told = json.loads(opened(envelope, KIND, [key]))
        wanted = _said(one.name, version, wheel, file["sha256"], release["manifest_sha256"], publisher["identity"])
        for word, attack in _ATTACKS:
            if told[word] != wanted[word]:
                raise NotSigned(f"the signed `{word}` is {told[word]}, not {wanted[word]}", attack)
        if one.revoked(keyid, int(file["snapshot"])):
            raise NotSigned(f"its key is revoked: {one.owner['revoked'][keyid]['reason']}", "revoked_key")
    except NotSigned as error:
        raise _refused(one.name, version, str(error), error.attack) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(one.name, version, f"what is said of it makes no sense: {error!r}", "unsigned") from error


def follows(one: Listed, former: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Is the publisher now the same as formerly, with a key that the former one named, or one that it named?"""
    if former.get("identity") != now.get("identity"):
        return False
    keyid, keys = now.get("keyid", ""), one.owner.get("keys", {})
    try:
        for _ in range(MOST):
            if keyid == former.get("keyid"):
                return True
            entry = keys[keyid]
            before, _ = succeeds(entry["succession"], keyid)
            if one.revoked(before, int(entry["snapshot"])):
                return False
            keyid = before
    except (KeyError, TypeError, ValueError):
        pass
    return False


def _own(one: Listed, wheel: Wheel, sent: Submission, snapshot: int, claim: bool) -> None:
    """See to it that who sends a wheel owns the name."""
    keyid = public_of(sent.public).keyid
    entry: dict[str, Json] = {"public": sent.public, "snapshot": snapshot}
    owner = one.owner
    if not owner or (claim and one.revoked(owner["keyid"], snapshot)):
        first = len(one.releases) == 1 and [*one.releases[wheel.version]["files"]] == [wheel.path.name]
        if not first and not claim:
            message = f"`{one.name}` has releases that nobody signed: it is not for everybody to take"
            raise ConfigError.of("index.owned", message, fix="ask who keeps the index to publish yours into its folder")
        keys = {**owner.get("keys", {}), keyid: entry}
        one.owner = {"identity": sent.identity, "keyid": keyid, "keys": keys, "revoked": owner.get("revoked", {})}
        return
    if one.revoked(keyid, snapshot):
        raise _refused(one.name, wheel.version, "its key is revoked", "revoked_key")
    if keyid != owner["keyid"] and sent.identity == owner["identity"]:
        _succeed(one, sent, snapshot)
    if (one.owner["identity"], one.owner["keyid"]) != (sent.identity, keyid):
        cause = f"it is {owner['identity']}'s, whose key is {owner['keyid'][:16]}; this is {sent.identity} {keyid[:16]}"
        raise _refused(one.name, wheel.version, cause, "wrong_key")


def _succeed(one: Listed, sent: Submission, snapshot: int) -> None:
    """Take over the keys that lead from the owner's to the one that was sent, if they do."""
    links: dict[str, dict[str, Json]] = {}
    keyid, public = public_of(sent.public).keyid, sent.public
    try:
        for succession in reversed(sent.successions[-MOST:]):
            before, known = succeeds(succession, keyid)
            links[keyid] = {"public": public, "snapshot": snapshot, "succession": succession}
            if one.revoked(before, snapshot):
                return
            if before == one.owner["keyid"]:
                keys = {**one.owner["keys"], **links}
                one.owner = {**one.owner, "keyid": public_of(sent.public).keyid, "keys": keys}
                return
            keyid, public = before, known
    except (KeyError, TypeError, ValueError):
        return


_ATTACKS = (
    ("plugin", "replay"),
    ("version", "replay"),
    ("wheel", "other_wheel"),
    ("sha256", "swapped_wheel"),
    ("manifest_sha256", "other_manifest"),
    ("identity", "other_identity"),
)
"""What a statement says, and what it would be a sign of where it says something else."""


def _said(plugin: str, version: str, wheel: str, sha256: str, manifest: str, identity: str) -> dict[str, str]:
    return {
        "plugin": plugin,
        "version": version,
        "wheel": wheel,
        "sha256": sha256,
        "manifest_sha256": manifest,
        "identity": identity,
    }


def _sealed(told: dict[str, str], signer: CryptoSigner) -> bytes:
    return sign(json.dumps(told, sort_keys=True).encode(), KIND, signer)


def _refused(plugin: str, version: str, cause: str, attack: str) -> NotTrusted:
    message = f"`{plugin}` {version} is not by its publisher"
    fix = "what is installed stays; ask the publisher, and who keeps the index"
    return NotTrusted.of("index.publisher", message, cause=cause, fix=fix, details={"attack": attack, "plugin": plugin})
