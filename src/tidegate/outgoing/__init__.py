# SPDX-License-Identifier: Apache-2.0
"""Calls to programs and HTTP services of the operator: bounded in number, time and size.

Rules of this room: imports `model` and `errors` only; it knows neither hooks, rules and events, nor what an
answer means. A failure is an `errors.OutsideFailed`, which holds no secret of the call.
"""
