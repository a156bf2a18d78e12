# SPDX-License-Identifier: Apache-2.0
"""Operations on files: opening, uploads, reading, renames, links, copies, digests."""
