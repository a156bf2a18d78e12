# SPDX-License-Identifier: Apache-2.0
"""The text of WebDAV, sans-IO: no sockets, no event loop, no clock.

`xml` reads documents and writes elements, `bodies` takes the bodies of requests apart, `answers` writes
multistatus bodies, `headers` reads the headers that are WebDAV's own, `conditions` those on entity tags and
locks, `ranges` ranges of bytes, `paths` converts between addresses and paths.

Sources: RFC 4918 (WebDAV); RFC 4331 (quota); RFC 9110 (conditions, ranges).
"""
