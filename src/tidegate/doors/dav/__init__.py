# SPDX-License-Identifier: Apache-2.0
"""WebDAV: `wire` has XML and headers, `application` who asks; methods have a module for each family."""
