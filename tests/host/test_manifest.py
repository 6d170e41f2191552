"""A manifest is checked whole, and every mistake says where it is and how to mend it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare_host.manifest import CONTRACT, Manifest
from dataflare_host.read_manifest import load_manifest

WHOLE = """\
schema = 1
[plugin]
id = "acme-dedupe"
version = "1.4.0"
summary = "Drops records seen before."
license = "Apache-2.0"
[api]
requires = ">=1.0,<2"
host = ">=1.0,<2"
features = ["state"]
[runtime]
kind = "python"
entry = "acme_dedupe"
[components.processor]
first_only = "acme_dedupe.first:FirstOnly"
[components.command]
"state.look" = "acme_dedupe.commands:look"
[summaries.command]
"state.look" = "Look at it."
[kinds]
conflict-policy = "acme_dedupe.api:ConflictPolicy"
[hooks]
module = "acme_dedupe.hooks"
names = ["check_plan", "dataflare_event"]
[defaults]
engine = { uses = "pipeline/pipeline" }
state = { uses = "state/sqlite", with = { path = "x.db" } }
[dependencies]
std = ">=1.0,<2"
[permissions]
http = [{ host = "api.acme.example", methods = ["GET"], reason = "licence check" }]
[limits]
memory = "64MiB"
[deprecations]
"2.0.0" = { message = "`window` is now `ttl`", deadline = 2027-06-01 }
"""


def written(tmp_path, text):
    file = tmp_path / "dataflare.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_manifest(written(tmp_path, text))
    return {problem.code: problem for problem in caught.value.problems}


def test_everything_a_manifest_says_is_read(tmp_path):
    manifest = load_manifest(written(tmp_path, WHOLE), "acme_dedupe")
    assert (manifest.id, manifest.version, manifest.package) == ("acme-dedupe", "1.4.0", "acme_dedupe")
    assert manifest.components == {
        "processor": {"first-only": "acme_dedupe.first:FirstOnly"},
        "command": {"state.look": "acme_dedupe.commands:look"},
    }
    assert manifest.summaries == {"command": {"state.look": "Look at it."}}
    assert manifest.hooks == ("check_plan", "event")
    assert manifest.defaults["state"] == {"uses": "state/sqlite", "with": {"path": "x.db"}}
    assert manifest.deprecations == {"2.0.0": {"message": "`window` is now `ttl`", "deadline": "2027-06-01"}}


def test_a_manifest_survives_json(tmp_path):
    manifest = load_manifest(written(tmp_path, WHOLE), "acme_dedupe")
    assert Manifest.from_json(json.loads(json.dumps(manifest.as_json()))) == manifest


def test_all_mistakes_are_told_at_once(tmp_path):
    text = WHOLE.replace("summary", "sumary").replace('version = "1.4.0"', "").replace('features = ["state"]', "")
    found = problems(tmp_path, text + '\n[componets.source]\nx = "a:b"\n')
    assert set(found) == {"plugin.manifest_unknown_key", "plugin.manifest_missing_key"}
    assert found["plugin.manifest_missing_key"].pointer == "/plugin/version"


@pytest.mark.parametrize(
    ("old", "new", "code", "pointer"),
    [
        ("schema = 1", "schema = 2", "plugin.manifest_schema", "/schema"),
        ('id = "acme-dedupe"', 'id = "Acme_Dedupe"', "plugin.manifest_id", "/plugin/id"),
        ('version = "1.4.0"', 'version = "one"', "plugin.manifest_value", "/plugin/version"),
        ('version = "1.4.0"', "version = 1.4", "plugin.manifest_type", "/plugin/version"),
        ('requires = ">=1.0,<2"', 'requires = ">=2"', "plugin.api", "/api/requires"),
        ('requires = ">=1.0,<2"', 'requires = "1.0 or so"', "plugin.manifest_value", "/api/requires"),
        ('host = ">=1.0,<2"', 'host = ">=7"', "plugin.api", "/api/host"),
        ('features = ["state"]', 'features = ["teleport"]', "plugin.feature", "/api/features"),
        ('features = ["state"]', 'features = "state"', "plugin.manifest_type", "/api/features"),
        (
            "acme_dedupe.first:FirstOnly",
            "acme_dedupe.first",
            "plugin.manifest_value",
            "/components/processor/first-only",
        ),
        ("acme_dedupe.api:ConflictPolicy", "acme dedupe", "plugin.manifest_value", "/kinds/conflict-policy"),
        (
            "first_only =",
            'first-only = "a:b"\nfirst_only =',
            "plugin.manifest_value",
            "/components/processor/first_only",
        ),
        ('module = "acme_dedupe.hooks"', "", "plugin.manifest_missing_key", "/hooks/module"),
        ('{ uses = "pipeline/pipeline" }', '"pipeline"', "plugin.manifest_value", "/defaults/engine"),
        ("engine = {", "engin = {", "plugin.manifest_unknown_key", "/defaults/engin"),
        ('std = ">=1.0,<2"', 'std = "newest"', "plugin.manifest_value", "/dependencies/std"),
        (', reason = "licence check"', "", "plugin.manifest_missing_key", "/permissions/http/0/reason"),
        ("http = [", "htpp = [", "plugin.manifest_unknown_key", "/permissions/htpp"),
        ('memory = "64MiB"\n[deprecations]', "[deprecations]\nx = 1", "plugin.manifest_type", "/deprecations/x"),
        ("[plugin]", "plugin = 1\n[other]", "plugin.manifest_type", "/plugin"),
    ],
)
def test_a_mistake_says_where_it_is(tmp_path, old, new, code, pointer):
    assert old in WHOLE
    found = problems(tmp_path, WHOLE.replace(old, new))
    assert code in found
    assert found[code].pointer == pointer
    assert found[code].file == str(tmp_path / "dataflare.toml")


@pytest.mark.parametrize("wanted", [">=1.0,<2", ">=1.1", "~=1.0", "==1.*", "<2", "!=1.5"])
def test_a_plugin_of_an_older_contract_is_taken(tmp_path, wanted):
    text = WHOLE.replace('requires = ">=1.0,<2"', f'requires = "{wanted}"')
    assert load_manifest(written(tmp_path, text)).api == wanted


@pytest.mark.parametrize(
    ("wanted", "fix"),
    [
        (">=1.2,<2", "update the host, or use an older version of the plugin"),
        ("~=1.7", "update the host, or use an older version of the plugin"),
        ("==2.*", "update the host, or use an older version of the plugin"),
        (">=0.9,<1.0", "use a newer version of the plugin"),
        ("==1.0", "use a newer version of the plugin"),
    ],
)
def test_a_range_without_this_contract_says_which_side_is_too_old(tmp_path, wanted, fix):
    problem = problems(tmp_path, WHOLE.replace('requires = ">=1.0,<2"', f'requires = "{wanted}"'))["plugin.api"]
    assert (problem.fix, CONTRACT in problem.message) == (fix, True)


def test_an_unknown_key_gets_the_nearest_name(tmp_path):
    found = problems(tmp_path, WHOLE.replace("license", "licence"))
    assert found["plugin.manifest_unknown_key"].fix == "did you mean `license`?"


def test_broken_toml_is_told_with_line_and_column(tmp_path):
    problem = problems(tmp_path, "schema = 1\n[plugin\n")["plugin.manifest_syntax"]
    assert (problem.line, problem.column) == (2, 8)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"schema = 1"])
def test_a_damaged_file_is_a_problem_not_a_traceback(tmp_path, content):
    assert problems(tmp_path, content)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"plugin\.manifest_missing"):
        load_manifest(tmp_path / "dataflare.toml")


@given(
    st.dictionaries(
        st.sampled_from(
            ["schema", "plugin", "api", "runtime", "components", "hooks", "kinds", "permissions", "defaults"]
        ),
        st.one_of(st.integers(), st.booleans(), st.lists(st.integers(), max_size=2)),
    )
)
def test_no_shape_of_a_manifest_breaks_the_reader(tmp_path_factory, given):
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    assert problems(tmp_path_factory.mktemp("manifest"), lines)
