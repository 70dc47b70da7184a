"""Both forms in which pict-rs asks are read, exactly; what is neither is a fault of the connection."""

from __future__ import annotations

import asyncio
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.media.pictures import encode, gradient
from support.web.hook import MAX_BYTES, running_hook
from support.web.pictrs_client import (
    BOUNDARY,
    END,
    KEY,
    Connection,
    ask_with_form,
    chunks,
    exchange,
    form,
    form_head,
    head,
)
from support.web.pictrs_safety import AncestorWorker
from support.web.relay import running_relay

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.uploads.bodies import BadBody, BodyLimits, BodyReader
from lemmy_safety.web.forms import BadForm, BodyForm, FileInForm, form_of, is_key

RECORDED = Path(__file__).parent / "recorded"
CANARY = canary_png()
HARMLESS = encode(gradient(), "png")
FORM = f"multipart/form-data; boundary={BOUNDARY}"
#: The picture in both recorded requests.
RECORDED_SIZE, RECORDED_START = 156, b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    with running_hook(tmp_path_factory.mktemp("hook")) as running:
        yield running


def read(pieces, boundary: str = BOUNDARY):
    reader = FileInForm(boundary.encode())
    data = b"".join(reader.feed(piece) for piece in pieces)
    return data, reader.finish()


def picture_in(request: bytes) -> bytes:
    start = request.index(RECORDED_START)
    return request[start : start + RECORDED_SIZE]


@pytest.mark.parametrize("version", ["0.5.25", "0.6.0-rc.6"])
def test_recorded_requests_are_judged_by_their_file(hook, version):
    """The very bytes that real versions of pict-rs sent: the digest on record is that of the file, not of the request."""
    request = (RECORDED / f"pictrs-{version}-validation.request").read_bytes()
    answer = exchange(hook.port, request)
    assert (answer.status, answer.body) == (200, b"accepted")
    known = hook.ledger.uploads.get(hashlib.sha256(picture_in(request)).hexdigest())
    assert known is not None
    assert (known.size, known.assessment.verdict.outcome, known.media_type) == (RECORDED_SIZE, "clear", "image/png")


@pytest.mark.parametrize("size", [1, 7, 70, 1000, 65_536])
def test_canary_in_a_form_is_refused(hook, size):
    """However the form is cut into chunks."""
    assert exchange(hook.port, form_head() + chunks(form(CANARY), size) + END).status == 406
    assert exchange(hook.port, form_head() + chunks(form(HARMLESS), size) + END).status == 200


