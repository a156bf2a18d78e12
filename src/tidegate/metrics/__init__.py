# SPDX-License-Identifier: Apache-2.0
"""Counts what happens: totals and histograms for Prometheus, the last minute for the pages.

May import kinds of events, the model and errors; `families` and `exposition` load prometheus_client, and are
loaded where metrics are on. Knows no door, no storage, no store, no configuration. Decisions: docs/adr/0066.
"""
