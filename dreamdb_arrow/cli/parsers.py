"""The grammar of the command line: words to arguments, with one clear line for words that do not fit."""

from __future__ import annotations

import argparse
import difflib
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from dreamdb_arrow._version import __version__
from dreamdb_arrow.cli.failures import EXIT_CODES, UsageError
from dreamdb_arrow.cli.verbs import ARGUMENTS, LONG_OPTIONS, REST, VERBS

SUMMARY: Final = "SQL over DreamDB: a Space as tables, from the command line."
HELP_WIDTH_MAX: Final = 110


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help that looks the same in each version of Python."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns, HELP_WIDTH_MAX) - 2
        super().__init__(prog, **{"max_help_position": 28, "width": width, **options})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = ", ".join(action.option_strings)
        return f"{names} {action.metavar or ''}".strip()


class Parser(ArgumentParser):
    """A parser whose errors are UsageError, with the nearest option where one is unknown."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, self.prog.removeprefix("dreamdb").strip())

    def refuse(self, word: str) -> NoReturn:
        """Raise UsageError for a word that no option and no argument took."""
        if not word.startswith("-"):
            self.error(f"one argument too many: {word!r}")
        known = [name for action in self._actions for name in action.option_strings]
        self.error(f"unknown option {word}{nearest(word.partition('=')[0], known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the question whether something known was meant, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def parse(words: Sequence[str]) -> Namespace:
    """Return the arguments of a command line, with its `verb`.

    Raises UsageError; SystemExit after --help and --version, which print.
    """
    if not words or words[0].startswith("-"):
        parser = main_parser()
        _, unknown = parser.parse_known_args(words)
        if unknown:
            parser.refuse(unknown[0])
        parser.error(f"name a verb: {', '.join(VERBS)}")
    name = words[0]
    if name not in VERBS:
        raise UsageError(f"unknown verb {name!r}{nearest(name, VERBS) or '; verbs: ' + ', '.join(VERBS)}")
    parser = verb_parser(name)
    args, unknown = parser.parse_known_intermixed_args(words[1:])
    if unknown:
        parser.refuse(unknown[0])
    _settle_places(name, parser, args)
    args.verb = name
    return args


def _settle_places(name: str, parser: Parser, args: Namespace) -> None:
    """Give each argument of a verb its word; those that an option gave need none."""
    words = list(args.words) if VERBS[name].places else []
    for place in VERBS[name].places:
        if place in REST:
            setattr(args, place, words)
            words = []
        elif getattr(args, place, None) is None:
            setattr(args, place, words.pop(0) if words else None)
    if words:
        parser.refuse(words[0])
    missing = [p.upper() for p in VERBS[name].places[: VERBS[name].required] if not getattr(args, p, None)]
    if missing:
        parser.error(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def main_parser() -> Parser:
    """Return the parser of a command line without a verb."""
    verbs = "\n".join(f"  {name:<12} {verb.summary}" for name, verb in VERBS.items())
    codes = "\n".join(f"  {code:<12} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = Parser(
        prog="dreamdb",
        usage=f"dreamdb [--help] [--version] {{{','.join(VERBS)}}} ...",
        description=f"{SUMMARY}\n\nverbs:\n{verbs}",
        epilog=f"exit codes:\n{codes}\n\n`dreamdb VERB --help` tells more of a verb, with examples.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"dreamdb {__version__}", help="print the version"
    )
    return parser


def verb_parser(name: str) -> Parser:
    """Return the parser of a verb. Its arguments arrive together, as `words`."""
    verb = VERBS[name]
    parser = Parser(
        prog=f"dreamdb {name}",
        usage=f"dreamdb {name} {verb.usage}",
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}.\n\n{verb.details}{_arguments_text(name)}",
        epilog="\n".join(["examples:", *(f"  {example}" for example in verb.examples)]),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    if verb.places:
        parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    verb.options(parser)
    for place in verb.places:
        if place in LONG_OPTIONS:
            _add_long_option(parser, place)
    if verb.places:
        where = "the local cache; else $DREAMDB_CACHE_DIR, else ~/.cache/dreamdb-arrow"
        parser.add_argument("--cache-dir", metavar="DIR", help=where)
    if "backend" in verb.places and "remote" not in verb.places:
        offline = "ask a bucket for nothing: answer from the local cache, or say what is missing"
        parser.add_argument("--offline", action="store_true", help=offline)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _arguments_text(name: str) -> str:
    lines = [f"  {place.upper():<10} {ARGUMENTS[place]}" for place in VERBS[name].places]
    return "\n".join(["", "", "arguments:", *lines]) if lines else ""


def _add_long_option(parser: Parser, place: str) -> None:
    metavar = "URL" if place == "backend" else "NAME"
    text = f"the same as {place.upper()}, in the reference's spelling"
    parser.add_argument(LONG_OPTIONS[place], dest=place, metavar=metavar, help=text)