#: Forms that hold one file, as other versions, other clients and proxies may write them: headers, and body.
READ = {
    "types in the other order": ((FORM, "image/png"), form(CANARY)),
    "types joined by a proxy": ((f"image/png, {FORM}",), form(CANARY)),
    "joined in the other order": ((f"{FORM}, image/png",), form(CANARY)),
    "the form's type alone": ((FORM,), form(CANARY)),
    "the same type twice": ((FORM, FORM), form(CANARY)),
    "quoted boundary": (("image/png", f'multipart/form-data; boundary="{BOUNDARY}"'), form(CANARY)),
    "quoted boundary with a comma": (
        ('image/png, multipart/form-data; boundary="a,b c"',),
        form(CANARY, boundary="a,b c"),
    ),
    "upper case": (("image/png", f"Multipart/Form-Data; Boundary={BOUNDARY}"), form(CANARY)),
    "more parameters": (("image/png", f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}; x=y"), form(CANARY)),
    "tab, spaces, semicolon": ((f"multipart/form-data;\tboundary = {BOUNDARY};",), form(CANARY)),
    "encoded boundary": ((f"multipart/form-data; boundary*=utf-8''{BOUNDARY}",), form(CANARY)),
    "three types": (("image/png", FORM, "application/octet-stream"), form(CANARY)),
    "a form's type within quotes": ((f'image/png; a="x, multipart/form-data; boundary=z", {FORM}',), form(CANARY)),
    "another kind of form": (("image/png", f"multipart/mixed; boundary={BOUNDARY}"), form(CANARY)),
    "plain name": ((FORM,), form(CANARY, f'form-data; name="{KEY}"')),
    "no name": ((FORM,), form(CANARY, "form-data")),
    "file name": ((FORM,), form(CANARY, 'form-data; name="file"; filename="a.png"')),
    "type of the part": ((FORM,), form(CANARY, more="Content-Type: image/png\r\nContent-Length: 5\r\n")),
    "binary, said so": ((FORM,), form(CANARY, more="Content-Transfer-Encoding: binary\r\n")),
    "lower-case headers": ((FORM,), form(CANARY).replace(b"Content-Disposition", b"content-disposition")),
    "no headers of the part": (
        (FORM,),
        f"--{BOUNDARY}\r\n\r\n".encode() + CANARY + f"\r\n--{BOUNDARY}--".encode(),
    ),
    "text before": ((FORM,), b"This is a message\r\nin MIME format.\r\n" + form(CANARY)),
    "line ends before": ((FORM,), b"\r\n\r\n" + form(CANARY)),
    "text behind": ((FORM,), form(CANARY) + b"the end\r\n--" + BOUNDARY.encode() + b"\r\n"),
    "no last line end": ((FORM,), form(CANARY)[:-2]),
    "short boundary": (("multipart/form-data; boundary=x",), form(CANARY, boundary="x")),
    "longest boundary": ((f"multipart/form-data; boundary={'x' * 70}",), form(CANARY, boundary="x" * 70)),
}


@pytest.mark.parametrize("case", READ)
def test_forms_of_one_file_are_read(hook, case):
    """Whatever is written around the file: the canary in it is recognised by its digest."""
    types, body = READ[case]
    assert exchange(hook.port, form_head("/validate", *types) + chunks(body) + END).status == 406
    length = form_head("/validate", *types, content_length=str(len(body))).replace(
        b"transfer-encoding: chunked\r\n", b""
    )
    assert exchange(hook.port, length + body).status == 406
    row = hook.ledger.uploads.get(hashlib.sha256(CANARY).hexdigest())
    assert row is not None
    assert row.size == len(CANARY)


def test_trailers_behind_a_form_are_passed_over(hook):
    """What a chunked body may carry besides its bytes changes nothing."""
    body = form_head() + chunks(form(CANARY))
    assert exchange(hook.port, body + b"0\r\nx-sum: 1\r\n\r\n").status == 406


def test_forms_follow_each_other_on_a_connection(hook):
    """Requests of both forms, sent ahead of their answers, get one each; a client that asks first is told to go on."""
    one, other = form_head() + chunks(form(CANARY)) + END, head() + chunks(HARMLESS) + END
    with Connection(hook.port) as connection:
        connection.send(one + other + one + form_head() + chunks(form(HARMLESS)) + END)
        assert [connection.answer().status for _ in range(4)] == [406, 200, 406, 200]
        connection.send(form_head(expect="100-continue"))
        assert connection.answer().status == 100
        connection.send(chunks(form(CANARY)) + END)
        assert connection.answer().status == 406


def test_other_clients_forms_are_read(hook):
    """A form that another program's library writes: curl -F, browsers and httpx name a field and a file."""
    for data, status in ((CANARY, 406), (HARMLESS, 200)):
        url = f"http://127.0.0.1:{hook.port}/validate"
        assert httpx.post(url, files={"images[]": ("a.png", io.BytesIO(data), "image/png")}).status_code == status


PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{KEY}"\r\n\r\n'.encode()
CLOSED = f"\r\n--{BOUNDARY}--\r\n".encode()

#: What is no file of pict-rs, and cannot be looked for later: headers, and body.
REFUSED = {
    "no part": ((FORM,), f"--{BOUNDARY}--\r\n".encode()),
    "an empty form": ((FORM,), b""),
    "an empty file": ((FORM,), form(b"")),
    "two parts": ((FORM,), PART + HARMLESS + b"\r\n" + form(CANARY)),
    "two parts, the canary first": ((FORM,), PART + CANARY + b"\r\n" + form(HARMLESS)),
    "a field before the file": (
        (FORM,),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode() + form(CANARY),
    ),
    "no end": ((FORM,), PART + HARMLESS),
    "half an end": ((FORM,), PART + HARMLESS + f"\r\n--{BOUNDARY}-".encode()),
    "no empty line": ((FORM,), PART[:-2]),
    "another boundary": (("multipart/form-data; boundary=other",), form(HARMLESS)),
    "two boundaries": ((FORM, "multipart/form-data; boundary=other"), form(HARMLESS)),
    "no boundary": (("multipart/form-data",), form(HARMLESS)),
    "an empty boundary": (('multipart/form-data; boundary=""',), form(HARMLESS)),
    "a boundary that cannot be one": (('multipart/form-data; boundary="a\\"b"',), form(HARMLESS)),
    "a boundary that is too long": ((f"multipart/form-data; boundary={'x' * 71}",), form(HARMLESS, boundary="x" * 71)),
    "the file without its form": ((FORM,), HARMLESS),
    "JSON": ((FORM,), b'{"file": "..."}'),
    "a web page": ((FORM,), b"<!DOCTYPE html><title>502</title>"),
    "base64": ((FORM,), form(b"aGVsbG8=", more="Content-Transfer-Encoding: base64\r\n")),
    "lines that end in LF": ((FORM,), form(b"hello").replace(b"\r\n", b"\n")),
    "a faulty header": ((FORM,), form(HARMLESS, more="no header at all\r\n")),
    "far too many headers": ((FORM,), form(HARMLESS, more="X-More: 1\r\n" * 5000)),
    "an endless header": ((FORM,), form(HARMLESS, more=f"X-Long: {'x' * 100_000}\r\n")),
    "much text before": ((FORM,), b"x" * 100_000 + b"\r\n" + form(HARMLESS)),
    "much text behind": ((FORM,), form(HARMLESS) + b"x" * 100_000),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_file_is_refused_whatever_is_set(hook, case):
    """Nothing is known of such a file, so nothing could be looked for later: 400, counted, and nothing on record."""
    types, body = REFUSED[case]
    before = hook.ledger.maintenance.stats().uploads
    counted = _garbled(hook)
    answer = exchange(hook.port, form_head("/validate", *types) + chunks(body) + END)
    assert answer.status == 400, answer
    assert hook.ledger.maintenance.stats().uploads == before
    assert _garbled(hook) == counted + 1
    assert hook.metric("held_bytes") == 0


@pytest.mark.parametrize("coding", ["gzip", "GZip", "br", "deflate", "identity, gzip"])
def test_compressed_bodies_are_refused(hook, coding):
    """pict-rs compresses nothing; what comes compressed is not the file, whatever it unpacks to."""
    counted = _garbled(hook)
    assert exchange(hook.port, head(content_encoding=coding) + chunks(CANARY) + END).status == 415
    assert _garbled(hook) == counted + 1
    assert exchange(hook.port, head(content_encoding="identity") + chunks(CANARY) + END).status == 406


def _garbled(hook) -> float:
    return sum(hook.metric(f'garbled_total{{what="{what}"}}') for what in ("form", "empty", "encoded", "not_media"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"file": "abc"}',
        b"<!DOCTYPE html><title>x</title>",
        b"--raw file that begins so\r\n",
        b"\0" * 500,
    ],
)
def test_raw_bodies_that_are_no_medium_are_counted(hook, body):
    """They follow the setting and are on record, as whatever cannot be judged; and they count as faults of the connection."""
    counted = hook.metric('garbled_total{what="not_media"}')
    assert exchange(hook.port, head() + chunks(body) + END).status == 200
    assert hook.metric('garbled_total{what="not_media"}') == counted + 1
    row = hook.ledger.uploads.get(hashlib.sha256(body).hexdigest())
    assert row is not None
    assert (row.size, row.answer) == (len(body), "unchecked")


def test_limit_holds_for_the_file_and_not_for_the_form(tmp_path):
    """A file of just the limit passes in a form, announced or in chunks; one byte more is 413."""
    with running_hook(tmp_path, memory_bytes=4 * MAX_BYTES) as hook:
        largest = HARMLESS + bytes(MAX_BYTES - len(HARMLESS))
        for data, status in ((largest, 200), (largest + b"x", 413)):
            assert ask_with_form(hook.port, data).status == status
            body = form(data)
            announced = form_head(content_length=str(len(body))).replace(b"transfer-encoding: chunked\r\n", b"")
            assert exchange(hook.port, announced + body).status == status
        assert hook.metric("held_bytes") == 0


def test_workers_of_a_relay_get_the_file(tmp_path):
    """Whichever form pict-rs uses, a worker is handed the file, byte for byte, and not the request."""
    with running_relay(tmp_path) as relay, ThreadPoolExecutor(1) as threads:
        for version in ("0.5.25", "0.6.0-rc.6"):
            request = (RECORDED / f"pictrs-{version}-validation.request").read_bytes()
            worker = AncestorWorker(relay.port)
            assert worker.pop() is None
            asked = threads.submit(exchange, relay.port, request)
            name, data = worker.pop_soon()
            assert data == picture_in(request)
            worker.tell(name, csam=True)
            assert asked.result(30).status == 406


# The reader by itself.

BOUNDARIES = st.from_regex(r"[0-9A-Za-z'()+_,./:=?-]{1,70}", fullmatch=True)


@st.composite
def files_with_near_boundaries(draw):
    """A boundary, and bytes full of what looks like it but is not; no sender draws one that is in the file."""
    boundary = draw(BOUNDARIES)
    mark = b"\r\n--" + boundary.encode()
    pieces = [b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", mark[:-1], mark[2:], b"\r\n" + mark[:-1], mark[:5] * 3]
    data = b"".join(draw(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(pieces)), max_size=12)))
    assume(mark not in b"\r\n" + data)
    return boundary, data


