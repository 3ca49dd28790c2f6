"""Docker's ignore files, rule by rule."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrun._errors import InvalidArgument
from polyrun.adapter._ignore import IgnoreRules

# (patterns, path, whether Docker leaves it out)
TABLE: list[tuple[list[str], str, bool]] = [
    # A name is a path from the root of the context, not a name anywhere.
    (["a.txt"], "a.txt", True),
    (["a.txt"], "sub/a.txt", False),
    (["sub/a.txt"], "sub/a.txt", True),
    (["a.txt"], "a_txt", False),
    (["a(b)+{c}|$"], "a(b)+{c}|$", True),
    (["a^b*"], "a^bc", True),
    (["A"], "a", False),
    # What a folder's pattern covers, all below it is covered by.
    (["node_modules"], "node_modules/left-pad/index.js", True),
    (["node_modules"], "node_modules2/x", False),
    (["a/b"], "a", False),
    (["a/b"], "a/b/c/d", True),
    # Slashes at both ends, and paths that can be shorter.
    (["/build"], "build", True),
    (["build/"], "build/x", True),
    (["/build/"], "build", True),
    (["//build//out//"], "build/out", True),
    (["./build"], "build/x", True),
    (["a/../build"], "build", True),
    (["a/./b"], "a/b", True),
    (["/"], "build", False),
    (["."], "build", False),
    ([".."], "build", False),
    # One star stays within a folder.
    (["*"], "a", True),
    (["*"], "a/b/c", True),
    (["*"], ".", False),
    (["*.md"], "README.md", True),
    (["*.md"], "docs/README.md", False),
    (["*/*.md"], "docs/README.md", True),
    (["*/*.md"], "docs/old/README.md", False),
    (["a*b"], "ab", True),
    (["a*b"], "a/b", False),
    ([".*"], ".git", True),
    ([".*"], "git", False),
    (["a?c"], "abc", True),
    (["a?c"], "ac", False),
    (["a?c"], "a/c", False),
    (["a?c"], "aéc", True),
    # Two stars are any number of folders, and none.
    (["**"], "a/b/c", True),
    (["**/"], "a", True),
    (["**/*.pyc"], "x.pyc", True),
    (["**/*.pyc"], "a/b/x.pyc", True),
    (["**/cache"], "a/cache/x", True),
    (["**/cache"], "a/mycache", False),
    (["**cache"], "a/mycache", True),
    (["**cach?"], "a/mycache", False),
    (["**cach?"], "a/cache", True),
    (["a/**"], "a", False),
    (["a/**"], "a/b/c", True),
    (["a/**/z"], "a/z", True),
    (["a/**/z"], "a/b/c/z", True),
    (["a/**/z"], "a/bz", False),
    (["a**/*.txt"], "a/b/c/x.txt", True),
    (["**/a/**/b"], "x/a/y/z/b", True),
    (["**/**/x"], "x", True),
    # Sets.
    (["[ab].txt"], "b.txt", True),
    (["[a-c].txt"], "d.txt", False),
    (["[^a-c].txt"], "d.txt", True),
    (["[!a].txt"], "b.txt", False),
    (["[!a].txt"], "!.txt", True),
    (["[a\\]]x"], "]x", True),
    (["[\\-x]"], "-", True),
    (["[[&~|]x"], "[x", True),
    (["[a-\u03b6]"], "\u03b1", True),
    # A backslash takes the meaning from the next character.
    (["a\\*b"], "a*b", True),
    (["a\\*b"], "axb", False),
    (["\\!keep"], "!keep", True),
    (["\\#keep"], "#keep", True),
    (["a\\\\b"], "a\\b", True),
    # Comments are for the start of a line only; around a pattern there may be space.
    (["# a"], "# a", False),
    ([" # a"], "# a", True),
    (["a # b"], "a", False),
    (["  a  "], "a", True),
    (["a b"], "a b", True),
    (["", "   ", "\t"], "a", False),
    (["\ufeffa"], "a", True),
    (["\ufeff# a"], "# a", False),
    (["a\r", "b\r"], "b", True),
    # An exception takes back, and the last that covers a path decides.
    (["*.md", "!README.md"], "README.md", False),
    (["*.md", "!README.md"], "NEWS.md", True),
    (["!README.md", "*.md"], "README.md", True),
    (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
    (["docs", "!docs/keep"], "docs/keep", False),
    (["docs", "!docs/keep"], "docs/keep/x", False),
    (["docs", "!docs/keep"], "docs/other", True),
    (["docs/", "!/docs/keep/"], "docs/keep/x", False),
    (["docs", "! docs/keep"], "docs/keep", False),
    (["*", "!src", "src/secret"], "src/secret", True),
    (["*", "!src", "src/secret"], "src/main.py", False),
    (["**", "!**/*.py"], "a/b/x.py", False),
    (["**", "!**/*.py"], "a/b/x.txt", True),
    (["a", "!!a"], "a", True),
    (["!!a"], "!a", False),
    ([], "a", False),
]


@pytest.mark.parametrize(("patterns", "path", "excluded"), TABLE)
def test_a_path_is_excluded_as_docker_excludes_it(patterns: list[str], path: str, excluded: bool) -> None:
    """Each pattern means what it means to `docker build`."""
    assert IgnoreRules.parse("\n".join(patterns)).excludes(path) is excluded


@pytest.mark.parametrize(
    "pattern",
    ["[", "[a", "[]", "[]a]", "[^]", "[-a]", "[a-]", "[a-b-c]", "[z-a]", "a\\", "a/[", "!", "!  ", "!/", "! [", "a\\1"],
)
def test_a_malformed_pattern_is_refused_with_its_line(pattern: str) -> None:
    """The error shows the pattern, the line it stands on and the file."""
    with pytest.raises(InvalidArgument) as caught:
        IgnoreRules.parse(f"# first\na\n{pattern}\n", origin="my.dockerignore")
    assert f"my.dockerignore, line 3: not a pattern: {pattern.strip()!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "directory", "may"),
    [
        (["a"], "a", False),
        (["a", "!b"], "a", False),
        (["a", "!a/b"], "a", True),
        (["a", "!a/b/c"], "a/b", True),
        (["a", "!a/b/c"], "a/x", False),
        (["!a/b", "a"], "a", False),
        (["*", "!**/keep"], "a/b", True),
        (["*", "!packages/*/package.json"], "packages", True),
        (["*", "!packages/*/package.json"], "packages/one", True),
        (["*", "!packages/*/package.json"], "packages/one/node_modules", False),
        (["*", "!packages/*/package.json"], "docs", False),
        (["*", "!src/[ab]/x"], "src/c", True),
        (["*", "!src/[ab]/x"], "docs", False),
        (["*", "!src/**", "src/gen"], "src/gen", False),
        (["*", "!src/a?c/x"], "src/abc", True),
        (["*", "!src/a?c/x"], "src/ac", False),
    ],
)
def test_a_folder_is_descended_only_where_an_exception_could_match(
    patterns: list[str], directory: str, may: bool
) -> None:
    """An excluded folder is listed if, and nearly only if, something in it may be wanted."""
    rules = IgnoreRules.parse("\n".join(patterns))
    assert rules.excludes(directory)
    assert rules.may_reinclude_below(directory) is may


NAMES = st.sampled_from(["a", "b", "ab", "abc", ".a", "b.c"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
# Any pattern, to find what contradicts itself.
PARTS = st.sampled_from(["a", "b", "ab", "*", "a*", "?", "**", "**b", "a**", "[ab]", "[^b]", "\\a", ".a", "b.?"])
PATTERNS = st.tuples(st.sampled_from(["", "!"]), st.lists(PARTS, min_size=1, max_size=4).map("/".join)).map("".join)
FILES = st.lists(PATTERNS, max_size=5)


@given(FILES, PATHS, PATHS)
@settings(deadline=None, database=None, max_examples=500)
def test_what_is_not_descended_holds_nothing_wanted(patterns: list[str], directory: str, below: str) -> None:
    """Nothing is lost by not listing a folder."""
    rules = IgnoreRules.parse("\n".join(patterns))
    if rules.excludes(directory) and not rules.may_reinclude_below(directory):
        assert rules.excludes(f"{directory}/{below}")


# Patterns that can be read off folder by folder, without an expression.
PLAIN_PARTS = st.sampled_from(["a", "b", "ab", "*", "a*", "?", "*b*", "**", ".a", "b.?"])
PLAIN = st.tuples(st.booleans(), st.lists(PLAIN_PARTS, min_size=1, max_size=4))


def fits(pattern: list[str], path: list[str]) -> bool:
    """Match folder by folder: another way to the same answer."""
    if not pattern:
        return not path
    if pattern == ["**"]:
        return bool(path)
    if pattern[0] == "**":
        return fits(pattern[1:], path) or (bool(path) and fits(pattern, path[1:]))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and fits(pattern[1:], path[1:])


@given(st.lists(PLAIN, max_size=5), PATHS)
@settings(deadline=None, database=None, max_examples=500)
def test_the_last_pattern_that_covers_a_path_or_its_parent_decides(
    patterns: list[tuple[bool, list[str]]], path: str
) -> None:
    """The one big expression says the same as the rules, followed one by one."""
    expected = False
    for exception, parts in patterns:
        names = path.split("/")
        if any(fits(parts, names[:end]) for end in range(1, len(names) + 1)):
            expected = not exception
    text = "\n".join("!" * exception + "/".join(parts) for exception, parts in patterns)
    assert IgnoreRules.parse(text).excludes(path) is expected


@given(FILES, PATHS)
@settings(deadline=None, database=None)
def test_comments_blanks_and_slashes_change_nothing(patterns: list[str], path: str) -> None:
    """The same rules, written untidily, exclude the same."""
    untidy = "\ufeff# top\r\n\r\n" + "".join(
        f"  {pattern[: pattern.startswith('!')]} /./{pattern.removeprefix('!')}//  \r\n\t\n" for pattern in patterns
    )
    assert IgnoreRules.parse(untidy).excludes(path) is IgnoreRules.parse("\n".join(patterns)).excludes(path)
