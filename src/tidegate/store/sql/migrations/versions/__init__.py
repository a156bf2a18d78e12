# SPDX-License-Identifier: Apache-2.0
"""One file for each schema version. A released file never changes; a new version is a new file."""