@given(files_with_near_boundaries(), st.lists(st.integers(min_value=0, max_value=2000), max_size=8))
@example((BOUNDARY, b""), [])
@example((BOUNDARY, b"\r\n"), [200])
def test_any_file_comes_out_as_it_went_in(made, cuts):
    """Any bytes, any boundary, any chunks: the same bytes, and the digests of a body of its own."""
    boundary, data = made
    body = form(data, boundary=boundary)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in pairwise(edges)]
    found, part = read(pieces, boundary)
    assert found == data
    assert part.key == KEY

    async def stream():
        for piece in pieces:
            yield piece

    async def digests():
        limits = BodyLimits(max_bytes=10_000, memory_bytes=10_000, timeout_s=20)
        return await BodyReader(limits).read(stream(), media_type="image/png", envelope=FileInForm(boundary.encode()))

    if data:
        upload = asyncio.run(digests())
        assert upload.sha256 == hashlib.sha256(data).hexdigest()
        assert (upload.size, upload.storage_key) == (len(data), KEY)


@pytest.mark.parametrize("data", [b"a", b"\r\n", b"\r\n--", f"\r\n--{BOUNDARY[:-1]}\r\n--".encode(), b"\r\r\n\r\n--\r"])
def test_chunks_may_end_anywhere(data):
    """A boundary that is split between two chunks, at each of its bytes, is a boundary all the same."""
    body = form(data)
    for cut in range(len(body) + 1):
        assert read([body[:cut], body[cut:]])[0] == data
    assert read([bytes([byte]) for byte in body])[0] == data


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_what_is_no_form_raises_nothing_else(pieces):
    """Any bytes at all are a form or a BadForm."""
    reader = FileInForm(b"--")
    try:
        for piece in [b"----\r\n", *pieces]:
            reader.feed(piece)
        reader.finish()
    except BadForm:
        return


