# SPDX-License-Identifier: Apache-2.0
"""FTP and FTPS: `wire` has the bytes, `dialogue` what they mean, and data connections have their own part."""
