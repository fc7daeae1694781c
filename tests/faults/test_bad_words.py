"""Bad input of many kinds, each with exit code and message in bad_input.tsv; no file is written.

The last line of stderr must have the beginning of the message, its words that stand in the command too, and
those that are no plain words: arguments, files, functions, flags and numbers, which say what was wrong and
what to do.
"""

import re
from pathlib import Path

import pytest

from tests.faults import bad_words

TABLE = [line.split("\t") for line in (Path(__file__).parent / "bad_input.tsv").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    bad_words.write_files(folder)
    return folder


def marked(text):
    """The words with a mark or a digit in them, without the punctuation around them."""
    words = (word.strip(".,;:()") for word in text.split())
    return {word for word in words if re.search(r"[^A-Za-z]", word)}


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("code", "command", "message"), TABLE, ids=[line[1] for line in TABLE])
def test_refused_with_the_message_in_the_table(code, command, message, files, monkeypatch):
    monkeypatch.chdir(files)
    before = listing(files)
    found, said = bad_words.call(command)
    assert found == int(code)
    assert "Traceback" not in said
    if re.match(r"(ctflow( \w+)*|error): ", message):  # ours: one line
        line = re.split(r"[\r\n]+", said.strip())[-1].strip()
        assert line.startswith("".join(message.partition(": ")[:2]))
        assert marked(message) <= marked(line)
        assert set(message.split()) & set(command.split()) <= set(line.split())
    else:  # the parser's, in a frame of its own
        assert message.replace(" ", "") in re.sub(r"[\s│╭╮╰╯─]|-{9,}", "", said)
    assert listing(files) == before


def test_the_table_is_long_and_says_each_thing_once():
    assert len(TABLE) >= 60
    assert len({line[1] for line in TABLE}) == len(TABLE)
