"""The Simple API of an index: pages for `pip` and `uv` (PEP 503, 592, 658, 691, 700, 714)."""

from __future__ import annotations

import html
import json
from typing import Any

from dataflare_index.catalogue import Listed

Json = Any
API = "1.1"


def project_json(listed: Listed) -> bytes:
    """The page of one plugin as JSON (PEP 691)."""
    told = {
        "meta": {"api-version": API},
        "name": listed.distribution,
        "versions": listed.versions(),
        "files": [
            {
                "filename": name,
                "url": f"../../{listed.files_at}/{name}",
                "hashes": {"sha256": file["sha256"]},
                "size": file["size"],
                "upload-time": file["published"],
                "core-metadata": {"sha256": file["metadata_sha256"]},
                "dist-info-metadata": {"sha256": file["metadata_sha256"]},
                "yanked": release["yanked"] or False,
                **({"requires-python": file["requires_python"]} if file["requires_python"] else {}),
            }
            for release, name, file in _files(listed)
        ],
    }
    return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()


def project_html(listed: Listed) -> bytes:
    """The page of one plugin as HTML (PEP 503)."""
    lines = []
    for release, name, file in _files(listed):
        words = {
            "href": f"../../{listed.files_at}/{name}#sha256={file['sha256']}",
            "data-core-metadata": f"sha256={file['metadata_sha256']}",
            "data-dist-info-metadata": f"sha256={file['metadata_sha256']}",
        }
        if file["requires_python"]:
            words["data-requires-python"] = file["requires_python"]
        if release["yanked"]:
            words["data-yanked"] = release["yanked"]
        shown = " ".join(f'{key}="{html.escape(value)}"' for key, value in words.items())
        lines.append(f"<a {shown}>{html.escape(name)}</a><br>")
    return _page(f"Links for {listed.distribution}", lines)


def root_json(distributions: list[str]) -> bytes:
    """The list of all distributions as JSON."""
    told = {"meta": {"api-version": API}, "projects": [{"name": name} for name in distributions]}
    return (json.dumps(told, indent=1) + "\n").encode()


def root_html(distributions: list[str]) -> bytes:
    """The list of all distributions as HTML."""
    return _page("Simple index", [f'<a href="{name}/">{name}</a><br>' for name in distributions])


def _files(listed: Listed) -> list[tuple[dict[str, Json], str, dict[str, Json]]]:
    releases = [listed.releases[version] for version in listed.versions()]
    return [(release, name, file) for release in releases for name, file in sorted(release["files"].items())]


def _page(title: str, lines: list[str]) -> bytes:
    head = f'<meta name="pypi:repository-version" content="{API}"><title>{html.escape(title)}</title>'
    body = "\n".join(lines)
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{body}\n</body></html>\n".encode()
