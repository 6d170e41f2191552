"""Authors sign what they publish: a name is its first publisher's, and nobody else's wheel goes by it."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dataflare import ConfigError, DataflareError, Failed
from dataflare_author.wheel_check import read_wheel
from dataflare_host.app import Host
from dataflare_host.cli import main
from dataflare_index import authors, publishing
from dataflare_index.advising import revoke
from dataflare_index.authors import Author
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.publishers import Submission, place_of
from dataflare_index.serving import server_of
from dataflare_index.submitting import publish, submission
from dataflare_index.trusted import Trusted, trust

from .served import TOKEN, serving, taking
from .wheels import wheel


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return authors.new("Ada <ada@example.org>")


@pytest.fixture
def eve(ada: Author) -> Author:
    return authors.new("Eve", "eve")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    publishing.init(place, "main")
    return place


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as host:
        yield host


def plugin(tmp_path: Path, version: str = "1.0.0", id: str = "geohash", **more: Any) -> Path:
    return wheel(tmp_path / "built", id, version, **{"runtime": "declarative", **more})


def refusal(work: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(DataflareError) as caught:
        work()
    return caught.value.code, caught.value.problems[0].details.get("attack")


def client(index: Path, tmp_path: Path) -> Trusted:
    return trust(tmp_path / "project", str(index), root_of(index))


def add(index: Path, author: Author, *wheels: Path, claim: bool = True) -> Any:
    return publishing.add(index, wheels, sent=submission([read_wheel(each) for each in wheels], author), claim=claim)


def test_keys_are_their_users_alone(ada: Author) -> None:
    file = authors.folder() / "main.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert authors.read() == ada or authors.read().keyid == ada.keyid
    with pytest.raises(ConfigError, match="already"):
        authors.new("Ada again")
    with pytest.raises(ConfigError, match="no key"):
        authors.read("other")
    with pytest.raises(ConfigError, match="no name"):
        authors.read("../other")
    fresh = authors.rotate()
    assert fresh.keyid != ada.keyid
    assert [authors.succeeds(each, fresh.keyid)[0] for each in authors.read().successions] == [ada.keyid]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_rotation_that_was_cut_off_is_finished(ada: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    real = authors.put

    def cut(file: Path, content: bytes) -> None:
        if file.name == "main.json":
            raise KeyboardInterrupt
        real(file, content)

    monkeypatch.setattr(authors, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        authors.rotate()
    monkeypatch.setattr(authors, "put", real)
    found = authors.read()
    assert authors.succeeds(found.successions[0], found.keyid)[0] == ada.keyid


def test_what_is_published_is_checked_and_says_by_whom(index: Path, tmp_path: Path, ada: Author, host: Host) -> None:
    made = plugin(tmp_path)
    report = {"plugin": "geohash", "version": "1.0.0", "ok": True, "cases": 7, "failed": [], "left_out": [{}]}
    done = publish([made], str(index), ada, host, reports=[report])
    assert done["added"] == [made.name]
    assert done["publisher"] == {"identity": "Ada <ada@example.org>", "keyid": ada.keyid}
    one = client(index, tmp_path)
    listed = one.plugin("geohash")
    assert listed.releases["1.0.0"]["publisher"] == done["publisher"]
    assert listed.releases["1.0.0"]["report"] == {"ok": True, "cases": 7, "failed": 0, "left_out": 1}
    assert json.loads((index / "reports/geohash/1.0.0.json").read_bytes())["cases"] == 7
    one.check_publisher(listed, "1.0.0")
    assert verify(index) == []
    copy = tmp_path / "copy"
    mirror(str(index), copy)
    there = Trusted("copy", str(copy), root_of(index), tmp_path / "kept")
    there.check_publisher(there.plugin("geohash"), "1.0.0")
    wrong = {**report, "version": "2.0.0"}
    with pytest.raises(ConfigError, match="does not speak"):
        publish([made], str(index), ada, host, reports=[wrong])


def test_a_name_is_its_first_publishers(index: Path, tmp_path: Path, ada: Author, eve: Author) -> None:
    add(index, ada, plugin(tmp_path))
    second = plugin(tmp_path, "1.1.0")
    assert refusal(lambda: add(index, eve, second)) == ("index.publisher", "wrong_key")
    assert refusal(lambda: publishing.add(index, [second])) == ("index.owned", None)
    posing = Author("x", ada.identity, eve.signer)
    assert refusal(lambda: add(index, posing, second)) == ("index.publisher", "wrong_key")
    assert client(index, tmp_path).plugin("geohash").versions() == ["1.0.0"]
    publishing.add(index, [plugin(tmp_path, id="plain")])
    later = plugin(tmp_path, "2.0.0", "plain")
    assert refusal(lambda: add(index, eve, later, claim=False)) == ("index.owned", None)
    add(index, eve, later)
    assert client(index, tmp_path).plugin("plain").owner["keyid"] == eve.keyid


def test_a_key_is_followed_by_the_one_that_it_named(index: Path, tmp_path: Path, ada: Author, eve: Author) -> None:
    add(index, ada, plugin(tmp_path))
    authors.rotate()
    fresh = authors.rotate()
    add(index, fresh, plugin(tmp_path, "1.1.0"))
    assert refusal(lambda: add(index, ada, plugin(tmp_path, "1.2.0"))) == ("index.publisher", "wrong_key")
    forged = Author("x", ada.identity, eve.signer, fresh.successions)
    assert refusal(lambda: add(index, forged, plugin(tmp_path, "1.2.0"))) == ("index.publisher", "wrong_key")
    one = client(index, tmp_path)
    listed = one.plugin("geohash")
    for version in ("1.0.0", "1.1.0"):
        one.check_publisher(listed, version)
    assert len(listed.owner["keys"]) == 3


def test_a_revoked_key_counts_up_to_its_snapshot(index: Path, tmp_path: Path, ada: Author, eve: Author) -> None:
    add(index, ada, plugin(tmp_path))
    last = add(index, ada, plugin(tmp_path, "1.1.0"))["snapshot"]
    told = revoke(index, "geohash", ada.keyid[:12], last, "it was stolen")
    assert (told["releases"], told["from"]) == (["1.1.0"], last)
    assert refusal(lambda: add(index, ada, plugin(tmp_path, "1.2.0"), claim=False)) == (
        "index.publisher",
        "revoked_key",
    )
    fresh = authors.rotate()
    assert refusal(lambda: add(index, fresh, plugin(tmp_path, "1.2.0"), claim=False))[0] == "index.publisher"
    assert refusal(lambda: add(index, eve, plugin(tmp_path, "1.2.0"), claim=False))[0] == "index.publisher"
    one = client(index, tmp_path)
    one.check_publisher(one.plugin("geohash"), "1.0.0")
    assert refusal(lambda: one.check_publisher(one.plugin("geohash"), "1.1.0")) == ("index.publisher", "revoked_key")
    with pytest.raises(ConfigError, match="no key of a publisher"):
        revoke(index, "geohash", "abc", 0, "")


def _other_wheel(told: Any, other: Any) -> None:
    (told["envelopes"],) = [
        dict.fromkeys(told["envelopes"], other["envelopes"]["dataflare_other-1.0.0-py3-none-any.whl"])
    ]


def _replayed(told: Any, other: Any) -> None:
    told["envelopes"] = dict.fromkeys(told["envelopes"], other["envelopes"]["dataflare_geohash-0.9.0-py3-none-any.whl"])


def _swapped(told: Any, other: Any) -> None:
    told["envelopes"] = dict.fromkeys(told["envelopes"], other["envelopes"]["swapped"])


def _manifest(told: Any, other: Any) -> None:
    told["envelopes"] = dict.fromkeys(told["envelopes"], other["envelopes"]["manifest"])


def _nothing(told: Any, other: Any) -> None:
    told["envelopes"] = {}


def _poser(told: Any, other: Any) -> None:
    told["identity"] = "Somebody better known"


@pytest.mark.parametrize(
    ("forge", "attack"),
    [
        (_other_wheel, "replay"),
        (_replayed, "replay"),
        (_swapped, "swapped_wheel"),
        (_manifest, "swapped_wheel"),
        (_nothing, "wrong_key"),
        (_poser, "other_identity"),
    ],
)
def test_an_envelope_for_something_else_is_refused(
    index: Path, tmp_path: Path, ada: Author, forge: Callable[[Any, Any], None], attack: str
) -> None:
    made = plugin(tmp_path)
    sent = json.loads(submission([read_wheel(made)], ada).content())
    others = [plugin(tmp_path, id="other"), plugin(tmp_path, "0.9.0")]
    other = json.loads(submission([read_wheel(each) for each in others], ada).content())
    swapped = wheel(tmp_path / "swapped", "geohash", content=b"else", runtime="declarative")
    manifest = wheel(tmp_path / "manifest", "geohash", runtime="wasm")
    for name, path in (("swapped", swapped), ("manifest", manifest)):
        other["envelopes"][name] = next(iter(submission([read_wheel(path)], ada).envelopes.values()))
    forge(sent, other)
    wrong = Submission.read(json.dumps(sent).encode())
    assert refusal(lambda: publishing.add(index, [made], sent=wrong)) == ("index.publisher", attack)
    assert not (index / "catalogue" / "geohash.json").exists()


@pytest.mark.parametrize("lie", ["other_manifest", "swapped_wheel", "wrong_key", "unsigned"])
def test_an_index_that_lies_is_found_out_by_who_reads_it(
    index: Path, tmp_path: Path, ada: Author, eve: Author, lie: str
) -> None:
    """Whoever has the index's own keys can sign what they like, and still not what an author did."""
    made = plugin(tmp_path)
    add(index, ada, made)
    with publishing.changing(index):
        listed = publishing.signed_listing(index, "geohash")
        release = listed.releases["1.0.0"]
        if lie == "other_manifest":
            release["manifest_sha256"] = "0" * 64
        elif lie == "swapped_wheel":
            release["files"][made.name]["sha256"] = "0" * 64
        elif lie == "wrong_key":
            listed.owner["keys"][ada.keyid]["public"] = eve.public
        else:
            listed.owner["keys"] = {}
        publishing.write_and_sign(index, listed)
    one = client(index, tmp_path)
    assert refusal(lambda: one.check_publisher(one.plugin("geohash"), "1.0.0")) == ("index.publisher", lie)


