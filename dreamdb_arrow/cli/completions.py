"""`dreamdb completions`: what bash, zsh and fish need to complete verbs and options."""

from __future__ import annotations

import sys
from argparse import Namespace
from types import MappingProxyType
from typing import Final

from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.cli.parsers import verb_parser
from dreamdb_arrow.cli.verbs import VERBS

_BASH: Final = """\
_dreamdb() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" verb="" options=""
  local at
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "${{COMP_WORDS[at]}}" in -*) ;; *) verb="${{COMP_WORDS[at]}}"; break ;; esac
  done
  if [[ -z "$verb" ]]; then
    COMPREPLY=($(compgen -W "{verbs} --help --version" -- "$word"))
    return
  fi
  case "$verb" in
{cases}
  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _dreamdb dreamdb
"""
_ZSH: Final = "#compdef dreamdb\nautoload -U +X bashcompinit && bashcompinit\n"


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    if args.shell not in SHELLS:
        raise UsageError(f"{args.shell!r} is no shell that is known: {', '.join(SHELLS)}", "completions")
    sys.stdout.write(SHELLS[args.shell]())
    return OK


def _options(verb: str) -> list[str]:
    actions = verb_parser(verb)._actions  # noqa: SLF001 - argparse has no other list of its options
    return sorted(option for action in actions for option in action.option_strings if option.startswith("--"))


def _bash() -> str:
    cases = [f'    {verb}) options="{" ".join(_options(verb))}" ;;' for verb in VERBS]
    return _BASH.format(verbs=" ".join(VERBS), cases="\n".join(cases))


def _zsh() -> str:
    return _ZSH + _bash()


def _fish() -> str:
    lines = [
        "complete -c dreamdb -n __fish_use_subcommand -l help",
        "complete -c dreamdb -n __fish_use_subcommand -l version",
    ]
    for name, verb in VERBS.items():
        told = verb.summary.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c dreamdb -n __fish_use_subcommand -a {name} -d '{told}'")
        lines += [
            f"complete -c dreamdb -n '__fish_seen_subcommand_from {name}' -l {option.removeprefix('--')}"
            for option in _options(name)
        ]
    return "\n".join(lines) + "\n"


SHELLS: Final = MappingProxyType({"bash": _bash, "zsh": _zsh, "fish": _fish})
