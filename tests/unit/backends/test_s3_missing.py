# SPDX-License-Identifier: Apache-2.0
"""A 404 that does not say what is missing: of requests about a bucket it is the bucket, never an empty directory."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tidegate.backends.objects.bucket import StorageMisconfigured
from tidegate.backends.objects.s3_errors import translate
from tidegate.errors import NotFound


def said(operation: str, code: str) -> Exception:
    answer = {"Error": {"Code": code, "Message": "Not Found"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    return translate(ClientError(answer, operation), operation, "files", "us-east-1")


@pytest.mark.parametrize(
    "operation", ["HeadBucket", "ListObjectsV2", "ListMultipartUploads", "DeleteObjects"]
)
def test_of_a_bucket(operation: str) -> None:
    error = said(operation, "404")
    assert isinstance(error, StorageMisconfigured)
    assert "there is no bucket 'files'" in str(error)


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject", "ListParts", "CopyObject"])
def test_of_an_object(operation: str) -> None:
    assert isinstance(said(operation, "404"), NotFound)
    assert isinstance(said(operation, "NoSuchBucket"), StorageMisconfigured)
