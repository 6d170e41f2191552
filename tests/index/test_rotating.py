"""Keys change by those who hold the root; clients follow, and a thief of online keys is left with nothing."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dataflare import ConfigError, Failed
from dataflare_index import clock, signing
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.keys import folder_of, read_key
from dataflare_index.publishing import add, init, refresh
from dataflare_index.rotating import rotate
from dataflare_index.signing import METADATA, newest
from dataflare_index.trusted import Trusted, trust

from .wheels import wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "test")
    add(place, [wheel(tmp_path / "built", "geohash")])
    return place


def again(one: Trusted) -> Trusted:
    """The same index in a new session."""
    return Trusted(one.name, one.place, one.root, one.kept)


def test_a_client_follows_from_root_to_root(index: Path, tmp_path: Path) -> None:
    one = trust(tmp_path / "project", str(index), root_of(index))
    for number, roots in enumerate((False, True, True), start=2):
        old = {file.name: file.read_bytes() for file in folder_of(index).glob("*.pem")}
        assert rotate(index, roots=roots)["root"] == number
        changed = {name for name, key in old.items() if (folder_of(index) / name).read_bytes() != key}
        assert any(name.startswith("root-") and "old" not in name for name in changed) == roots
        add(index, [wheel(tmp_path / "built", "geohash", f"1.{number}.0")])
        assert f"1.{number}.0" in again(one).plugin("geohash").releases
    assert Client(str(index), root_of(index), tmp_path / "fresh").names() == ["geohash"]
    assert verify(index) == []
    mirror(str(index), tmp_path / "copy", root_of(index))
    assert verify(tmp_path / "copy", root_of(index)) == []


def test_too_few_holders_can_do_nothing(index: Path, tmp_path: Path) -> None:
    away = tmp_path / "safe"
    away.mkdir()
    for name in ("root-1", "root-2", "root-3"):
        (folder_of(index) / f"{name}.pem").rename(away / f"{name}.pem")
    with pytest.raises(ConfigError, match="2 of the root's keys have to sign, and 0 are in"):
        rotate(index)
    (away / "root-3.pem").rename(tmp_path / "lost.pem")
    assert rotate(index, holders=away, roots=True)["root"] == 2
    (away / "root-1.pem").unlink()
    (away / "root-2.pem").unlink()
    with pytest.raises(ConfigError) as caught:
        rotate(index, holders=away)
    assert caught.value.code == "index.threshold"
    add(index, [wheel(tmp_path / "built", "other")])
    assert verify(index) == []


def test_stolen_online_keys_are_recovered_from(index: Path, tmp_path: Path) -> None:
    one = trust(tmp_path / "project", str(index), root_of(index))
    early = trust(tmp_path / "careful", str(index), root_of(index))
    good = one.snapshot()
    # The thief publishes, counts far ahead, and puts the time forward.
    add(index, [wheel(tmp_path / "evil", "geohash", "6.6.6"), wheel(tmp_path / "evil", "malware")])
    stamp = newest(index, "timestamp")
    stamp.signed.version = 1 << 30
    stamp.signed.expires = datetime(2999, 1, 1, tzinfo=UTC)
    stamp.signed.unrecognized_fields[signing.SIGNED] = "2998-01-01T00:00:00Z"
    stamp.sign(read_key(index, "timestamp"))
    (index / METADATA / "timestamp.json").write_bytes(stamp.to_bytes())
    thief = {name: read_key(index, name) for name in ("snapshot", "timestamp", "bins", "targets")}
    assert "6.6.6" in again(one).plugin("geohash").releases
    stolen = newest(index, "snapshot").signed.version
    with pytest.raises(Failed, match="has expired"):
        again(one).names()

    told = rotate(index, distrust=good + 1, reason="the keys were on a stolen laptop")

    assert told["distrusted"] == [good + 1, stolen]
    for client in (again(one), again(early), trust(tmp_path / "new", str(index), root_of(index))):
        assert client.names() == ["geohash"]
        assert list(client.plugin("geohash").releases) == ["1.0.0"]
        assert client.revoked(stolen) == "the keys were on a stolen laptop"
        assert client.revoked(good) == ""
        assert "never had" in client.revoked(1 << 30)
    assert verify(index) == []
    add(index, [wheel(tmp_path / "built", "geohash", "1.1.0")])
    assert list(again(one).plugin("geohash").releases) == ["1.0.0", "1.1.0"]
    held = newest(index, "timestamp")
    held.signed.version += 1
    held.sign(thief["timestamp"])
    (index / METADATA / "timestamp.json").write_bytes(held.to_bytes())
    with pytest.raises(Failed) as caught:
        again(one).names()
    assert caught.value.problems[0].details["attack"] == "wrong_key"


def test_one_cannot_go_back_to_what_is_not_there(index: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rotate(index, distrust=99)
    assert caught.value.code == "index.snapshot"
    assert verify(index) == []
    assert newest(index, "root").signed.version == 1


# --- time ---------------------------------------------------------------------------------------------------


def at(monkeypatch: pytest.MonkeyPatch, when: datetime) -> None:
    monkeypatch.setattr(clock, "now", lambda: when)


def test_a_clock_at_1970_takes_nothing_old_for_fresh(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, datetime(1970, 1, 1, tzinfo=UTC))
    one = trust(tmp_path / "project", str(index), root_of(index))
    assert one.names() == ["geohash"]
    refresh(index)
    assert again(one).names() == ["geohash"]
    # An index that is kept from signing anew, after the client saw a later time.
    stamp = newest(index, "timestamp")
    stamp.signed.version += 1
    stamp.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    stamp.sign(read_key(index, "timestamp"))
    (index / METADATA / "timestamp.json").write_bytes(stamp.to_bytes())
    with pytest.raises(Failed) as caught:
        again(one).names()
    assert caught.value.problems[0].details["attack"] == "freeze"


def test_what_was_locked_stays_installable_after_years_at_sea(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trust(tmp_path / "project", str(index), root_of(index))
    name, file = next(iter(one.plugin("geohash").releases["1.0.0"]["files"].items()))
    at(monkeypatch, datetime.now(UTC) + timedelta(days=4000))
    late = again(one)
    with pytest.raises(Failed, match="has expired: nothing new is taken"):
        late.plugin("geohash")
    with pytest.raises(Failed, match="has expired"):
        late.wheel("geohash", name, tmp_path / "new.whl")
    assert late.seen("geohash") == one.plugin("geohash")
    assert late.wheel("geohash", name, tmp_path / "locked.whl", file["sha256"]).exists()
    monkeypatch.undo()
    assert again(one).names() == ["geohash"]


# --- power loss ---------------------------------------------------------------------------------------------


class PowerLoss(BaseException):
    pass


def cut(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Power is lost at the write of this number; how many there were."""
    from dataflare_index import publishing, rotating

    count, real = [0], signing.put

    def put(file: Path, content: bytes) -> None:
        if count[0] == after:
            raise PowerLoss
        count[0] += 1
        real(file, content)

    for module in (signing, publishing, rotating):
        monkeypatch.setattr(module, "put", put)
    return count


