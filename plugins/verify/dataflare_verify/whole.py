"""The cases of a plugin as a whole: wheel, manifest, what it says of its components, how it answers nonsense."""

from __future__ import annotations

import json
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from typing import TYPE_CHECKING, Any, ClassVar

from packaging.version import Version

from dataflare.declare import normalise
from dataflare.guest import MINORS
from dataflare.testing.suite import require
from dataflare_host.read_manifest import admits
from dataflare_verify.cases import LeftOut

if TYPE_CHECKING:
    from dataflare_verify.subject import Subject

TABLE = "components.json"


class Whole:
    """What every plugin keeps."""

    subject: ClassVar[Subject]

    def test_its_wheel_is_what_its_manifest_says(self) -> None:
        """Name, version and entry point of the wheel are those of the plugin."""
        subject = self.subject
        if not subject.artifact.is_file():
            raise LeftOut("it was given as a folder")
        with zipfile.ZipFile(subject.artifact) as wheel:
            told = {name.rpartition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
            require({"METADATA", "entry_points.txt", "RECORD"} <= told.keys(), f"the wheel has only {sorted(told)}")
            metadata = Parser().parsestr(wheel.read(told["METADATA"]).decode())
            entries = ConfigParser()
            entries.read_string(wheel.read(told["entry_points.txt"]).decode())
        id, version = subject.manifest.id, subject.manifest.version
        require(normalise(metadata["Name"]) == f"dataflare-{id}", f"the wheel of `{id}` is named {metadata['Name']}")
        require(metadata["Version"] == version, f"the wheel has version {metadata['Version']}, the plugin {version}")
        given = dict(entries["dataflare.plugins"]) if entries.has_section("dataflare.plugins") else {}
        package = subject.package.name
        require(given.get(id) == package, f"[dataflare.plugins] of the wheel is {given}, not {{{id}: {package}}}")

    def test_its_manifest_says_what_it_is(self) -> None:
        """A summary and a license; its examples tell of components that it has."""
        manifest = self.subject.manifest
        require(bool(manifest.summary.strip()), "its manifest has no `summary`")
        require(bool(self.subject.classes), "it has no components")
        self.subject.check_examples()

    def test_its_table_is_what_its_code_says(self) -> None:
        """The components in the manifest and in `components.json` are those that the code tells of, word for word."""
        found = {(made.kind, made.spec.name) for made in self.subject.classes}
        listed = self.subject.manifest.components
        if listed is not None:
            told = {(kind, name) for kind, named in listed.items() for name in named}
            require(told == found, f"the manifest lists {sorted(told)}, the code has {sorted(found)}")
        file = self.subject.package / TABLE
        if file.exists():
            kept, now = json.loads(file.read_text("utf-8")), self.subject.ask(op="describe").header
            for word in ("protocol", "encodings", "components"):
                same = _plain(kept.get(word)) == _plain(now.get(word))
                require(same, f"`{word}` of {TABLE} is not what the code says now: build it again")

    def test_its_components_say_what_they_are(self) -> None:
        """Each has a name of its kind for itself, and a summary."""
        seen: set[tuple[str, str]] = set()
        for made in self.subject.classes:
            for name in (made.spec.name, *made.spec.aliases):
                require(normalise(name) == name, f"`{name}` is not in canonical form")
                require((made.kind, name) not in seen, f"the {made.kind} `{name}` is there twice")
                seen.add((made.kind, name))
            require(bool(made.spec.summary), f"the {made.kind} `{made.spec.name}` has no summary")

    def test_it_says_the_same_of_itself_twice(self) -> None:
        """`describe` of one guest and of another."""
        first, again = (self.subject.ask(op="describe").header for _ in range(2))
        require(first.get("protocol") == 1, f"it speaks protocol {first.get('protocol')}")
        require(_plain(first) == _plain(again), "`describe` gives something else the second time")

    def test_it_speaks_what_it_says_it_needs(self) -> None:
        """A host of every version of the contract that its manifest's `requires` admits, up to this one's."""
        spoken = self.subject.ask(op="describe").header.get("api", MINORS[:1])
        oldest = min(map(Version, spoken))
        deaf = [minor for minor in MINORS if admits(self.subject.manifest.api, minor) and Version(minor) < oldest]
        require(not deaf, f"its manifest admits hosts of {', '.join(deaf)}, and it speaks {', '.join(spoken)}")

    def test_nonsense_is_answered(self) -> None:
        """Requests that make no sense are answered with an error, and the guest goes on."""
        for code, request in (
            ("guest.unknown_operation", {"op": "x_unknown"}),
            ("guest.instance", {"op": "process", "instance": 4711, "input": "", "part": 0}),
            ("guest.unknown_component", {"op": "check", "component": "processor:x-unknown", "config": {}}),
            ("guest.nothing_more", {"op": "continue"}),
        ):
            answer = self.subject.ask(**request)  # type: ignore[arg-type]
            said = (answer.header.get("error") or {}).get("code")
            require(said == code, f"`{request['op']}` is answered with {said or answer.header}, expected was {code}")
        require(self.subject.ask(op="describe").header.get("protocol") == 1, "afterwards it answers no more")

    def test_it_needs_what_its_manifest_says(self) -> None:
        """Its loader finds nothing in it that the manifest does not ask for."""
        problems = self.subject.audited
        require(not problems, "\n".join(problem.render() for problem in problems))

    def test_its_limits_can_be_kept(self) -> None:
        """The limits in its manifest are limits that there are."""
        self.subject.limits  # noqa: B018


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True))
