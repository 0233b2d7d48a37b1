"""Variables, the environment, includes, and the digest of what they come to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from natscore_cli.conf import resolve
from natscore_cli.conf.resolve import load
from natscore_cli.conf.tree import LanguageError, plain


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that relative names are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text: str, environment: dict[str, str] | None = None, /, **files: str) -> dict[str, object]:
    """What `c.conf` comes to; the other files have the names of their arguments."""
    for name, content in {"c": text, **files}.items():
        Path(f"{name}.conf").write_text(content)
    document = load("c.conf", environment or {})
    return {key: plain(node) for key, node in document.root.items()}


def refusal(text: str, environment: dict[str, str] | None = None, /, **files: str) -> str:
    with pytest.raises(LanguageError) as caught:
        loaded(text, environment, **files)
    return str(caught.value)


@pytest.mark.spec("configuration 2.6")
def test_the_last_of_equal_keys_replaces_the_others_and_is_not_merged() -> None:
    found = loaded("a: 1\nm {x: 1}\nA: 2\na: 3\nm {y: 2}")

    assert list(found.items()) == [("A", 2), ("a", 3), ("m", {"y": 2})]


@pytest.mark.spec("configuration 2.7")
def test_a_variable_is_a_key_seen_before_in_this_map_or_around_it() -> None:
    found = loaded("A: 1\nM: {B: [$A]}\nm {A: 2, n {x: $A, y: $M}}\nz: $A")

    assert found["m"] == {"A": 2, "n": {"x": 2, "y": {"B": [1]}}}
    assert found["z"] == 1


@pytest.mark.spec("configuration 2.7")
@pytest.mark.parametrize(
    ("text", "name", "line"),
    [("a: $A", "A", 1), ("a: $b\nb: 1", "b", 1), ("m {A: 1}\na: $A", "A", 2), ("A: 1\na: $a", "a", 2),
     ("A: 1\na: $A-b", "A-b", 2), ("\na: [1, $a]", "a", 2), ("a: $a", "a", 1)],
)  # fmt: skip
def test_a_variable_that_is_nowhere_is_refused(text: str, name: str, line: int) -> None:
    assert refusal(text) == f"variable reference for '{name}' on line {line} can not be found"


@pytest.mark.spec("configuration 2.7")
@pytest.mark.parametrize(
    ("text", "expected"),
    [("word", "word"), ("8222", 8222), ('"8222"', "8222"), ("2mb", 2 << 20),
     ("[a,b]", ["a", "b"]), ("$OTHER", "o"),
     ("{x: yes}", {"x": True}), ("", "")],
)  # fmt: skip
def test_a_variable_of_the_environment_is_read_like_a_value(text: str, expected: object) -> None:
    assert loaded("a: $X", {"X": text, "OTHER": "o"}) == {"a": expected}


@pytest.mark.spec("configuration 2.7")
def test_a_key_of_the_file_goes_before_the_environment() -> None:
    assert loaded("X: 1\na: $X", {"X": "2"})["a"] == 1


@pytest.mark.spec("configuration 2.7")
def test_a_variable_of_the_environment_that_is_no_value_is_refused() -> None:
    assert refusal("a: $X", {"X": "a b"}) == (
        "variable reference for 'X' on line 1 could not be parsed: Parse error on line 1: "
        "'Expected a top-level value to end with a new line, comment or EOF, but got 'b' instead.'"
    )


@pytest.mark.spec("configuration 2.7")
@pytest.mark.parametrize("environment", [{"X": "$X"}, {"X": "[$Y]", "Y": "$X"}])
def test_variables_that_name_one_another_in_a_circle_are_refused(environment: dict[str, str]) -> None:
    assert "variable reference cycle for 'X'" in refusal("a: $X", environment)


def test_a_long_chain_of_variables_is_refused() -> None:
    chain = {f"X{number}": f"$X{number + 1}" for number in range(1000)}

    assert "deep" in refusal("a: $X0", chain)


@pytest.mark.spec("configuration 2.7")
def test_a_key_that_is_used_as_a_variable_is_marked() -> None:
    Path("c.conf").write_text("A: 1\nB: 2\na: $A")

    root = load("c.conf", {}).root

    assert [key for key, node in root.items() if node.used] == ["A"]


@pytest.mark.spec("configuration 2.8")
def test_the_keys_of_an_included_file_stand_where_it_is_included() -> None:
    found = loaded("a: 1\nb: 1\ninclude x.conf\nb: 3\nm { include x.conf }\nd: $c", x="a: 2\nb: 2\nc: 4")

    assert found == {"a": 2, "b": 3, "c": 4, "m": {"a": 2, "b": 2, "c": 4}, "d": 4}


@pytest.mark.spec("configuration 2.8")
def test_an_included_file_does_not_see_the_variables_of_the_other() -> None:
    assert refusal("A: 1\ninclude x.conf", x="a: $A") == (
        "error parsing include file 'x.conf', variable reference for 'A' on line 1 can not be found"
    )


@pytest.mark.spec("configuration 2.8")
def test_a_path_is_joined_to_the_folder_of_the_file_that_includes_even_when_it_is_absolute(
    folder: Path,
) -> None:
    (folder / "in").mkdir()
    (folder / "in/a.conf").write_text("include /b.conf")
    (folder / "in/b.conf").write_text("b: 1")

    assert loaded("include in/a.conf") == {"b": 1}
    assert refusal('include "/nope/x.conf"') == (
        "error parsing include file '/nope/x.conf', open nope/x.conf: no such file or directory"
    )


@pytest.mark.spec("configuration 2.1", "configuration 2.8")
def test_places_name_the_file_as_it_was_joined(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in/x.conf").write_text("\nb: 1")
    (folder / "c.conf").write_text("a: 1\ninclude ./in/x.conf")

    root = load("./c.conf", {}).root

    assert {key: str(node.place) for key, node in root.items()} == {"a": "./c.conf:1:0", "b": "in/x.conf:2:1"}


@pytest.mark.spec("configuration 2.8")
def test_files_that_include_one_another_in_a_circle_are_refused() -> None:
    assert "include cycle: x.conf" in refusal("include x.conf", x="include ./y.conf", y="include x.conf")
    assert "include cycle: c.conf" in refusal("m { include c.conf }")


def test_includes_are_bounded_in_depth_and_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (folder / f"{number}.conf").write_text(f"include '{number + 1}.conf'")

    assert "includes stand more than 16 deep" in refusal("include '0.conf'")

    monkeypatch.setattr(resolve, "FILES_MAX", 3)
    assert "more than 3 files are included" in refusal("include x.conf\n" * 3, x="a: 1")


def test_a_file_is_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "FILE_BYTES_MAX", 10)

    assert refusal("a: 12345678") == "c.conf holds more than 10 bytes"


def test_values_that_variables_multiply_are_bounded() -> None:
    lines = ["V0: [1,1]", *(f"V{n}: [$V{n - 1}, $V{n - 1}]" for n in range(1, 60))]

    assert refusal("\n".join(lines)) == "the configuration holds more than 1000000 values"


def test_nesting_that_variables_add_is_bounded() -> None:
    lines = [f"V0: {'[' * 60}{']' * 60}", f"V1: {'[' * 60}$V0{']' * 60}"]

    assert "deep within one another" in refusal("\n".join(lines))


@pytest.mark.spec("configuration 2.10")
def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    for path, said in {"none": "open none: no such file or directory", ".": "read .: is a directory"}.items():
        with pytest.raises(LanguageError) as caught:
            load(path, {})
        assert str(caught.value) == said


@pytest.mark.spec("configuration 2.1")
def test_a_null_character_ends_the_input_and_bytes_that_are_no_text_are_kept(folder: Path) -> None:
    (folder / "c.conf").write_bytes(b"a: \xff\nb: 1\x00 nonsense {")

    root = load("c.conf", {}).root

    assert {key: plain(node) for key, node in root.items()} == {"a": "\udcff", "b": 1}


@pytest.mark.spec("configuration 2.12")
def test_the_digest_does_not_depend_on_how_a_file_is_written(folder: Path) -> None:
    (folder / "a.conf").write_text("x: 1.0\nm {a: 1, b: [yes]}  # c")
    (folder / "b.conf").write_text('{ "m": {"b": [true\n], "a": 1}, "x": 1.0 }')

    assert load("a.conf", {}).digest == load("b.conf", {}).digest
    assert load("a.conf", {}).digest.startswith("sha256:")


@pytest.mark.spec("configuration 2.12")
@pytest.mark.parametrize(
    ("text", "expected"),
    [('a: "<é&\u2028>"', '{"a":"\\u003cé\\u0026\\u2028\\u003e"}'), ("a: 1.50", '{"a":1.5}'),
     ("a: 100.0", '{"a":100}'),
     ("a: 2016-05-04T18:53:41Z", '{"a":"2016-05-04T18:53:41Z"}'), ("a: 0.0000001", '{"a":1e-7}'),
     (f"a: 1{'0' * 21}.0", '{"a":1e+21}'), ("b: 1\na: []", '{"a":[],"b":1}')],
)  # fmt: skip
def test_the_digest_is_that_of_the_json_that_go_writes(text: str, expected: str) -> None:
    Path("c.conf").write_text(text)

    hashed = hashlib.sha256(f"{expected}\n".encode()).hexdigest()
    assert load("c.conf", {}).digest == f"sha256:{hashed}"