@pytest.mark.parametrize("work", ["add", "rotate", "take back"])
def test_power_loss_at_any_write_leaves_an_index_that_the_next_change_mends(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    add(index, [wheel(tmp_path / "built", "geohash", "1.1.0")])
    new = [wheel(tmp_path / "built", "geohash", "1.2.0"), wheel(tmp_path / "built", "fresh")]
    root = root_of(index)

    def change(place: Path) -> None:
        if work == "add":
            add(place, new)
        else:
            rotate(place, roots=True, distrust=3 if work == "take back" else 0)

    done = False
    for point in range(0, 200, 1 if work == "add" else 7):
        place = tmp_path / f"at{point}" / "index"
        shutil.copytree(index, place)
        shutil.copytree(folder_of(index), folder_of(place))
        with monkeypatch.context() as patch:
            written = cut(patch, point)
            try:
                change(place)
                done = True
            except PowerLoss:
                assert written == [point]
        if work == "add":
            seen = Client(str(place), root, tmp_path / f"c{point}")
            assert set(seen.names()) in ({"geohash"}, {"geohash", "fresh"})
            assert ("1.2.0" in seen.plugin("geohash")["releases"]) == ("fresh" in seen.names())
            add(place, new)
            assert set(Client(str(place), root, tmp_path / f"c{point}").names()) == {"geohash", "fresh"}
        else:
            add(place, [new[1]])
            assert "fresh" in Client(str(place), root, tmp_path / f"c{point}").names()
            change(place)
        assert verify(place, root) == []
        if done:
            break
    assert done
