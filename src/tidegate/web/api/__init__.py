# SPDX-License-Identifier: Apache-2.0
"""The REST API: `application` builds it, `routes` has one module for each group of paths.

Handlers decode, ask `accounts`, `store`, `identity`, `policy`, `vfs` or `cluster`, and encode. They see
`services.Services`, never the composition root.
"""
