"""The grammar of the small shell: from a script to the tree that `polyrun.testing._shell` runs.

It covers what scripts in containers are made of: lists, pipelines, ``if``, ``case``, ``for``,
``while``, ``until``, functions, groups and subshells, redirections with here-documents, and every
kind of expansion but arrays and brace expansion.
"""

from __future__ import annotations

import re
from typing import Union

from attr import frozen

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=", re.ASCII)
_REDIRECTION = re.compile(r"(\d*)(>>|>&|>\||<&|<<-|<<|<>|>|<)")
_PARAMETER = re.compile(r"[A-Za-z_]\w*|\d+|[?$#@*!-]", re.ASCII)
_OPERATOR = re.compile(r":?[-=+?]|##?|%%?")
_RESERVED = {"then", "elif", "else", "fi", "do", "done", "esac", "}"}
_ENDS_WORD = " \t\n;&|<>()"


class BadSyntax(Exception):  # becomes a message of the shell
    """The script cannot be read."""


# Words


@frozen
class Text:
    """Characters that stand for themselves."""

    text: str
    quoted: bool = False


@frozen
class Parameter:
    """``$name``, ``${name:-word}`` or ``${#name}``."""

    name: str
    operator: str = ""
    word: tuple[Part, ...] = ()
    quoted: bool = False


@frozen
class Substitution:
    """``$(script)``."""

    script: Script
    quoted: bool = False


@frozen
class Arithmetic:
    """``$((expression))``."""

    expression: tuple[Part, ...]
    quoted: bool = False


Part = Union[Text, Parameter, Substitution, Arithmetic]  # noqa: UP007  # made when it is read, and 3.10 needs it
Word = tuple[Part, ...]


@frozen
class Redirection:
    """``2>file``; with ``<<`` the word is the body of a here-document."""

    fd: int
    operator: str
    word: Word


# Commands


@frozen
class Simple:
    """A command with its words."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]


@frozen
class Pipeline:
    """Commands that feed each other."""

    commands: tuple[Command, ...]
    negated: bool = False


@frozen
class AndOr:
    """Pipelines with ``&&`` and ``||`` between them."""

    first: Pipeline
    rest: tuple[tuple[str, Pipeline], ...] = ()


@frozen
class Script:
    """Commands one after another, each with whether it runs in the background."""

    items: tuple[tuple[AndOr, bool], ...] = ()


@frozen
class If:
    """``if``; a branch is a condition and what follows from it."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script | None


@frozen
class Loop:
    """``while`` and ``until``."""

    condition: Script
    body: Script
    until: bool


@frozen
class For:
    """``for``; without *words* it goes through the arguments."""

    name: str
    words: tuple[Word, ...] | None
    body: Script


@frozen
class Case:
    """``case``."""

    word: Word
    arms: tuple[tuple[tuple[Word, ...], Script], ...]


@frozen
class Group:
    """``{ … }``, or with *subshell* ``( … )``."""

    body: Script
    subshell: bool


@frozen
class Function:
    """``name() { … }``."""

    name: str
    body: Command


@frozen
class Redirected:
    """A compound command with redirections."""

    command: Command
    redirections: tuple[Redirection, ...]


Command = Union[Simple, If, Loop, For, Case, Group, Function, Redirected]  # noqa: UP007


def parse(text: str) -> Script:
    """Return the tree of a script."""
    parser = _Parser(text)
    script = parser.script()
    if not parser.at_end():
        raise BadSyntax(f'syntax error: unexpected "{parser.peek_word() or parser.char()}"')
    return script


def parse_here(text: str) -> Word:
    """Return *text* as a word in double quotes."""
    return tuple(_Parser(text).quoted(None))


