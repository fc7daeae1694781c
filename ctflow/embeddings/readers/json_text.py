"""A window on a JSON file, whose values are decoded one at a time."""

import json
from typing import Any, TextIO

from ctflow.embeddings.readers.text import LINE

CHUNK = 1 << 20
SPACE = " \t\r\n"


class Text:
    """A window that moves forward through a file."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def following(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self, sign: str) -> bool:
        """Go past this sign if it is next."""
        there = self.following() == sign
        self._at += there
        return there

    def element(self) -> Any:
        """Decode the next value."""
        self.following()
        while True:
            try:
                value, self._at = self._decode(self._text, self._at)
                return value
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > LINE:
                    raise ValueError(f"an element is damaged or longer than {LINE} characters") from None
                if not self._more():
                    raise ValueError(f"it ends early or is damaged: {error.msg}") from None

    def _more(self) -> bool:
        """Drop what was used and read on; False at the end of the file."""
        rest = self._text[self._at :]
        more = self._file.read(max(CHUNK, len(rest)))
        self._text, self._at = rest + more, 0
        return bool(more)
