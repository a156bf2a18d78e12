# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts to S3 (S3 user guide, "Uploading and copying objects using multipart upload")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from typing_extensions import Buffer

from tidegate.backends.objects import sums
from tidegate.backends.objects.bucket import ObjectChanged, Part, Stored, Upload
from tidegate.backends.objects.keys import checked
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.s3_client import Answer
from tidegate.backends.objects.s3_requests import S3Requests, etag_of, stated, sums_of, time_of
from tidegate.backends.objects.tries import Failed, exists_instead
from tidegate.errors import NotFound, StorageFailed

_OPERATION = "CompleteMultipartUpload"


class S3Uploads:
    """Uploads in parts to one bucket; see the methods of `bucket.Bucket` with the same names.

    Args:
        requests: to the bucket.
    """

    def __init__(self, requests: S3Requests) -> None:
        self._requests = requests

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See `Bucket.begin`. The service is told to keep a CRC-32 of the whole object."""
        params: Answer = {"Key": checked(key), "Metadata": dict(metadata), **self._requests.of_new(key)}
        if self._requests.crc:
            params |= {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
        answer = await self._requests.call("create_multipart_upload", **params)
        return Upload(key, stated(answer, "UploadId"), time_of(answer))

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:
        """See `Bucket.part`."""
        params = {**_of(upload), "PartNumber": number, **self._requests.of_known}
        try:
            answer, confirmed = await self._requests.send("upload_part", data, crc32, **params)
        except Failed as failed:
            raise failed.error from None
        return Part(number, memoryview(data).nbytes, etag_of(answer), confirmed)

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """See `Bucket.copy_part`."""
        params = {**_of(upload), "PartNumber": number, "CopySourceRange": f"bytes={start}-{start + size - 1}"}
        params |= {**self._requests.source(source), **self._requests.of_known}
        answer = (await self._requests.call("upload_part_copy", **params)).get("CopyPartResult", {})
        return Part(number, size, etag_of(answer), sums_of(answer))

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool) -> Stored:
        """See `Bucket.complete`."""
        size, crc = sum(part.size for part in parts), _whole(parts) if self._requests.crc else ""
        expected = sums.md5_of_md5s(part.etag for part in parts)
        params: Answer = {**_of(upload), "MpuObjectSize": size, **self._requests.of_known}
        params["MultipartUpload"] = {"Parts": [_listed(part, crc=bool(crc)) for part in parts]}
        if crc:
            params |= {"ChecksumCRC32": sums.base64_of(crc), "ChecksumType": "FULL_OBJECT"}
        if create:
            params["IfNoneMatch"] = "*"
        try:
            answer = await self._requests.attempt("complete_multipart_upload", **params)
        except Failed as failed:
            if failed.tries > 1 and isinstance(failed.error, (NotFound, ObjectChanged)):
                found = await self._made(upload, size, expected, crc)
                if found is not None:
                    return found
            raise exists_instead(failed.error) if create else failed.error from None
        etag, made = etag_of(answer), sums_of(answer)
        if crc and made.get("crc32", crc) != crc:
            raise StorageFailed(detail=f"{_OPERATION}: the object has CRC32 {made['crc32']}, not {crc}")
        if expected and _is_of_parts(etag) and etag != expected:
            raise StorageFailed(detail=f"{_OPERATION}: the object has ETag {etag}, not {expected}")
        return Stored(upload.key, size, time_of(answer), etag, None, made)

    async def _made(self, upload: Upload, size: int, expected: str | None, crc: str) -> Stored | None:
        """The object, if an earlier try whose answer was lost has made it."""
        try:
            found = await self._requests.head(upload.key)
        except NotFound:
            return None
        same = found.etag == expected or (bool(crc) and found.sums.get("crc32") == crc)
        return found if same and found.size == size else None

    async def abort(self, upload: Upload) -> None:
        """See `Bucket.abort`."""
        try:
            await self._requests.call("abort_multipart_upload", **_of(upload))
        except NotFound:
            return

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """See `Bucket.uploads`."""
        params: Answer = {"Prefix": prefix}
        markers = Markers("ListMultipartUploads")
        while True:
            answer = await self._requests.call("list_multipart_uploads", **params)
            found = [
                Upload(
                    stated(entry, "Key"), stated(entry, "UploadId"), stated(entry, "Initiated").timestamp()
                )
                for entry in answer.get("Uploads", ())
                if stated(entry, "Key").startswith(prefix)
            ]
            if found:
                yield found
            key, upload = answer.get("NextKeyMarker", ""), answer.get("NextUploadIdMarker", "")
            marker = f"{key}\0{upload}" if key else ""
            if not markers.next(marker, more=bool(answer.get("IsTruncated"))):
                return
            params |= {"KeyMarker": key, "UploadIdMarker": upload}

    async def parts(self, upload: Upload) -> list[Part]:
        """See `Bucket.parts`."""
        params: Answer = {**_of(upload), **self._requests.of_known}
        found: dict[int, tuple[float, Part]] = {}
        markers = Markers("ListParts")
        while True:
            answer = await self._requests.call("list_parts", **params)
            for entry in answer.get("Parts", ()):
                part = Part(
                    stated(entry, "PartNumber"), stated(entry, "Size"), etag_of(entry), sums_of(entry)
                )
                stored = time_of(entry)
                # SeaweedFS lists what a part has replaced too.
                if part.number not in found or found[part.number][0] < stored:
                    found[part.number] = (stored, part)
            marker = answer.get("NextPartNumberMarker") or ""
            if not markers.next(str(marker), more=bool(answer.get("IsTruncated"))):
                return [found[number][1] for number in sorted(found)]
            params["PartNumberMarker"] = marker


def _of(upload: Upload) -> Answer:
    return {"Key": upload.key, "UploadId": upload.id}


def _listed(part: Part, *, crc: bool) -> Answer:
    entry: Answer = {"PartNumber": part.number, "ETag": f'"{part.etag}"'}
    if crc:
        entry["ChecksumCRC32"] = sums.base64_of(part.sums["crc32"])
    return entry


def _whole(parts: Sequence[Part]) -> str:
    """CRC-32 of the object; empty if that of a part is not known."""
    if not all("crc32" in part.sums for part in parts):
        return ""
    return sums.crc32_of_parts([(part.sums["crc32"], part.size) for part in parts])


def _is_of_parts(etag: str) -> bool:
    """True for an ETag that is an MD5 of MD5s, as far as its form tells."""
    whole, dash, count = etag.partition("-")
    return sums.is_md5(whole) and bool(dash) and count.isdigit()
