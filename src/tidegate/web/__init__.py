# SPDX-License-Identifier: Apache-2.0
"""HTTP applications: `api` for programs, `pages` for people.

Thin: a handler decides nothing that a door or the command line decides too. FastAPI is imported by
`api.application` and what it imports, so a configuration without an HTTP binding pays nothing for it.
"""