def test_a_large_file_of_line_ends_is_read_in_one_go():
    """The reader's time grows with the file alone, also where each line could begin a boundary."""
    data = b"\r\n--" * 500_000
    body = form(data)
    pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    assert read(pieces)[0] == data


@pytest.mark.parametrize(
    ("types", "form"),
    [
        ([], BodyForm(media_type="", boundary=None, is_form=False)),
        (["image/webp"], BodyForm(media_type="image/webp", boundary=None, is_form=False)),
        (["image/webp; boundary=x"], BodyForm(media_type="image/webp", boundary=None, is_form=False)),
        (
            ["image/webp", "multipart/form-data; boundary=x"],
            BodyForm(media_type="image/webp", boundary=b"x", is_form=True),
        ),
        (["multipart/form-data"], BodyForm(media_type="", boundary=None, is_form=True)),
        (["multipart/form-data; boundary=é"], BodyForm(media_type="", boundary=None, is_form=True)),
    ],
)
def test_content_types_say_what_the_body_is(types, form):
    """The file's own type, and whether it comes in a form."""
    assert form_of(types) == form


@given(st.lists(st.text(max_size=80), max_size=4), st.text(max_size=80))
def test_no_header_raises(types, more):
    """Whatever stands in a Content-Type, or behind a form's, is read as something."""
    form_of([*types, f"multipart/form-data; {more}"])


