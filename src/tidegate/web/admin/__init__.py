# SPDX-License-Identifier: Apache-2.0
"""Pages for administrators: the frame that every page stands in, and `pages` with one module for each page.

A page changes records through `accounts.Administration` alone, as REST and the command line do. It may import
`web.api.services` and what that names; it knows no door and no backend. Nothing here is loaded before the
first request for a page.
"""
