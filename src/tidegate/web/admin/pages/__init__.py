# SPDX-License-Identifier: Apache-2.0
"""The pages: each module here with a `PAGES` adds what it names to the site; a template belongs to each."""
