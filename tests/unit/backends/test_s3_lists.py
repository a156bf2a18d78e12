# SPDX-License-Identifier: Apache-2.0
"""Lists of S3 are read as the client library reads them; what is none is an error, never an empty directory."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from botocore import exceptions as b
from botocore.handlers import decode_list_object_v2
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from tidegate.backends.objects.bucket import StorageMisconfigured
from tidegate.backends.objects.s3_errors import may_try_again
from tidegate.backends.objects.s3_lists import objects_of

SPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
SHAPE = (
    ServiceModel(create_loader().load_service_model("s3", "service-2"), "s3")
    .operation_model("ListObjectsV2")
    .output_shape
)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


def theirs(body: bytes) -> dict[str, Any]:
    """The same by the library."""
    answer = {"status_code": 200, "headers": {}, "body": body}
    found: dict[str, Any] = create_parser("rest-xml").parse(answer, SHAPE)
    decode_list_object_v2(found, {"encoding_type_auto_set": True})
    return found


def entry(key: str, size: int, at: str) -> str:
    """An object as services tell it, with what nobody asks for."""
    return (
        f"<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>&quot;e-2&quot;</ETag><Size>{size}</Size>"
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Owner><ID>me</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    )


def page(inner: str, space: str = SPACE, more: str = "") -> bytes:
    head = f"<Name>b</Name><Prefix>p</Prefix><KeyCount>1</KeyCount>{more}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{space}>{head}{inner}</ListBucketResult>'.encode()


@pytest.mark.parametrize("space", ["", SPACE])
@given(
    keys=st.lists(NAMES, max_size=4),
    folders=st.lists(NAMES, max_size=3),
    size=st.integers(0, 5 << 40),
    token=st.text("abcXYZ019+/=", max_size=20),
)
def test_as_the_library(space: str, keys: list[str], folders: list[str], size: int, token: str) -> None:
    inner = "".join(entry(escape(quote_plus(key)), size, "2026-11-18T09:53:20.123Z") for key in keys)
    inner += "".join(
        f"<CommonPrefixes><Prefix>{quote_plus(one)}/</Prefix></CommonPrefixes>" for one in folders
    )
    more = f"<IsTruncated>{'true' if token else 'false'}</IsTruncated><EncodingType>url</EncodingType>"
    more += f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    body = page(inner, space, more)
    ours, expected = objects_of(body), theirs(body)
    wanted = ("Key", "Size", "ETag", "LastModified")
    assert ours is not None
    assert [one["Key"] for one in ours["Contents"]] == keys
    assert ours["Contents"] == [{name: one[name] for name in wanted} for one in expected.get("Contents", ())]
    assert ours["CommonPrefixes"] == expected.get("CommonPrefixes", [])
    assert ours["IsTruncated"] is expected["IsTruncated"]
    assert ours.get("NextContinuationToken", "") == expected.get("NextContinuationToken", "") == token


def test_keys_that_are_not_encoded_stay_as_they_are() -> None:
    body = page(entry("a+b%20c", 1, "2026-11-18T09:53:20Z"))
    ours = objects_of(body)
    assert ours is not None
    assert ours["Contents"] == [
        {name: one for name, one in theirs(body)["Contents"][0].items() if name in ours["Contents"][0]}
    ]
    assert ours["Contents"][0]["Key"] == "a+b%20c"


@pytest.mark.parametrize(
    "at", ["2026-11-18T09:53:20", "2026-11-18T09:53:20.123456789Z", "2026-11-18T11:53:20+02:00"]
)
def test_times(at: str) -> None:
    ours = objects_of(page(entry("k", 1, at)))
    assert ours is not None
    assert int(ours["Contents"][0]["LastModified"].timestamp()) == 1_794_995_600


@pytest.mark.parametrize(
    "body", [entry("k", 1, "Wed, 18 Nov 2026 09:53:20 GMT"), entry("k", 1, "").replace(">1<", ">x<")]
)
def test_what_is_written_in_another_way_is_left_to_the_library(body: str) -> None:
    assert objects_of(page(body)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"busy",
        page("")[:-5],
        page("<Contents>"),
        *(
            b'<?xml version="1.0" encoding="%b"?><ListBucketResult/>' % name
            for name in (b"x", b"utf-7", b"idna")
        ),
    ],
)
def test_a_list_that_is_cut_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(b.HTTPClientError) as caught:
        objects_of(body)
    assert may_try_again(caught.value)


def test_an_error_that_is_sent_as_a_success_is_one() -> None:
    with pytest.raises(b.ClientError) as caught:
        objects_of(b"<Error><Code>InternalError</Code><Message>m</Message></Error>")
    assert caught.value.response["Error"] == {"Code": "InternalError", "Message": "m"}
    assert may_try_again(caught.value)


@pytest.mark.parametrize("body", [b"<html><body>Sign in</body></html>", b"<ListPartsResult/>"])
def test_something_else_is_no_empty_directory(body: bytes) -> None:
    with pytest.raises(StorageMisconfigured, match="this is no S3"):
        objects_of(body)