class _Parser:
    """Reads without a lexer: what a character means depends on where it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.braces = 0

    # Characters

    def char(self) -> str:
        return self.text[self.at : self.at + 1]

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def skip(self, *, lines: bool = False) -> None:
        """Skip blanks and comments; with *lines* newlines too."""
        while not self.at_end():
            char = self.char()
            if self.text.startswith("\\\n", self.at):
                self.at += 2
            elif char in " \t":
                self.at += 1
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char == "\n" and lines:
                self.at += 1
            else:
                return

    def here_document(self, end: str, *, tabs: bool) -> str:
        """Take the lines after this one, up to *end*, out of the script and return them."""
        start = self.text.find("\n", self.at) + 1
        if not start:
            return ""
        at, lines = start, list[str]()
        while at < len(self.text):
            line, _, _ = self.text[at:].partition("\n")
            at += len(line) + 1
            line = line.lstrip("\t") if tabs else line
            if line == end:
                break
            lines.append(line + "\n")
        self.text = self.text[:start] + self.text[at:]
        return "".join(lines)

    def take(self, word: str) -> bool:
        """Take an operator if it is next."""
        self.skip()
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def peek_word(self) -> str:
        """Return the plain word that is next, or nothing if it is anything else."""
        self.skip()
        end = self.at
        while end < len(self.text) and self.text[end] not in _ENDS_WORD:
            if self.text[end] in "'\"\\$`":
                return ""
            end += 1
        return self.text[self.at : end]

    def keyword(self, word: str) -> bool:
        """Take a reserved word if it is next."""
        if self.peek_word() != word:
            return False
        self.at += len(word)
        return True

    def need(self, word: str) -> None:
        self.skip(lines=True)
        if not (self.take(word) if word in (")", "(") else self.keyword(word)):
            found = self.peek_word() or self.char() or "end of file"
            raise BadSyntax(f'syntax error: unexpected "{found}" (expecting "{word}")')

    # Lists and pipelines

    def script(self) -> Script:
        items: list[tuple[AndOr, bool]] = []
        while True:
            self.skip(lines=True)
            if self.at_end() or self.char() in ");" or self.peek_word() in _RESERVED:
                return Script(tuple(items))
            command = self.and_or()
            self.skip()
            background = self.char() == "&"
            items.append((command, background))
            if background or (self.char() == ";" and not self.text.startswith(";;", self.at)):
                self.at += 1
            elif self.char() != "\n":
                return Script(tuple(items))

    def and_or(self) -> AndOr:
        first = self.pipeline()
        rest: list[tuple[str, Pipeline]] = []
        while True:
            operator = "&&" if self.take("&&") else "||" if self.take("||") else ""
            if not operator:
                return AndOr(first, tuple(rest))
            self.skip(lines=True)
            rest.append((operator, self.pipeline()))

    def pipeline(self) -> Pipeline:
        negated = self.keyword("!")
        commands = [self.command()]
        while True:
            self.skip()
            if self.char() != "|" or self.text.startswith("||", self.at):
                return Pipeline(tuple(commands), negated)
            self.at += 1
            self.skip(lines=True)
            commands.append(self.command())

    # Commands

    def command(self) -> Command:
        command = self.compound()
        if command is None:
            return self.simple()
        redirections: list[Redirection] = []
        while self.redirection(redirections):
            pass
        return Redirected(command, tuple(redirections)) if redirections else command

    def compound(self) -> Command | None:
        self.skip()
        if self.char() == "(":
            self.at += 1
            body = self.script()
            self.need(")")
            return Group(body, subshell=True)
        word = self.peek_word()
        if word in ("{", "if", "while", "until", "for", "case"):
            self.at += len(word)
        if word == "{":
            body = self.script()
            self.need("}")
            return Group(body, subshell=False)
        if word == "if":
            return self.conditional()
        if word in ("while", "until"):
            condition = self.script()
            return Loop(condition, self.do(), word == "until")
        if word == "for":
            return self.iteration()
        if word == "case":
            return self.selection()
        function = re.compile(r"([A-Za-z_]\w*)[ \t]*\([ \t]*\)", re.ASCII).match(self.text, self.at)
        if function:
            self.at = function.end()
            self.skip(lines=True)
            return Function(function[1], self.command())
        return None

    def do(self) -> Script:
        self.need("do")
        body = self.script()
        self.need("done")
        return body

    def conditional(self) -> If:
        branches: list[tuple[Script, Script]] = []
        otherwise = None
        while True:
            condition = self.script()
            self.need("then")
            branches.append((condition, self.script()))
            if self.keyword("elif"):
                continue
            if self.keyword("else"):
                otherwise = self.script()
            self.need("fi")
            return If(tuple(branches), otherwise)

    def iteration(self) -> For:
        name = self.peek_word()
        if not _NAME.fullmatch(name):
            raise BadSyntax("syntax error: bad for loop variable")
        self.at += len(name)
        self.skip(lines=True)
        words: list[Word] | None = None
        if self.keyword("in"):
            words = []
            while word := self.word():
                words.append(word)
        self.take(";")
        return For(name, None if words is None else tuple(words), self.do())

    def selection(self) -> Case:
        word = self.word()
        self.need("in")
        arms: list[tuple[tuple[Word, ...], Script]] = []
        while True:
            self.skip(lines=True)
            if self.keyword("esac"):
                return Case(word, tuple(arms))
            self.take("(")
            patterns = [self.word()]
            while self.take("|"):
                patterns.append(self.word())
            self.need(")")
            arms.append((tuple(patterns), self.script()))
            self.skip(lines=True)
            if not self.take(";;"):
                self.need("esac")
                return Case(word, tuple(arms))

    def simple(self) -> Simple:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while True:
            if self.redirection(redirections):
                continue
            found = _ASSIGNMENT.match(self.text, self.at)
            if found and not words:
                self.at = found.end()
                blank = self.at_end() or self.char() in _ENDS_WORD
                assignments.append((found[1], () if blank else self.word()))
                continue
            word = self.word()
            if not word:
                break
            words.append(word)
        if not (assignments or words or redirections):
            raise BadSyntax(f'syntax error: unexpected "{self.char() or "end of file"}"')
        return Simple(tuple(assignments), tuple(words), tuple(redirections))

    def redirection(self, into: list[Redirection]) -> bool:
        self.skip()
        found = _REDIRECTION.match(self.text, self.at)
        if not found:
            return False
        self.at = found.end()
        number, operator = found.groups()
        fd = int(number) if number else 0 if operator.startswith("<") else 1
        word = self.word()
        if not word:
            raise BadSyntax("syntax error: unexpected redirection")
        if operator in ("<<", "<<-"):
            end = "".join(part.text for part in word if isinstance(part, Text))
            body = self.here_document(end, tabs=operator == "<<-")
            quoted = any(part.quoted for part in word)
            word = (Text(body, quoted=True),) if quoted else parse_here(body)
        into.append(Redirection(fd, operator, word))
        return True

    # Words

    def word(self) -> Word:
        """Return the next word, or nothing if there is none."""
        self.skip()
        parts: list[Part] = []
        while not self.at_end() and self.char() not in _ENDS_WORD:
            parts += self.part()
        return tuple(parts)

    def part(self) -> list[Part]:
        char = self.char()
        if char == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise BadSyntax("syntax error: unterminated quoted string")
            text = self.text[self.at + 1 : end]
            self.at = end + 1
            return [Text(text, quoted=True)]
        if char == '"':
            self.at += 1
            return [Text("", quoted=True), *self.quoted('"')]
        if char == "\\":
            escaped = self.text[self.at + 1 : self.at + 2]
            self.at += 2
            return [] if escaped == "\n" else [Text(escaped, quoted=True)]
        if char in "$`":
            return [self.dollar(quoted=False)]
        start = self.at
        while not self.at_end() and self.char() not in _ENDS_WORD + "'\"\\$`":
            self.at += 1
            if self.char() == "}" and self.braces:
                break
        return [Text(self.text[start : self.at])]

    def quoted(self, end: str | None) -> list[Part]:
        """Return what stands between double quotes, or up to the end of the text."""
        parts: list[Part] = []
        while True:
            if self.at_end():
                if end is None:
                    return parts
                raise BadSyntax("syntax error: unterminated quoted string")
            char = self.char()
            if char == end:
                self.at += 1
                return parts
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in tuple('$`"\\\n'):
                escaped = self.text[self.at + 1]
                parts.append(Text("" if escaped == "\n" else escaped, quoted=True))
                self.at += 2
            elif char in "$`":
                parts.append(self.dollar(quoted=True))
            else:
                start = self.at
                self.at += 1
                while not self.at_end() and self.char() not in (end or "") + "\\$`":
                    self.at += 1
                parts.append(Text(self.text[start : self.at], quoted=True))

    def dollar(self, *, quoted: bool) -> Part:
        if self.char() == "`":
            end = self.text.find("`", self.at + 1)
            if end < 0:
                raise BadSyntax("syntax error: unterminated quoted string")
            script = parse(re.sub(r"\\([`$\\])", r"\1", self.text[self.at + 1 : end]))
            self.at = end + 1
            return Substitution(script, quoted)
        self.at += 1
        if self.text.startswith("((", self.at):
            self.at += 2
            return Arithmetic(self.arithmetic(), quoted)
        if self.char() == "(":
            self.at += 1
            script = self.script()
            self.need(")")
            return Substitution(script, quoted)
        if self.char() == "{":
            self.at += 1
            return self.parameter(quoted=quoted)
        found = _PARAMETER.match(self.text, self.at)
        if not found:
            return Text("$", quoted)
        # "$10" is "$1" and a zero.
        name = found[0][0] if found[0].isdigit() else found[0]
        self.at += len(name)
        return Parameter(name, quoted=quoted)

    def parameter(self, *, quoted: bool) -> Parameter:
        length = self.text.startswith("#", self.at) and not self.text.startswith("#}", self.at)
        self.at += length
        found = _PARAMETER.match(self.text, self.at)
        if not found:
            raise BadSyntax("syntax error: bad substitution")
        self.at = found.end()
        operator = _OPERATOR.match(self.text, self.at)
        if operator:
            self.at = operator.end()
        word = self.until_brace(quoted=quoted)
        return Parameter(found[0], "length" if length else operator[0] if operator else "", word, quoted)

    def until_brace(self, *, quoted: bool) -> Word:
        parts: list[Part] = []
        self.braces += 1
        while self.char() != "}":
            if self.at_end():
                raise BadSyntax("syntax error: missing '}'")
            if self.char() in _ENDS_WORD:
                parts.append(Text(self.char(), quoted))
                self.at += 1
            else:
                parts += self.part()
        self.braces -= 1
        self.at += 1
        return tuple(parts)

    def arithmetic(self) -> Word:
        parts: list[Part] = []
        depth = 0
        while not (depth == 0 and self.text.startswith("))", self.at)):
            if self.at_end():
                raise BadSyntax("syntax error: missing '))'")
            if self.char() == "$":
                parts.append(self.dollar(quoted=True))
                continue
            depth += {"(": 1, ")": -1}.get(self.char(), 0)
            parts.append(Text(self.char(), quoted=True))
            self.at += 1
        self.at += 2
        return tuple(parts)
