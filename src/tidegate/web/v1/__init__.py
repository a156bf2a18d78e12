# SPDX-License-Identifier: Apache-2.0
"""The API of SFTPGo's 0.9 generation at ``/api/v1``, for its scripts; loaded by the first request."""
