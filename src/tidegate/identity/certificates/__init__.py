# SPDX-License-Identifier: Apache-2.0
"""Certificates of users: read (`wire`), revoked (`revoked`), and judged (`trust`). Loaded when one is needed.

May be imported by doors that take certificates. Knows no protocol; rules are those of `policy.certificates`.
"""
