"""The two forms in which pict-rs asks about a file, and how to get the file out of each.

- 0.4 and 0.5: the body is the file. Content-Type is the file's media type.
- 0.6.0-rc.4 and later: ``multipart/form-data`` with one part, the file. There are two Content-Type headers, first the
  file's, then the form's. The name of the part is the storage key, percent-encoded (``name*=utf-8''01%2Fa1...``).

Sources: pict-rs src/ingest.rs (0.5.25), src/client.rs (0.6.0-rc.6), and requests recorded from both. python-multipart
splits the form, because it leaves the part's headers to us: other libraries refuse a part without a plain ``name=``,
which is what pict-rs sends. pict-rs picks a random boundary for each request, so no uploader can write it into a file.
"""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from lemmy_safety.uploads.bodies import BadBody, BodyFault, Part, claimed_type
from lemmy_safety.uploads.records import Garbled

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Most bytes of a form besides its file: boundaries, the part's headers, what comes before and after. pict-rs needs
#: about 400, and at most three bytes for each byte of the longest key.
MOST_OVERHEAD = 16 * 1024

#: Bytes of the longest key that S3 allows; file systems allow less.
_LONGEST_KEY = 1024

#: RFC 2046, 5.1.1: 1 to 70 characters, no space at the end.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")

#: The encodings of RFC 2045 that leave the bytes unchanged.
_AS_IT_IS = {"", "binary", "8bit", "7bit"}


class BadForm(BadBody):
    """A form that does not hold exactly one file, or whose file is ambiguous."""

    def __init__(self, text: str) -> None:
        super().__init__(BodyFault.BAD, text, Garbled.FORM)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyForm:
    """What the headers say about a body. ``media_type`` is empty if they do not give the file's own type.

    ``boundary`` separates the parts of a form; None if the body is the file, or if ``is_form`` lacks a usable boundary.
    """

    media_type: str
    boundary: bytes | None
    is_form: bool


def form_of(content_types: Sequence[str]) -> BodyForm:
    """Read all Content-Type headers of a request, in any order; a proxy may have joined them with a comma."""
    values = [value for header in content_types for value in urllib.request.parse_http_list(header)]
    types = [claimed_type(value) for value in values]
    forms = [value for value, kind in zip(values, types, strict=True) if kind.startswith("multipart/")]
    boundaries = {_parameter(value, "boundary") for value in forms}
    # With two different boundaries the end of the file would be ambiguous.
    boundary = boundaries.pop() if len(boundaries) == 1 else None
    usable = boundary is not None and _BOUNDARY.fullmatch(boundary) is not None
    return BodyForm(
        media_type=next((kind for kind in types if kind and not kind.startswith("multipart/")), ""),
        boundary=boundary.encode("ascii") if boundary is not None and usable else None,
        is_form=bool(forms),
    )


def begins_as_form(body: bytes) -> bool:
    """Whether a body is a form, whatever its headers say: a proxy may have dropped one, or wrapped a form in a form."""
    boundary, *headers = body[:MOST_OVERHEAD].partition(b"\r\n\r\n")[0].split(b"\r\n")
    return boundary.startswith(b"--") and any(line.lower().startswith(b"content-disposition:") for line in headers)


class FileInForm:
    """Reads a form in chunks of any size and returns the exact bytes of its one file."""

    most_overhead: Final = MOST_OVERHEAD

    def __init__(self, boundary: bytes) -> None:
        self._first = b"--" + boundary
        self._before: bytes | None = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )
        self._fed = 0
        self._given = 0
        self._parts = 0
        self._ended = False
        self._found = bytearray()
        self._name = bytearray()
        self._value = bytearray()
        self._headers: list[tuple[str, str]] = []

    def feed(self, data: bytes) -> bytes:
        """The file's bytes that this piece completes; some are held back while they may be the start of a boundary.

        :raises BadForm: it lacks this boundary, has a second part, or far more around the file than a form needs.
        """
        try:
            self._parser.write(self._from_the_first_boundary(data))
        except FormParserError as error:
            raise BadForm("the form cannot be read") from error
        found = bytes(self._found)
        self._found.clear()
        self._fed += len(data)
        self._given += len(found)
        if self._fed - self._given > MOST_OVERHEAD:
            raise BadForm("the form holds more than its file")
        return found

    def _from_the_first_boundary(self, data: bytes) -> bytes:
        """Skip what may precede the first part (RFC 2046, 5.1.1), which the parser treats as an error."""
        if self._before is None:
            return data
        before = self._before + data
        at_once = before.startswith(self._first)
        line_end = -1 if at_once else before.find(b"\r\n" + self._first)
        if not at_once and line_end < 0:
            self._before = before
            return b""
        self._before = None
        return before if at_once else before[line_end + 2 :]

    def finish(self) -> Part:
        """What the form says about its file, once the body is complete.

        :raises BadForm: the form is cut off, has no part, or its file is encoded otherwise.
        """
        if not self._parts:
            raise BadForm("the form holds no file")
        if not self._ended:
            raise BadForm("the form has no end")
        headers = {name.lower(): value for name, value in self._headers}
        if headers.get("content-transfer-encoding", "").strip().lower() not in _AS_IT_IS:
            raise BadForm("the file is in another coding")
        return Part(
            media_type=claimed_type(headers.get("content-type", "")),
            key=_key_in(headers.get("content-disposition", "")),
        )

    def _on_part(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise BadForm("the form holds more than one part")

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._name.decode("latin-1"), self._value.decode("utf-8", "replace")))
        self._name.clear()
        self._value.clear()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._found += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


def _parameter(header: str, name: str) -> str | None:
    """A parameter of a header, with RFC 2231's percent-encoding decoded; None if it is missing."""
    message = Message()
    message["x"] = header.replace("\r", " ").replace("\n", " ")
    try:
        value = message.get_param(name, header="x")
        return None if value is None else collapse_rfc2231_value(value)
    except (LookupError, TypeError, ValueError):  # contradictions, such as name* together with name*0
        return None


def _key_in(disposition: str) -> str | None:
    """The storage key in a Content-Disposition.

    A part with a file name comes from another client (a browser, curl), and its name is a field name.
    """
    if _parameter(disposition, "filename") is not None:
        return None
    name = _parameter(disposition, "name")
    return name if name is not None and is_key(name) else None


def is_key(text: str) -> bool:
    """Whether a text can be a storage key of pict-rs: folders and a name, without control characters.

    pict-rs puts every file into folders, in all versions, so a plain word is the field name of another form.
    """
    names = text.split("/")
    return (
        len(names) > 1
        and len(text.encode("utf-8", "surrogatepass")) <= _LONGEST_KEY
        and text.isprintable()
        and "\ufffd" not in text  # replaces bytes that are not UTF-8
        and not {"", ".", ".."} & set(names)
    )
