# SPDX-License-Identifier: Apache-2.0
"""The HTTP application for monitoring, without the framework that the REST API needs."""
