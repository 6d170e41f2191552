"""The command line: ``dataflare COMMAND``.

Every command is a plugin's: known by the manifests, imported when it is used.
Exit codes: 0 done, 1 failed, 2 the flow, the configuration or the command line is wrong; more by the errors of
plugins (``DataflareError.exit_code``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from dataflare_host.cli.lazy import LazyGroup
from dataflare_host.cli.process import Ending, begin, use_set

HELP = """Runs data flows in which every part is a plugin.

Every command takes --json: one JSON document on stdout, everything else on stderr.

Shell completion: eval "$(_DATAFLARE_COMPLETE=bash_source dataflare)" (or zsh_source, fish_source).
"""


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from dataflare_host.manifest import VERSION

        click.echo(f"dataflare {VERSION}")
        ctx.exit()


def _use_set(_ctx: click.Context, _option: click.Parameter, given: str | None) -> None:
    if given:
        use_set(Path(given).absolute())


root = LazyGroup(
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
root.params += [
    click.Option(
        ["--plugins"],
        metavar="SET.toml",
        expose_value=False,
        is_eager=True,
        callback=_use_set,
        help="Load only the plugins that this set names, and those that they need.",
    ),
    click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an internal error."),
    click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
    ),
]


@root.result_callback()
def _pass_on(code: object, **_options: object) -> object:
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process, and give its exit code; never raises."""
    if argv is not None:
        return _run(list(argv))
    ending = Ending()
    ending.code = _run(sys.argv[1:], ours=True)
    return ending.code


def _run(words: list[str], *, ours: bool = False) -> int:
    begin(words, ours=ours)
    arguments = words or ["--help"]
    use_set(None)
    try:
        code = root.main(arguments, prog_name="dataflare", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # Whoever read our output left; the interpreter must not stumble over it when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from dataflare_host.cli.errors import report

        try:
            return report(error, as_json="--json" in arguments, debug="--debug" in arguments)
        except OSError as unwritten:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"the standard output cannot be written: {unwritten.strerror}", err=True)
            return 1
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 1


__all__ = ["main", "root"]
