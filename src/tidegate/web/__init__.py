# SPDX-License-Identifier: Apache-2.0
"""HTTP: the REST API. Thin; calls `store`, `identity`, `cluster`, `vfs`."""