def test_an_envelope_that_is_gone_is_missed(index: Path, tmp_path: Path, ada: Author) -> None:
    made = plugin(tmp_path)
    add(index, ada, made)
    one = client(index, tmp_path)
    listed = one.plugin("geohash")
    (index / place_of("geohash", made.name)).write_bytes(b"{}")
    with pytest.raises(Failed) as caught:
        one.check_publisher(listed, "1.0.0")
    assert caught.value.exit_code == 4
    assert [problem.code for problem in verify(index)] == ["index.not_trusted"]


SECRETS = [
    "-----BEGIN OPENSSH PRIVATE" + " KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ" + "\n",
    "AKIA" + "IOSFODNN7ABCDEFG",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "postgres://shop:" + "hunter2hunter2@db.internal/shop",
    "api_key" + ' = "Zx8Kq2Lw9Rt4Yv7Bn3Mc6Hd1"',
]
HARMLESS = [
    'token = "${secret:shop-token}"',
    'password = "your-password-goes-here"',
    "postgres://{user}:{password}@db/x",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_found_before_the_world_has_them(
    index: Path, tmp_path: Path, ada: Author, host: Host, secret: str
) -> None:
    made = plugin(tmp_path, content=f"first\n{secret}\n".encode())
    with pytest.raises(ConfigError) as caught:
        publish([made], str(index), ada, host)
    assert caught.value.code == "publish.secret"
    assert "line 2" in str(caught.value)
    assert secret.strip() not in str(caught.value)
    publish([made], str(index), ada, host, seen=["dataflare_geohash/plugin.wasm"])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_let_through(
    index: Path, tmp_path: Path, ada: Author, host: Host, text: str
) -> None:
    publish([plugin(tmp_path, content=text.encode())], str(index), ada, host)


def test_a_served_index_takes_uploads_with_a_token(
    index: Path, tmp_path: Path, ada: Author, eve: Author, host: Host
) -> None:
    made, other = plugin(tmp_path), plugin(tmp_path, "1.1.0")
    with taking(index, tmp_path) as place:
        assert refusal(lambda: publish([made], place, ada, host)) == ("publish.token", None)
        assert refusal(lambda: publish([made], place, ada, host, token="other")) == ("publish.token", None)
        assert publish([made], place, ada, host, token=TOKEN)["added"] == [made.name]
        assert publish([made], place, ada, host, token=TOKEN)["known"] == [made.name]
        assert refusal(lambda: publish([other], place, eve, host, token=TOKEN)) == ("index.publisher", "wrong_key")
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        for content in (b"", b"no zip", made.read_bytes()):
            answer = httpx.post(f"{place}/publish", content=content, headers=allowed, trust_env=False)
            assert (answer.status_code, answer.json()["problems"][0]["code"]) == (422, "publish.submission")
        one = trust(tmp_path / "project", place, root_of(index))
        one.check_publisher(one.plugin("geohash"), "1.0.0")
    with serving(index) as shut:
        assert refusal(lambda: publish([other], shut, ada, host, token=TOKEN)) == ("publish.closed", None)
    assert refusal(lambda: publish([other], "http://plugins.example", ada, host, token=TOKEN)) == (
        "publish.place",
        None,
    )
    open_ = tmp_path / "open"
    open_.write_text(TOKEN)
    open_.chmod(0o644)
    assert refusal(lambda: server_of(index, 0, tokens=open_)) == ("publish.tokens", None)


def test_the_commands(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    assert run("plugin", "publish", plugin(tmp_path), "--to", index)[0] == 2
    keyid = run("plugin", "keys", "new", "--identity", "Ada")[1]["keyid"]
    assert [each["keyid"] for each in run("plugin", "keys", "list")[1]["keys"]] == [keyid]
    assert run("plugin", "publish", plugin(tmp_path), "--to", index)[0] == 0
    assert run("plugin", "keys", "rotate")[1]["keyid"] != keyid
    assert run("plugin", "publish", plugin(tmp_path, "1.1.0"), "--to", index)[0] == 0
    code, told = run(
        "index", "advise", index, "geohash", "<1.1", "--kind", "vulnerability", "--reason", "reads too much"
    )
    assert (code, told["versions"]) == (0, ["1.0.0"])
    assert client(index, tmp_path).plugin("geohash").warned("1.0.0")[0]["kind"] == "vulnerability"
    assert run("index", "advise", index, "geohash", "<1.1", "--kind", "vulnerability", "--withdraw")[0] == 0
    assert run("index", "revoke-key", index, "geohash", keyid, "--since", 2)[1]["releases"] == ["1.0.0"]
    shutil.rmtree(tmp_path / "config")
    assert run("plugin", "publish", plugin(tmp_path, "1.2.0"), "--to", index)[0] == 2


NONSENSE: list[dict[str, Any]] = [
    {"owner": []},
    {"owner": {"keys": 3}},
    {"advisories": {"x": 1}},
    {"advisories": [3]},
    {"advisories": [{"kind": "malware", "range": "~~", "reason": "", "published": ""}]},
    {"owner": {"identity": "x", "keyid": "x", "keys": {}, "revoked": {"x": {}}}},
    {"owner": {"identity": "x", "keyid": "x", "keys": {"x": {"public": "zz", "snapshot": 1}}}},
    {"releases": {"1.0.0": {"publisher": ["x"], "files": {}}}},
    {"releases": {"1.0.0": {"publisher": {"identity": "x", "keyid": "x"}, "files": {"x": {"snapshot": "2"}}}}},
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_index_that_talks_nonsense_is_an_error_in_words(
    index: Path, tmp_path: Path, ada: Author, nonsense: Any
) -> None:
    add(index, ada, plugin(tmp_path))
    one = client(index, tmp_path)
    told = json.loads(one.plugin("geohash").content()) | nonsense

    def work() -> None:
        listed = type(one.plugin("geohash")).told("geohash", told)
        one.check_publisher(listed, "1.0.0")
        listed.warned("1.0.0")

    assert refusal(work)[0] in ("index.catalogue", "index.publisher")


def test_a_signature_by_another_key_is_none(index: Path, tmp_path: Path, ada: Author, eve: Author) -> None:
    made = plugin(tmp_path)
    sent = json.loads(submission([read_wheel(made)], ada).content())
    posing = submission([read_wheel(made)], Author("x", ada.identity, eve.signer)).envelopes[made.name]
    posing["signatures"][0]["keyid"] = ada.keyid
    sent["envelopes"] = {made.name: posing}
    wrong = Submission.read(json.dumps(sent).encode())
    assert refusal(lambda: publishing.add(index, [made], sent=wrong)) == ("index.publisher", "wrong_key")


def test_an_index_cannot_put_its_own_key_under_an_authors_id(
    index: Path, tmp_path: Path, ada: Author, eve: Author
) -> None:
    made = plugin(tmp_path)
    add(index, ada, made)
    forged = submission([read_wheel(made)], Author("x", ada.identity, eve.signer)).envelopes[made.name]
    place = place_of("geohash", made.name)
    (index / place).write_text(json.dumps(forged))
    with publishing.changing(index):
        listed = publishing.signed_listing(index, "geohash")
        listed.owner["keys"][ada.keyid]["public"] = eve.public
        publishing._changed(index, [listed], [place])
    one = client(index, tmp_path)
    assert refusal(lambda: one.check_publisher(one.plugin("geohash"), "1.0.0")) == ("index.publisher", "wrong_key")