#: Names of parts, and the key that is taken from them.
NAMES = {
    f"name*=utf-8''{KEY.replace('/', '%2F')}": KEY,
    f"name*=UTF-8''{KEY}": KEY,
    f"name*=utf-8'en'{KEY}": KEY,
    f'name="{KEY}"': KEY,
    f"name={KEY}": KEY,
    f'Name="{KEY}"': KEY,
    "name*=utf-8''01%2F%C3%A9.png": "01/é.png",
    "name*=utf-8''01%2F%E4%BD%A0%20a.png": "01/你 a.png",
    "name*0*=utf-8''01%2Fa; name*1=/b": "01/a/b",
    'name="file"': None,
    f'name="{KEY}"; filename="a.png"': None,
    f"name*=utf-8''{KEY}; filename*=utf-8''a.png": None,
    "name*=utf-8''%2Fetc%2Fpasswd": None,
    "name*=utf-8''01%2F..%2F..%2Fetc": None,
    "name*=utf-8''01%2F%00.png": None,
    "name*=utf-8''01%2F%0A.png": None,
    "name*=utf-8''01%2F%1B%5B31m.png": None,
    "name*=utf-8''01%2F%FF.png": None,
    "name*=utf-8''01%2F%E2%80%AE.png": None,
    "name*=utf-8''01%2F": None,
    "name*=utf-8''": None,
    f"name*=no-such-charset''{KEY}": KEY,
    f"name*=utf-8''01%2F{'a' * 1100}": None,
    f"name*={KEY}; name*0={KEY}": None,
    "name*=utf-8''01%2F%ED%A0%80.png": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_storage_key_is_taken_from_the_name_of_the_part(name):
    """Percent-encoded or plain; what cannot be a key of pict-rs is not taken for one, and the file is judged all the same."""
    data, part = read([form(b"data", f"form-data; {name}")])
    assert (data, part.key) == (b"data", NAMES[name])


@given(st.text(max_size=60))
def test_what_counts_as_a_key_can_be_recorded_and_shown(text):
    """Text in UTF-8 without control characters, and no way out of a folder."""
    if is_key(text):
        assert text.encode()
        assert text.isprintable()
        assert ".." not in text.split("/")


def test_bodies_without_a_form_are_read_as_before():
    """No boundary, no form: bytes that look like one are the file."""

    async def stream():
        yield form(b"data")

    async def run(boundary):
        reader = BodyReader(BodyLimits(max_bytes=1000, memory_bytes=1000, timeout_s=20))
        return await reader.read(
            stream(), media_type="image/png", envelope=None if boundary is None else FileInForm(boundary)
        )

    assert asyncio.run(run(None)).size == len(form(b"data"))
    assert asyncio.run(run(BOUNDARY.encode())).size == 4
    with pytest.raises(BadBody):
        asyncio.run(run(b"another"))
