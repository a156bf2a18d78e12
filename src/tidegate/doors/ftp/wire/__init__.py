# SPDX-License-Identifier: Apache-2.0
"""The text of FTP, sans-IO: no sockets, no event loop, no clock.

`commands` takes the control connection apart, `replies` builds answers, `addresses` reads and writes the
addresses of data connections, `times` the time values, `listings` the lines of listings, `text` converts the
ends of lines.

Sources: RFC 959; RFC 1123 section 4.1; RFC 2228 and 4217 (TLS); RFC 2389 (FEAT, OPTS); RFC 2428 (EPRT, EPSV);
RFC 2640 (UTF-8); RFC 3659 (MDTM, SIZE, REST, MLST); RFC 7151 (HOST); draft-somers-ftp-mfxx (MFMT, MFCT, MFF);
draft-bryan-ftpext-hash (HASH); draft-bryan-ftp-range (RANG);
draft-peterson-streamlined-ftp-command-extensions (AVBL).
"""
